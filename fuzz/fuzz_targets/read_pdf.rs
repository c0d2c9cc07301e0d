//! Fuzz target: see `bodies::documents::pdf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::pdf(bytes);
});
