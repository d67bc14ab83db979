//! The program `hearken`; everything is in the library.

fn main() -> std::process::ExitCode {
    hearken::cli::run()
}
