//! Fuzz target: see `bodies::documents::pptx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::pptx(bytes);
});
