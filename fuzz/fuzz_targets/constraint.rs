//! Fuzz target: see `bodies::text::constraint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::text::constraint(bytes));
