//! Support for tests that need a separate process, because they measure it or load a library into it.

use std::process::Command;

const VARIABLE: &str = "HEARKEN_TEST_ALONE";

/// Runs `body` in a process that runs only this test; `name` is the test's full name.
pub fn run_in_own_process(name: &str, body: impl FnOnce()) {
    if std::env::var(VARIABLE).is_ok_and(|value| value == name) {
        return body();
    }
    let program = std::env::current_exe().expect("a path of this program");
    let status = Command::new(program)
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env(VARIABLE, name)
        .status()
        .expect("the program starts again");
    assert!(status.success(), "{name} failed in a process of its own");
}
