#!/usr/bin/env bash
# Builds and proves the bindings: the Python wheel in a new environment with its tests, the C library with its header,
# the examples in C and C++, under valgrind too, its tests by cffi, and LuaJIT's FFI. What is not installed is skipped,
# visibly. The library without models and onnxruntime must have less than 3 MB.
#
#     tools/check/bindings.sh [FOLDER]      # of the environment and of what is compiled [default: target/bindings]
#
# Cargo's folder is CARGO_TARGET_DIR, else target. PYTHON is the interpreter [python3].
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(realpath -m "${1:-$target/bindings}")
python=${PYTHON:-python3}
mkdir -p "$work"
skipped=()
skip() {
    printf '\n*** SKIPPED: %s\n\n' "$1" >&2
    skipped+=("$1")
}
step() { printf '\n== %s\n' "$1"; }
has() { command -v "$1" >/dev/null 2>&1; }

step "format and lints"
cargo fmt --check -p hearken-python -p hearken-c
cargo clippy --release -p hearken-python -p hearken-c --no-deps -- -D warnings

step "C library"
# Together with the package of Python, so that the library is compiled once for both.
cargo build --release -p hearken-c -p hearken-python
ls -l "$target/release/libhearken.so" "$target/release/libhearken.a"

step "C library without models and onnxruntime"
cargo build --profile small -p hearken-c --no-default-features --target-dir "$work/small"
small=$(stat -c %s "$work/small/small/libhearken.so")
echo "libhearken.so: $small bytes"
[ "$small" -lt 3000000 ]

step "header"
if has cbindgen; then
    # Versions before 0.28 do not know `unsafe(no_mangle)`.
    rm -rf "$work/src"
    cp -r bindings/c/src "$work/src"
    sed -i 's/#\[unsafe(no_mangle)\]/#[no_mangle]/' "$work"/src/*.rs
    cbindgen --version
    cbindgen --quiet --config bindings/c/cbindgen.toml --output "$work/hearken.h" "$work/src/lib.rs"
    diff -u bindings/c/include/hearken.h "$work/hearken.h"
else
    skip "cbindgen is not installed (apt-get install cbindgen, cargo install cbindgen): the header was not compared"
fi
# The functions of the header are the exported ones.
declared=$(grep -o 'hearken_[a-z_]*(' bindings/c/include/hearken.h | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$target/release/libhearken.so" | awk '{print $3}' | grep '^hearken_' | sort -u)
diff <(echo "$declared") <(echo "$exported")

step "wheel"
environment="$work/venv"
rm -rf "$environment" "$work/wheels"
"$python" -m venv "$environment"
"$environment/bin/pip" install -q --disable-pip-version-check maturin twine
"$environment/bin/maturin" build --release --quiet -m bindings/python/Cargo.toml --out "$work/wheels" \
    --target-dir "$target"
"$environment/bin/twine" check --strict "$work"/wheels/*.whl
ls -l "$work"/wheels
"$python" -m zipfile -l "$(echo "$work"/wheels/*.whl)"

step "tests of the wheel, in a new environment"
rm -rf "$environment"
"$python" -m venv "$environment"
"$environment/bin/pip" install -q --disable-pip-version-check "$work"/wheels/*.whl
"$environment/bin/pip" list --format=freeze --disable-pip-version-check | grep -vE '^(pip|setuptools|wheel)='
"$environment/bin/pip" install -q --disable-pip-version-check pytest cffi ruff mypy
# Not in the folder of the sources, so that the installed package is tested.
(cd "$work" && "$environment/bin/pytest" -q -p no:cacheprovider --rootdir "$OLDPWD/bindings/python" \
    -c "$OLDPWD/bindings/python/pyproject.toml" "$OLDPWD/bindings/python/tests")
"$environment/bin/ruff" check --config tools/ruff.toml bindings
"$environment/bin/mypy" --cache-dir "$work/mypy" --strict -p hearken

step "tests of the C library by cffi"
HEARKEN_C_LIBRARY="$target/release/libhearken.so" \
    "$environment/bin/pytest" -q -p no:cacheprovider bindings/c/tests

step "C and C++"
words='three one four one five'
check() { # NAME COMMAND…: the output has the words
    "${@:2}" audio/pi.wav >"$work/$1.out"
    tail -1 "$work/$1.out"
    grep -q "$words" <(tr -d '\n' <"$work/$1.out")
}
c_flags=(-Wall -Wextra -Werror -Ibindings/c/include)
static=("$target/release/libhearken.a" -lm -lpthread -ldl -lgcc_s)
shared=(-L"$target/release" -lhearken "-Wl,-rpath,$target/release")
if has cc; then
    cc -std=c99 -D_POSIX_C_SOURCE=200809L "${c_flags[@]}" bindings/c/examples/transcribe.c "${shared[@]}" -o "$work/transcribe"
    cc -std=c99 "${c_flags[@]}" bindings/c/examples/transcribe.c "${static[@]}" -o "$work/transcribe-static"
    check transcribe "$work/transcribe"
    check transcribe-static "$work/transcribe-static"
else
    skip "no C compiler (cc)"
fi
if has c++; then
    c++ -std=c++17 "${c_flags[@]}" bindings/c/examples/threads.cpp "${shared[@]}" -pthread -o "$work/threads"
    printf '%s\n' "$words" >"$work/phrases.txt"
    "$work/threads" audio/pi.wav "$work/phrases.txt" | tee "$work/threads.out"
    [ "$(grep -c "$words" "$work/threads.out")" = 2 ]
else
    skip "no C++ compiler (c++)"
fi
if has luajit; then
    luajit -v
    check lua luajit bindings/c/examples/transcribe.lua "$target/release/libhearken.so" bindings/c/include/hearken.h
else
    skip "luajit is not installed"
fi
if has valgrind && has cc; then
    # `possible` leaks are the thread-local storage of threads that still run at the exit.
    memcheck=(valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite)
    check valgrind-c "${memcheck[@]}" "$work/transcribe"
    if has c++; then
        "${memcheck[@]}" "$work/threads" audio/pi.wav "$work/phrases.txt" >/dev/null
    fi
else
    skip "valgrind or a C compiler is not installed"
fi

printf '\nThe bindings pass'
[ ${#skipped[@]} = 0 ] || printf ', except what was skipped: %s' "${skipped[@]}"
printf '.\n'
