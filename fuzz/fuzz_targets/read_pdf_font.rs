//! Fuzz target: see `bodies::documents::pdf_font`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::pdf_font(bytes);
});
