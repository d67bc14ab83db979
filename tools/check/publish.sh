#!/usr/bin/env bash
# A rehearsal of publishing the crates: versions that belong together, the files of each crate, sizes within the limit of
# crates.io (10 MiB), and the compiler's check of the packed files alone. Nothing is uploaded.
#
#   tools/check/publish.sh [FOLDER]      # of the packed crates and of Cargo [default: CARGO_TARGET_DIR or target]
#
# The wheel is checked by bindings.sh (maturin, twine), the npm package by web.sh (npm pack).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}}")
mkdir -p "$target"
fail() { echo "FAILED: $*" >&2; exit 1; }
# In the order of their dependencies.
crates=(models/english/lm models/english src/fft .)
limit=$((10 << 20))

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
for manifest in models/english/lm/Cargo.toml models/english/Cargo.toml src/fft/Cargo.toml bindings/{python,c,web}/Cargo.toml; do
    grep -qx "version = \"$version\"" $manifest || fail "$manifest has another version than the crate, $version"
done
grep -q "^  \"version\": \"$version\"," bindings/web/package.json || fail "bindings/web/package.json has another version, not $version"
grep -qx "version: \"$version\"" packaging/home-assistant/hearken/config.yaml || fail "the add-on has another version, not $version"
grep -qE "^## \[(Unreleased|$version)\]" CHANGELOG.md || fail "CHANGELOG.md has no section for $version"
echo "versions: all $version"

arguments=()
for crate in "${crates[@]}"; do
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$crate/Cargo.toml" | head -1)
    arguments+=(-p "$name")
    cargo package --list --allow-dirty -p "$name" >"$target/$name.list"
    for unwanted in '^tests/' '^audio/' '^target/' '^packaging/' '^bindings/'; do
        ! grep "$unwanted" "$target/$name.list" || fail "$name would be published with these"
    done
done
CARGO_TARGET_DIR=$target cargo publish --dry-run --allow-dirty --no-verify "${arguments[@]}"
# The rehearsal leaves no packed files where `cargo package` puts them.
CARGO_TARGET_DIR=$target cargo package --quiet --allow-dirty --no-verify "${arguments[@]}"
for crate in "${crates[@]}"; do
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$crate/Cargo.toml" | head -1)
    packed=$target/package/$name-$version.crate
    size=$(stat -c %s "$packed")
    echo "$name: $(tar tzf "$packed" | wc -l) files, $size bytes"
    [ "$size" -lt $limit ] || fail "$name has more than $limit bytes"
done
# What was packed is enough; the packed crates stand in for those of the registry. Cargo's own verification would build the
# whole program again.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
for packed in "$target"/package/hearken{,-english,-english-lm,-fft}-"$version".crate; do tar xzf "$packed" -C "$unpacked"; done
patches=()
for name in hearken-english hearken-english-lm hearken-fft; do
    patches+=(--config "patch.crates-io.$name.path=\"$unpacked/$name-$version\"")
done
(cd "$unpacked/hearken-$version" && CARGO_TARGET_DIR=$target cargo check "${patches[@]}")
echo "all is well"
