//! Fuzz target: see `bodies::e5s1`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::e5s1(bytes));
