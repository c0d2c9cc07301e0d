//! Fuzz target: see `bodies::documents::hwp_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::hwp_records(bytes);
});
