//! Writes a valid document for each target of `bodies::documents` into `corpus/`, for the fuzzer to begin with.

fn main() -> Result<(), stdx::fs::FsError> {
    for (name, _, seed) in bodies::documents::targets() {
        let folder = std::path::Path::new("corpus").join(name);
        stdx::fs::create_dir_all(&folder)?;
        stdx::fs::write(folder.join("seed"), seed)?;
    }
    Ok(())
}
