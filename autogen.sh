#!/bin/sh
# Makes configure and Makefile.in in a git checkout; a tarball has them already.
set -e
cd "$(dirname "$0")"
exec autoreconf --install "$@"
