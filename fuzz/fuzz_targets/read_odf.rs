//! Fuzz target: see `bodies::documents::odf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::odf(bytes);
});
