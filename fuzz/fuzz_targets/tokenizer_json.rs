//! Fuzz target: see `bodies::text::tokenizer_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::text::tokenizer_json(bytes));
