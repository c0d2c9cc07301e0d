//! Packs some of `corpus/TARGET` of each target that is named into `kept/TARGET.zip`, evenly over their lengths: after
//! `cargo fuzz cmin TARGET`. Every run of the tests goes through what is kept; `--example seeds` unpacks it again.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Inputs kept of each target, at most.
const INPUTS_MAX: usize = 400;
/// Longer inputs are left out.
const INPUT_BYTES_MAX: usize = 2_048;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    stdx::fs::create_dir_all("kept")?;
    for target in std::env::args().skip(1) {
        let mut inputs = Vec::new();
        for path in stdx::fs::read_dir(Path::new("corpus").join(&target))? {
            let input = stdx::fs::read(&path)?;
            if input.len() <= INPUT_BYTES_MAX {
                inputs.push(input);
            }
        }
        inputs.sort_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
        inputs.dedup();
        let packed = pack(&inputs)?;
        let to = PathBuf::from("kept").join(format!("{target}.zip"));
        stdx::fs::write(&to, packed)?;
    }
    Ok(())
}

/// The same bytes for the same inputs: no dates, and names that count.
fn pack(inputs: &[Vec<u8>]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    let n = inputs.len().min(INPUTS_MAX);
    for nth in 0..n {
        writer.start_file(format!("{nth:04}"), options)?;
        writer.write_all(&inputs[nth * inputs.len() / n])?;
    }
    Ok(writer.finish()?.into_inner())
}
