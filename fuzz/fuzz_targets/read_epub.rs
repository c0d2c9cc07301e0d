//! Fuzz target: see `bodies::documents::epub`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::epub(bytes);
});
