#!/usr/bin/env bash
# Tests the package and the page for browsers (bindings/web) in a headless Chromium: the words of the microphone and of
# opened recordings are those of `hearken transcribe`. Prints sizes and speed; screenshots are written to target/web/pictures.
#
#     tools/check/web.sh [HEARKEN]
#
# Needs what bindings/web/build.sh needs, Chromium, Node.js with npm (playwright-core, onnxruntime-web), Python and sox.
set -euo pipefail
cd "$(dirname "$0")/../.."
hearken=$(realpath "${1:-target/release/hearken}")
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
for program in chromium node npm python3 sox; do
    command -v "$program" >/dev/null || { echo "$program is not installed: nothing was tested" >&2; exit 77; }
done
[ -n "${HEARKEN_WEB_BUILT:-}" ] || bindings/web/build.sh
mkdir -p "$target/web/check" "$target/web/pictures"
npm install --silent --no-audit --no-fund --prefix "$target/web/check" playwright-core@1.65.1 onnxruntime-web@1.30.0
echo "--- npm pack"
(cd "$target/web/package" && npm pack --dry-run 2>&1 | sed -n 's/^npm notice //p')
cp tools/check/web.mjs "$target/web/check/web.mjs"
node "$target/web/check/web.mjs" "$hearken" "$target/web"
