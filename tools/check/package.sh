#!/usr/bin/env bash
# Checks packaging/: builds the Debian package, installs, uses and removes it in a folder with a Debian system; reads the
# unit; completes commands in bash, zsh and fish; builds the image; runs the add-on and the rolling restart
# (package_servers.py). Lists what `cargo package` would publish.
#
#   tools/check/package.sh target/release/hearken [STATIC-HEARKEN]
#
# STATIC-HEARKEN, a build with musl, is the program in the image; without it the image is built with the first one and not
# run. Runs as root, for chroot. Needs cargo-deb, debootstrap, systemd-analyze, haproxy, prometheus, busybox, jq, curl and Python with
# websockets, soundfile and wyoming; lintian, zsh, fish, buildah and cyclonedx-python-lib are used where they are
# installed. ROOT is a folder of debootstrap to reuse, DEB a package of the same program that was built before; PYTHON
# and CARGO_DEB are commands.
set -euo pipefail
hearken=$(realpath "$1")
static=${2:+$(realpath "$2")}
cd "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
skip() { printf '\n*** SKIPPED: %s\n\n' "$*" >&2; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
grep -qx "version: \"$version\"" packaging/home-assistant/hearken/config.yaml || fail "the add-on has another version than the crate, $version"

# The package, of the program that exists.
mkdir -p "$place/target/release" "$place/deb"
cp "$hearken" "$place/target/release/hearken"
packaging/prepare.sh "$hearken" target/package
deb=${DEB:-$place/deb/hearken.deb}
[ -n "${DEB:-}" ] || CARGO_TARGET_DIR="$place/target" ${CARGO_DEB:-cargo deb} --no-build --no-strip -o "$deb" >/dev/null
echo "package: $(stat -c %s "$deb") bytes, $(dpkg-deb -f "$deb" Package Version Architecture Depends | paste -sd' ')"
if command -v lintian >/dev/null; then
    # Known: there is no mail address of the maintainer, and the description is that of the crate.
    complaints=$(lintian --allow-root --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog,description-synopsis-starts-with-article,initial-upload-closes-no-bugs "$deb" || true)
    [ -z "$complaints" ] || fail "lintian: $complaints"
    echo "lintian $(lintian --version | awk '{ print $2 }' | sed 's/^v//'): no complaint"
else skip "lintian is not installed"; fi

# Installed, used and removed in a Debian system of its own.
root=${ROOT:-$place/root}
[ -e "$root/bin/sh" ] || debootstrap --variant=minbase bookworm "$root" >"$place/debootstrap.log" || fail "debootstrap"
files() { (cd "$root" && find . -path ./proc -prune -o -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -print | sort); }
files >"$place/before"
cp audio/pi.wav "$root/tmp/" && cp "$deb" "$root/tmp/hearken.deb"
chroot "$root" dpkg -i /tmp/hearken.deb >"$place/dpkg.log" 2>&1 || { cat "$place/dpkg.log"; fail "dpkg -i"; }
text=$(chroot "$root" su -s /bin/sh nobody -c "hearken transcribe /tmp/pi.wav")
[ "$text" = "three one four one five" ] || fail "the installed program recognizes: $text"
for command in "" -transcribe -listen -serve -train -data-import; do
    zcat "$root/usr/share/man/man1/hearken$command.1.gz" | grep -q "^.SH OPTIONS" || fail "no manual page of hearken$command"
done
# Each command of the program has a page. Minimal systems do not install pages and documentation.
[ "$(find "$root/usr/share/man/man1" -name 'hearken*' | wc -l)" = "$(find target/package/man -name '*.gz' | wc -l)" ] || fail "pages are missing"
unit=$(find "$root/lib/systemd/system" "$root/usr/lib/systemd/system" -maxdepth 1 -name hearken.service 2>/dev/null | head -1)
[ -n "$unit" ] || fail "no unit"
[ ! -e "$root/etc/systemd/system/multi-user.target.wants/hearken.service" ] || fail "the server is started without being asked for"
mkdir "$place/units"
sed "s,/usr/bin/hearken,$hearken,; s,^Documentation=.*,," "$unit" >"$place/units/hearken.service"
complaints=$(systemd-analyze verify --man=no "$place/units/hearken.service" 2>&1 | grep hearken.service || true)
[ -z "$complaints" ] || fail "systemd: $complaints"
exposure=$(systemd-analyze security --offline=true "$place/units/hearken.service" 2>/dev/null | sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/\1/p')
echo "unit: no complaint of systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), exposure $exposure of 10 (systemd-analyze security)"

# Completions, in the shells themselves.
completion=$root/usr/share/bash-completion/completions/hearken
words=$(bash -c "source '$completion'; COMP_WORDS=(hearken trans); COMP_CWORD=1; _hearken hearken trans hearken; echo \${COMPREPLY[*]}")
[ "$words" = transcribe ] || fail "bash completes: $words"
shells=bash
for shell in zsh fish; do
    if command -v $shell >/dev/null; then
        case $shell in
            zsh) zsh -n "$root/usr/share/zsh/vendor-completions/_hearken" || fail "zsh" ;;
            fish) words=$(fish -c "source $root/usr/share/fish/vendor_completions.d/hearken.fish; complete -C 'hearken trans'" | cut -f1)
                [ "$words" = transcribe ] || fail "fish completes: $words" ;;
        esac
        shells="$shells $shell"
    else skip "$shell is not installed"; fi
