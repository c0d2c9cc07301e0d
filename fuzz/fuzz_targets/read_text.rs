//! Fuzz target: see `bodies::documents::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::text(bytes);
});
