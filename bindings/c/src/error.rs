//! Errors: a text for each thread, and a guard that turns panics into errors.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use hearken::Error;
use hearken::error::Stage;

thread_local! {
    /// The text of the last call of this thread that failed.
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// The text of the last error of this thread: file and place, what was expected and found, and what to do; NULL if no
/// call of this thread has failed. It is valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn hearken_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ref().map_or(ptr::null(), |text| text.as_ptr()))
}

/// A wrong argument of a call.
pub fn usage(problem: impl Into<String>) -> Error {
    Error::new(Stage::Usage, problem)
}

/// Runs a call; an error or a panic is kept as text, and `failed` is returned.
pub fn guard<T>(failed: T, work: impl FnOnce() -> Result<T, Error>) -> T {
    let problem = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("a fault of hearken, please report it: {}", text(&*panic)),
    };
    let text = CString::new(problem.replace('\0', "\u{fffd}")).unwrap_or_default();
    LAST.with_borrow_mut(|last| *last = Some(text));
    failed
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
