//! Phrases, dictionaries, language models and hotwords; see `src/text_reader.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/text_reader.rs"]
mod target;

fuzz_target!(|bytes: &[u8]| target::run(bytes));
