#!/usr/bin/env bash
# Runs the tests of the network's arithmetic on emulated processors: one without AVX, for the plain loops, and one with
# AVX2 but without AVX-512.
#
#   tools/check/kernels.sh
#
# Needs qemu-x86_64 7.2 or newer (Debian: qemu-user) and Python. qemu does not emulate AVX-512; that is tested where the
# processor has it.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(cargo test --no-default-features --features train --lib --no-run --message-format=json |
    python3 -c 'import json, sys; print([o["executable"] for o in map(json.loads, sys.stdin) if o.get("executable")][-1])')
for processor in Nehalem Haswell; do
    echo "$processor:"
    qemu-x86_64 -cpu "$processor" "$program" model::
done
