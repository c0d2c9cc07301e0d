//! Fuzz target: see `bodies::documents::docx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::docx(bytes);
});
