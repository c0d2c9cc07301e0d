//! Fuzz target: see `bodies::documents::email`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::email(bytes);
});
