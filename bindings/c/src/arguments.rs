//! Arguments of calls: handles, texts and arrays, each checked for NULL.

use std::ffi::{CStr, c_char, c_int};
use std::path::PathBuf;
use std::slice;

use hearken::Error;

use crate::error::usage;

/// The object of a handle.
///
/// # Safety
/// The pointer is NULL, or valid for `'a` and not modified elsewhere during it.
pub unsafe fn shared<'a, T>(name: &str, pointer: *const T) -> Result<&'a T, Error> {
    // SAFETY: not NULL, and valid as promised by the caller.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// The object of a handle, to be modified.
///
/// # Safety
/// The pointer is NULL, or valid for `'a` and not used elsewhere during it.
pub unsafe fn exclusive<'a, T>(name: &str, pointer: *mut T) -> Result<&'a mut T, Error> {
    // SAFETY: not NULL, and valid and not used elsewhere as promised by the caller.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// A text in UTF-8; `None` for NULL.
///
/// # Safety
/// The pointer is NULL, or a text that ends with a zero byte and is valid for `'a`.
pub unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and a text with a zero byte as promised by the caller.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| usage(format!("{name}: expected UTF-8, found {text:?}")))
}

/// A path; `None` for NULL. On Unix it may have any bytes, elsewhere it is UTF-8.
///
/// # Safety
/// As [`text`].
pub unsafe fn path(name: &str, pointer: *const c_char) -> Result<Option<PathBuf>, Error> {
    #[cfg(unix)]
    if !pointer.is_null() {
        use std::os::unix::ffi::OsStrExt;
        let _ = name;
        // SAFETY: not NULL, and a text with a zero byte as promised by the caller.
        let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
        return Ok(Some(std::ffi::OsStr::from_bytes(bytes).into()));
    }
    // SAFETY: as promised by the caller.
    unsafe { text(name, pointer) }.map(|text| text.map(PathBuf::from))
}

/// An array of `length` values; NULL is accepted if `length` is 0.
///
/// # Safety
/// The pointer is NULL, or aligned and valid for `length` values during `'a`, which are not modified.
pub unsafe fn array<'a, T>(name: &str, pointer: *const T, length: c_int) -> Result<&'a [T], Error> {
    let wrong = || usage(format!("length: expected 0 or more, found {length}"));
    let length = usize::try_from(length).map_err(|_| wrong())?;
    match length {
        0 => Ok(&[]),
        _ if pointer.is_null() => Err(null(name)),
        // SAFETY: not NULL, and valid for `length` values as promised by the caller.
        _ => Ok(unsafe { slice::from_raw_parts(pointer, length) }),
    }
}

fn null(name: &str) -> Error {
    usage(format!("{name}: expected a valid pointer, found NULL"))
}
