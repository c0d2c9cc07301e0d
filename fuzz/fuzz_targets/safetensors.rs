//! Fuzz target: see `bodies::safetensors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::safetensors(bytes));
