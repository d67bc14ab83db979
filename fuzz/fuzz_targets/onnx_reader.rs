//! ONNX files; see `src/onnx_reader.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/onnx_reader.rs"]
mod target;

fuzz_target!(|bytes: &[u8]| target::run(bytes));
