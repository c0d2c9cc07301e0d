//! Content hashes and the short ids made from them.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::fs::{self, FsError};

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of bytes as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, read in pieces, as 64 lower-case hexadecimal digits.
pub fn sha256_file(path: impl AsRef<Path>) -> Result<String, FsError> {
    let path = path.as_ref();
    let mut file = fs::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FsError::new("read", path, error)),
        }
    }
}

/// A short id: a letter that says what it names, then 16 hexadecimal digits of the SHA-256 of `bytes`.
pub fn short_id(prefix: char, bytes: &[u8]) -> String {
    let mut id = String::with_capacity(17);
    id.push(prefix);
    id.push_str(&sha256_hex(bytes)[..16]);
    id
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_bytes_agree_with_the_published_vector() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("abc"), b"abc").unwrap();
        assert_eq!(sha256_file(dir.path().join("abc")).unwrap(), expected);
        assert_eq!(short_id('d', b"abc"), "dba7816bf8f01cfea");
    }
}
