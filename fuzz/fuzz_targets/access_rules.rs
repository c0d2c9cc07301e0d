//! Fuzz target: see `bodies::documents::access_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::access_rules(bytes);
});
