//! Fuzz target: see `bodies::gguf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::gguf(bytes));
