#!/usr/bin/env bash
# Builds the static program of a commit twice, in two folders with names of different lengths, and compares the bytes.
#
#   tools/check/reproducible.sh FOLDER [COMMIT]        # x86-64; ARCHITECTURE=aarch64 for the other
#
# The two copies of the source, with what was compiled, stay in FOLDER; a second call continues them. Prints SHA-256 and size.
set -euo pipefail
cd "$(dirname "$0")/../.."
architecture=${ARCHITECTURE:-x86_64}
work=$(realpath -m "${1:?the folder of the two builds}")
commit=$(git rev-parse "${2:-HEAD}")
for name in one the-second-folder; do
    copy=$work/$name/hearken
    if [ "$(cat "$copy.commit" 2>/dev/null)" != "$commit" ]; then
        rm -rf "$copy"
        mkdir -p "$copy"
        # Cargo goes by the times of the files.
        git archive "$commit" | tar -x --touch -C "$copy"
        echo "$commit" >"$copy.commit"
    fi
    CARGO_TARGET_DIR=$work/$name/target "$copy/packaging/build-static.sh" "$architecture"
    programs+=("$work/$name/target/$architecture-unknown-linux-musl/release/hearken")
done
sha256sum "${programs[@]}"
if grep -aobE -m1 "$work|$HOME/" "${programs[0]}"; then
    echo "FAILED: a path of this computer is in the program" >&2
    exit 1
fi
cmp "${programs[@]}" || { echo "FAILED: the builds differ" >&2; exit 1; }
echo "two builds of ${commit:0:12} by $(rustc --version) are equal: $(stat -c %s "${programs[0]}") bytes"
