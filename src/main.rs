fn main() -> std::process::ExitCode {
    hearken::cli::run()
}
