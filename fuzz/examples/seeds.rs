//! Writes what is kept of earlier runs into `corpus/`, and a valid document for each target of `bodies::documents`, for
//! the fuzzer to begin with.

use std::io::{Cursor, Read};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, _, seed) in bodies::documents::targets() {
        let folder = Path::new("corpus").join(name);
        stdx::fs::create_dir_all(&folder)?;
        stdx::fs::write(folder.join("seed"), seed)?;
    }
    for packed in stdx::fs::read_dir("kept")? {
        let folder = Path::new("corpus").join(packed.file_stem().unwrap_or_default());
        stdx::fs::create_dir_all(&folder)?;
        let mut archive = zip::ZipArchive::new(Cursor::new(stdx::fs::read(&packed)?))?;
        for nth in 0..archive.len() {
            let mut bytes = Vec::new();
            archive.by_index(nth)?.read_to_end(&mut bytes)?;
            stdx::fs::write(folder.join(format!("kept-{nth:04}")), bytes)?;
        }
    }
    Ok(())
}
