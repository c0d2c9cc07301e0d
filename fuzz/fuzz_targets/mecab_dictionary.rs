//! Fuzz target: see `bodies::documents::mecab_dictionary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bodies::documents::mecab_dictionary(bytes);
});
