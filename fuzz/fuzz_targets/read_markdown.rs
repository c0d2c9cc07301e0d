//! Fuzz target: see `bodies::documents::markdown`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::markdown(bytes);
});
