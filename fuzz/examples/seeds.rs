//! Writes what is kept of earlier runs into `corpus/`, and a valid document for each target of `bodies::documents`, for
//! the fuzzer to begin with.

use std::path::Path;

fn main() -> Result<(), stdx::fs::FsError> {
    for (name, _, seed) in bodies::documents::targets() {
        let folder = Path::new("corpus").join(name);
        stdx::fs::create_dir_all(&folder)?;
        stdx::fs::write(folder.join("seed"), seed)?;
    }
    for packed in stdx::fs::read_dir("kept")? {
        let target = packed.file_stem().unwrap_or_default().to_string_lossy();
        let folder = Path::new("corpus").join(&*target);
        stdx::fs::create_dir_all(&folder)?;
        for (nth, bytes) in testkit::kept_corpus(&target).iter().enumerate() {
            stdx::fs::write(folder.join(format!("kept-{nth:04}")), bytes)?;
        }
    }
    Ok(())
}
