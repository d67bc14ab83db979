//! Recordings; see `src/audio_input.rs`.
//!
//! Decoders from other crates may panic on damaged files; hearken turns that into an error, so only panics in its own
//! code end the run.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/audio_input.rs"]
mod target;

fuzz_target!(
    init: std::panic::set_hook(Box::new(|info| {
        let of_others = info.location().is_some_and(|at| at.file().contains("/registry/src/"));
        if !of_others {
            eprintln!("{info}");
            std::process::abort();
        }
    })),
    |bytes: &[u8]| target::run(bytes)
);