done
echo "completions: $shells"

chroot "$root" dpkg -r hearken >>"$place/dpkg.log" 2>&1 || fail "dpkg -r"
[ ! -e "$root/usr/bin/hearken" ] && [ -e "$root/etc/default/hearken" ] || fail "after the removal the settings must stay, and nothing else"
chroot "$root" dpkg -P hearken >>"$place/dpkg.log" 2>&1 || fail "dpkg -P"
rm "$root/tmp/hearken.deb" "$root/tmp/pi.wav"
files >"$place/after"
diff "$place/before" "$place/after" || fail "files are left after the package was purged"
echo "installed, used, removed and purged in a chroot of Debian $(cat "$root/etc/debian_version"); no file is left"

# The image, without the network.
if command -v buildah >/dev/null; then
    mkdir "$place/image"
    cp packaging/docker/Dockerfile packaging/docker/.dockerignore "$place/image/"
    cp "${static:-$hearken}" "$place/image/hearken-amd64"
    build() { buildah --storage-driver vfs --root "$place/storage" --runroot "$place/run" "$@"; }
    build bud --isolation chroot -t hearken "$place/image" >"$place/image.log" 2>&1 || { cat "$place/image.log"; fail "the image"; }
    if [ -n "$static" ]; then
        container=$(build from --pull-never hearken)
        mounted=$(build mount "$container")
        text=$(chroot --userspec=65534:65534 "$mounted" /hearken transcribe - <audio/pi.wav)
        [ "$text" = "three one four one five" ] || fail "the program in the image recognizes: $text"
        build umount "$container" >/dev/null
        echo "image: built without the network, run as user 65534 with nothing else in its root, $(stat -c %s "$static") bytes"
    else
        echo "image: built without the network; not run, because that needs a static program"
    fi
else skip "buildah is not installed: the image was not built"; fi

${PYTHON:-python3} tools/check/package_servers.py --hearken "$hearken" audio/pi.wav audio/countdown.wav

# The bill of materials: the same twice, and as its schema requires.
packaging/sbom.py --target x86_64-unknown-linux-gnu >"$place/a.json"
packaging/sbom.py --target x86_64-unknown-linux-gnu >"$place/b.json"
cmp "$place/a.json" "$place/b.json" || fail "two bills of materials differ"
if ${PYTHON:-python3} -c "import cyclonedx" 2>/dev/null; then
    ${PYTHON:-python3} - "$place/a.json" <<'PYTHON' || fail "the bill of materials"
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert problem is None, problem
print(f"bill of materials: valid CycloneDX 1.6, {len(json.loads(text)['components'])} components")
PYTHON
else skip "cyclonedx-python-lib[json-validation] is not installed: the bill of materials was not validated"; fi

# What would be published.
cargo package --list --allow-dirty >"$place/list"
for unwanted in '^tests/' '^audio/' '^target/' '^packaging/'; do
    ! grep "$unwanted" "$place/list" || fail "cargo package would publish these"
done
bytes=$(grep -vE '^(Cargo.toml.orig|.cargo_vcs_info.json)$' "$place/list" | tar czf - -T - | wc -c)
echo "cargo package: $(wc -l <"$place/list") files, $bytes bytes compressed"
echo "all is well"
