//! Fuzz target: see `bodies::documents::hwp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::hwp(bytes);
});
