#!/usr/bin/env bash
# Holds the sources to their layers: which folder of src/ includes what, MPI only in
# src/mpi, and which symbols the built libraries need and offer.
set -u
top=${srcdir:-.}
failed=0

complain()
{
    echo "$*"
    failed=1
}

# Folder: what it may include.
declare -A layers=(
    [base]='base'
    [transport]='base transport'
    [control]='base transport control'
    [manager]='base control manager'
    [executor]='base transport control executor'
    [client]='base transport control client'
    [mpi]='base transport control manager client mpi'
)

for path in "$top"/src/*/; do
    folder=$(basename "$path")
    allowed=${layers[$folder]-}
    if [ -z "$allowed" ]; then
        complain "src/$folder: not in the table of layers in tests/check_layering.sh"
        continue
    fi
    while IFS=: read -r file line text; do
        included=$(sed 's/[^"]*"\([^"/]*\).*/\1/' <<<"$text")
        [ "$included" = .. ] || [ -d "$top/src/$included" ] || continue
        case " $allowed " in
        *" $included "*) ;;
        *) complain "$file:$line: src/$folder must not use src/$included" ;;
        esac
    done < <(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*/' \
        "$path"*.[ch] 2>/dev/null)
done

while read -r place; do
    complain "$place: MPI outside src/mpi"
done < <(grep -rnE '#[[:space:]]*include[[:space:]]*[<"](mpi|mpi-ext|mpix_rfaas)\.h' \
    "$top/src" --include='*.[ch]' | grep -v "^$top/src/mpi/" | cut -d: -f1,2)

# symbols LIBRARY KIND: kind is defined or undefined
symbols()
{
    nm -D "--$2-only" ".libs/$1" | awk '{sub(/@.*/, "", $NF); print $NF}'
}

if [ -e .libs/librfaas.so ]; then
    while read -r symbol; do
        complain "librfaas.so needs $symbol: MPI below src/mpi"
    done < <(symbols librfaas.so undefined | grep -E '^(P?MPIX?_|ompi_|opal_)')
    while read -r symbol; do
        complain "librfaas.so offers $symbol, which isn't rfaas_…"
    done < <(symbols librfaas.so defined | grep -v '^rfaas_')
else
    complain "librfaas.so isn't built"
fi
# With MPICH the calls that complete requests come by this library: see src/mpi/mpich.c.
wrapped='^$'
if readelf -d .libs/libmpix_rfaas.so 2>/dev/null | grep -q 'NEEDED.*libmpich'; then
    wrapped='^MPI_((Wait|Test)(all|any|some)?|Request_get_status)$'
fi
if [ -e .libs/libmpix_rfaas.so ]; then
    while read -r symbol; do
        complain "libmpix_rfaas.so offers $symbol, which isn't MPIX_… or PMPIX_…"
    done < <(symbols libmpix_rfaas.so defined | grep -vE "^P?MPIX_|$wrapped")
fi
exit $failed
