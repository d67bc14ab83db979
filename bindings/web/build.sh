#!/usr/bin/env bash
# Builds the package for browsers in target/web/package and a page that uses it in target/web/site.
#
#     bindings/web/build.sh
#     python3 -m http.server --directory target/web/site     # http://localhost:8000
#
# Needs Rust's target wasm32-unknown-unknown, and wasm-bindgen in the version of Cargo.lock (WASM_BINDGEN names the program
# if it is not in PATH).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
package=$target/web/package site=$target/web/site
bindgen=${WASM_BINDGEN:-wasm-bindgen}

version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
if [ "$("$bindgen" --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
    echo "wasm-bindgen $version is needed: cargo install wasm-bindgen-cli --version $version --locked" >&2
    exit 1
fi
# SIMD is in all browsers since 2023.
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=+simd128"
cargo build --release --locked -p hearken-web --target wasm32-unknown-unknown

rm -rf "$package" "$site"
mkdir -p "$package" "$site/models"
"$bindgen" --target web --out-dir "$package" --remove-name-section --remove-producers-section \
    "$target/wasm32-unknown-unknown/release/hearken_web.wasm"
rm -f "$package/hearken_web_bg.wasm.d.ts"
# Microphone and audio thread are those of the page of `hearken serve`.
page=src/serve/page
cp bindings/web/{package.json,README.md} bindings/web/js/* LICENSE-* "$page"/{microphone,worklet}.js "$package"

cp docs/web/* "$page"/{kept,notices,transcript}.js "$page/style.css" "$site"
mkdir "$site/hearken"
cp "$package"/*.js "$package"/*.wasm "$site/hearken"
cp models/digits/digits.onnx models/english/english.{onnx,pron} "$site/models"
# What the page keeps for use without its server.
files=$(cd "$site" && find . -type f ! -name 'english.*' ! -name offline.js | sort | sed 's/.*/"&"/' | paste -sd,)
sed -i "s|^const FILES = \[\];|const FILES = [\"./\",$files];|" "$site/offline.js"
grep -q '^const FILES = \["./","./hearken/' "$site/offline.js"
echo "package: $package"
echo "page: $site"
