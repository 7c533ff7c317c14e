#!/usr/bin/env bash
# Each public header compiles alone, as C11 and as C++17, without a warning; and the
# version that they tell is the package's. make gives CC, CXX, MPI_CPPFLAGS and
# PACKAGE_VERSION.
set -u
include=${srcdir:-.}/include
warnings='-Wall -Wextra -pedantic -Werror'
failed=0

compiles_alone() # HEADER COMPILER...
{
    local header=$1
    shift
    if ! echo "#include <$header>" | "$@" $warnings -fsyntax-only "-I$include" -; then
        echo "$header doesn't compile alone: $*"
        failed=1
    fi
}

cxx=
for candidate in ${CXX-} g++ clang++; do
    if command -v "$candidate" >/dev/null; then
        cxx=$candidate
        break
    fi
done
[ -n "$cxx" ] || echo "SKIPPED: headers as C++17: no C++ compiler (Debian package g++)"

for header in rfaas.h rfaas_function.h mpix_rfaas.h; do
    flags=
    if [ $header = mpix_rfaas.h ]; then
        flags=${MPI_CPPFLAGS-}
        if [ -z "$flags" ]; then
            echo "SKIPPED: $header: built without MPI"
            continue
        fi
    fi
    compiles_alone $header ${CC:-cc} -x c -std=c11 $flags
    [ -z "$cxx" ] || compiles_alone $header $cxx -x c++ -std=c++17 $flags
done

version=$(printf '%s\n' '#include <rfaas.h>' \
    'RFAAS_VERSION_MAJOR.RFAAS_VERSION_MINOR.RFAAS_VERSION_PATCH' |
    ${CC:-cc} -E -P "-I$include" -x c - | tail -n 1 | tr -d ' ')
if [ "$version" != "$PACKAGE_VERSION" ]; then
    echo "rfaas.h says version $version, configure.ac $PACKAGE_VERSION"
    failed=1
fi
exit $failed
