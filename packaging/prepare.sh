#!/bin/sh
# Writes what a package installs beside the program: manual pages and shell completions, from the program itself, and the
# change logs. The same input gives the same bytes.
#
#   packaging/prepare.sh target/release/hearken target/package
set -eu
hearken=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
rm -rf "$2"
mkdir -p "$2/man" "$2/completions"
"$hearken" generate man --out "$2/man" >/dev/null
gzip -9n "$2"/man/*.1
for shell in bash zsh fish; do "$hearken" generate completions "$shell" >"$2/completions/hearken.$shell"; done
gzip -9nc "$source/CHANGELOG.md" >"$2/changelog.gz"
# Debian's own change log of the package.
version=$("$hearken" --version | awk '{ print $2 }')
date=$(date -uRd "@${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2>/dev/null || date +%s)}")
cat >"$2/changelog.Debian" <<END
hearken ($version-1) unstable; urgency=medium

  * Version $version; its changes are in changelog.gz.

 -- The hearken developers <hearken@localhost>  $date
END
