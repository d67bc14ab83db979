//! The C library of hearken: functions named and used like those of vosk-api, with opaque handles.
//!
//! `include/hearken.h` is generated from this crate by cbindgen (tools/check/bindings.sh compares the two), so the
//! documentation of its functions and types is written for users of C. No panic crosses the boundary: [`error::guard`]
//! turns it into an error.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks, clippy::missing_safety_doc)]

mod arguments;
mod error;
mod json;
mod model;
mod recognizer;

use std::ffi::c_char;

/// The version of the library, such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn hearken_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
