//! Fuzz target: see `bodies::documents::hwpx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::hwpx(bytes);
});
