//! Fuzz target: see `bodies::documents::xlsx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::xlsx(bytes);
});
