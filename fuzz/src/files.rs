//! What the fuzz targets do with their bytes: parse, then read everything that was accepted.
//!
//! Not a target itself: `fuzz_targets/` wraps each function, and `crates/weights/tests/fuzzed.rs` runs the same
//! functions on seeded mutations of valid files.

use std::io::Cursor;

use weights::Source;

/// Reads every tensor of an accepted file; the parser has promised that each lies inside it.
fn read_all(source: &dyn Source, len: usize) {
    for name in source.names() {
        let Some(tensor) = source.tensor(name) else {
            continue;
        };
        assert!(
            tensor.n_bytes <= len as u64,
            "tensor `{name}` is longer than its file"
        );
        let mut buffer = vec![0; tensor.n_bytes as usize];
        source
            .read(name, &mut buffer)
            .expect("an accepted tensor lies inside the file");
    }
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) {
    if let Ok(file) = weights::gguf::Gguf::parse(Cursor::new(bytes.to_vec()), bytes.len() as u64) {
        read_all(&file, bytes.len());
        for (key, value) in file.metadata().iter() {
            let found = file.metadata().opt_u64(key).is_ok();
            assert_eq!(
                found,
                value.as_u64().is_some(),
                "getter and value disagree on `{key}`"
            );
        }
    }
}

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    if let Ok(file) =
        weights::safetensors::SafeTensors::parse(Cursor::new(bytes.to_vec()), bytes.len() as u64)
    {
        read_all(&file, bytes.len());
    }
}

/// An E5S1 file.
pub fn e5s1(bytes: &[u8]) {
    if let Ok(file) = weights::e5s1::E5s1::parse(Cursor::new(bytes.to_vec()), bytes.len() as u64) {
        read_all(&file, bytes.len());
        let pieces = file.pieces();
        assert!((0..pieces.len()).all(|id| pieces.bytes(id).is_some() && pieces.score(id).is_some()));
    }
}

/// An ONNX file.
pub fn onnx(bytes: &[u8]) {
    if let Ok(file) = weights::onnx::Onnx::parse(bytes) {
        for name in file.nodes().iter().flat_map(|node| &node.inputs) {
            if let Some(tensor) = file.tensor(name) {
                let n_elements: u64 = tensor.shape.iter().product();
                assert_eq!(n_elements * tensor.ty.n_bytes(), tensor.bytes.len() as u64);
            }
        }
    }
}
