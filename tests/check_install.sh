#!/bin/sh
# What `make install` has put in place can be built against by pkg-config, and runs.
# make gives CC, PKG_CONFIG, PKG_CONFIG_PATH, PACKAGE_VERSION and bindir.
set -eu
tmp=$(mktemp -d "${TMPDIR:-/tmp}/rfaas-install.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

cat >"$tmp/version.c" <<EOF
#include <rfaas.h>
#include <string.h>
int main(void) { return strcmp(rfaas_version(), "$PACKAGE_VERSION") != 0; }
EOF
flags=$($PKG_CONFIG --cflags --libs rfaas)
$CC -o "$tmp/version" "$tmp/version.c" $flags \
    "-Wl,-rpath,$($PKG_CONFIG --variable=libdir rfaas)"
"$tmp/version"
"${bindir:?}/rfaas-info" >/dev/null
