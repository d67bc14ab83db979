#!/usr/bin/env bash
# Builds the static program with musl. The same commit, compiler and options make the same bytes in every folder
# (tools/check/reproducible.sh): no path of this computer is in the program.
#
#   packaging/build-static.sh x86_64|aarch64 [OPTIONS OF CARGO]
#
# The program is target/ARCHITECTURE-unknown-linux-musl/release/hearken, or in CARGO_TARGET_DIR; beside it is the archive that
# `cargo binstall` expects on the page of a release, with the licenses (Cargo.toml: package.metadata.binstall). FEATURES are Cargo's; by
# default all that are compiled in: onnxruntime is a shared library, which a static program cannot load, and tract would
# make the program half as large again. Needs `rustup target add ARCHITECTURE-unknown-linux-musl` and a C compiler:
# musl-tools for x86_64, gcc-aarch64-linux-gnu for aarch64 (Debian).
set -euo pipefail
[[ ${1:-} =~ ^(x86_64|aarch64)$ ]] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
target=$1-unknown-linux-musl
shift
cd "$(dirname "$0")/.."
features=${FEATURES-cli,compressed-audio,digits,english,serve,yaml}
folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")
home=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")

# Of several prefixes that fit, the last is replaced: the target folder may be inside the source.
CARGO_ENCODED_RUSTFLAGS=--remap-path-prefix=$PWD=/hearken
for path in "$home=/cargo" "$folder=/target"; do CARGO_ENCODED_RUSTFLAGS+=$'\x1f'--remap-path-prefix=$path; done
export CARGO_ENCODED_RUSTFLAGS
name=${target//-/_}
export "CFLAGS_$name=-ffile-prefix-map=$home=/cargo"
if [ "$target" = aarch64-unknown-linux-musl ]; then
    # rustc has a linker and musl for it; ring's C code uses no library.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER:-rust-lld}
    export CC_aarch64_unknown_linux_musl=${CC_aarch64_unknown_linux_musl:-aarch64-linux-gnu-gcc}
fi
cargo build --release --locked --target "$target" --no-default-features --features "$features" "$@"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
release=$folder/$target/release
name=hearken-$version-$target
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/$name"
cp "$release/hearken" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$stage/$name"
cp models/english/LICENSE-cmudict packaging/debian/copyright "$stage/$name"
# The same bytes from the same files.
tar -C "$stage" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=a+rX,u+w,go-w -cf - "$name" | gzip -9n >"$release/$name.tar.gz"
echo "$release/$name.tar.gz"
