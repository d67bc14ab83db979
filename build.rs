//! Smaller programs on Linux: functions that came out the same are kept once, and relocations are packed. Only
//! where rustc brings its own linker (LLD, the default on this target since 1.90); a linker that somebody
//! has chosen is left alone.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTFLAGS");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    let flags = set("CARGO_ENCODED_RUSTFLAGS");
    let chosen = ["linker", "fuse-ld", "link-self-contained"].iter().any(|word| flags.contains(word));
    let linker = std::env::var_os("RUSTC_LINKER").is_some();
    if set("TARGET") == "x86_64-unknown-linux-gnu" && set("HOST") == set("TARGET") && !chosen && !linker {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
