//! Fuzz target: see `bodies::documents::csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::csv(bytes);
});
