//! Fuzz target: see `bodies::onnx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::onnx(bytes));
