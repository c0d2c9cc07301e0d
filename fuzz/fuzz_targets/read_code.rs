//! Fuzz target: see `bodies::documents::code`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::code(bytes);
});
