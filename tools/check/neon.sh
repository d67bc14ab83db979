#!/usr/bin/env bash
# Counts the instructions of the network's matrix product on arm64, with NEON and without vectors, and on x86-64 with AVX2, in
# qemu-user: the same result, and instructions for each multiply-add.
#
#   tools/check/neon.sh
#
# Needs rustup's target aarch64-unknown-linux-musl, a C compiler, qemu-aarch64 and qemu-x86_64 (Debian: qemu-user).
set -euo pipefail
cd "$(dirname "$0")"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cc -O2 -shared -fPIC count_instructions.c -o "$place/count.so"
compile() { rustc --edition 2024 -A warnings -C opt-level=3 "${@:2}" neon.rs -o "$place/$1"; }
arm=(--target aarch64-unknown-linux-musl -C linker=rust-lld)
compile neon "${arm[@]}"
compile scalar "${arm[@]}" -C no-vectorize-loops -C no-vectorize-slp
compile avx2
count() { "$1" -cpu max -plugin "$place/count.so" "${@:2}" 2>&1 >"$place/sum" | sed -n 's/^instructions //p'; }
rounds=20
for rows in 1 16; do
    unset sum
    for name in scalar neon avx2; do
        qemu=qemu-aarch64
        [ $name = avx2 ] && qemu=qemu-x86_64
        read -r before _ < <(count $qemu "$place/$name" $rows 0)
        read -r after adds < <(count $qemu "$place/$name" $rows $rounds)
        found=$(cat "$place/sum")
        python3 - "$name" "$rows" "$(((after - before) / rounds))" "$((adds / rounds))" "${sum:-$found}" "$found" <<'PYTHON'
import sys

name, rows, instructions, vectors, expected, found = sys.argv[1:]
assert abs(float(found) - float(expected)) < 1e-3 * abs(float(expected)) + 0.01, (expected, found)
operations = int(rows) * 320 * 960
print(f"{name:6} {rows:>2} rows: {int(instructions) / operations:.3f} instructions for each multiply-add,"
      f" {int(vectors)} multiply-adds of vectors")
PYTHON
        sum=${sum:-$found}
    done
done
