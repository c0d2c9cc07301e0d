//! Fuzz target: see `bodies::text::chat_template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::text::chat_template(bytes));
