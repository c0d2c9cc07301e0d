//! Fuzz target: see `bodies::shaped`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::gguf(&bodies::shaped::gguf_file(bytes)));
