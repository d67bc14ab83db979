//! Signals to the programs that tests start.

use std::process::Command;

/// Sends a signal, such as `INT`, to a process.
///
/// A background job of a script (`nohup cargo test &`) ignores some signals, and so do all programs that it starts. A test
/// would wait forever for their answer, and fails instead.
pub fn send(process: u32, name: &str) {
    let number = ["HUP", "INT", "QUIT"].iter().position(|other| *other == name);
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    assert!(
        number.is_none_or(|bit| ignored >> bit & 1 == 0),
        "SIG{name} is ignored by whatever started the tests, such as `nohup`: start them from a terminal"
    );
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}
