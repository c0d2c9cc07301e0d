//! Fuzz target: see `bodies::documents::html`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::html(bytes);
});
