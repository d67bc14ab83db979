//! Conversations with the server; see `src/serve_protocol.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/serve_protocol.rs"]
mod target;

fuzz_target!(|bytes: &[u8]| target::run(bytes));
