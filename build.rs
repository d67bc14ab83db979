//! What cargo cannot do by itself: the model inside the program, packed; and smaller programs on
//! Linux: functions that came out the same are kept once, and relocations are packed. The latter only
//! where rustc brings its own linker (LLD, the default on this target since 1.90); a linker that
//! somebody has chosen is left alone.

use std::path::PathBuf;

#[path = "src/recognizer/packing.rs"]
mod packing;

const MODEL: &str = "models/digits/digits.onnx";

fn main() {
    for path in ["build.rs", "src/recognizer/packing.rs", MODEL] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=RUSTFLAGS");
    if std::env::var_os("CARGO_FEATURE_DIGITS").is_some() {
        pack_model();
    }
    link();
}

fn pack_model() {
    let model = std::fs::read(MODEL).unwrap_or_else(|error| panic!("{MODEL}: {error}"));
    let folder = std::env::var_os("OUT_DIR").expect("cargo gives a folder");
    let path = PathBuf::from(folder).join("digits.packed");
    std::fs::write(&path, packing::pack(&model))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn link() {
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    let flags = set("CARGO_ENCODED_RUSTFLAGS");
    let chosen = ["linker", "fuse-ld", "link-self-contained"].iter().any(|word| flags.contains(word));
    let linker = std::env::var_os("RUSTC_LINKER").is_some();
    if set("TARGET") == "x86_64-unknown-linux-gnu" && set("HOST") == set("TARGET") && !chosen && !linker {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
