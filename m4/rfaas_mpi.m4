# --with-mpi=yes|no|auto: MPI by its compiler wrapper.
#
# Only the wrapper's flags are taken, so that CC stays what it is. All wrappers
# (Open MPI, MPICH and what is made of it) print their whole command for -show.
#
# Sets MPICC, MPI_CPPFLAGS, MPI_LIBS, MPIEXEC (the wrapper's own mpirun),
# MPIEXEC_FLAGS (what the tests give it), WITH_MPI and mpi_summary.
AC_DEFUN([RFAAS_WITH_MPI],
[AC_ARG_WITH([mpi],
    [AS_HELP_STRING([--with-mpi=yes|no|auto],
        [MPI layer, examples and benchmarks @<:@auto@:>@])],
    [], [with_mpi=auto])
AC_ARG_VAR([MPICC], [MPI compiler wrapper, whose flags are used; implies --with-mpi])
AC_ARG_VAR([MPIEXEC], [MPI launcher; default: the mpirun that belongs to MPICC])
AC_ARG_VAR([MPIEXEC_FLAGS], [flags of the MPI launcher in the tests])
AS_IF([test "$with_mpi" = auto && test -n "$MPICC"], [with_mpi=yes])

mpi_summary='none: left out by --without-mpi'
AS_CASE([$with_mpi],
    [no], [],
    [yes|auto], [
        rfaas_mpi_missing=
        AC_CHECK_PROGS([MPICC], [mpicc.openmpi mpicc mpicc.mpich])
        RFAAS_MPI_FLAGS
        RFAAS_MPI_LINK
        RFAAS_MPI_LAUNCHER
        AS_IF([test -z "$rfaas_mpi_missing"],
                [with_mpi=yes
                mpi_summary="$mpi_flavour ($MPICC, $MPIEXEC)"],
            [test "$with_mpi" = yes],
                [AC_MSG_ERROR([$rfaas_mpi_missing (Debian packages libopenmpi-dev and openmpi-bin)])],
            [with_mpi=no
            mpi_summary="none: $rfaas_mpi_missing"])],
    [AC_MSG_ERROR([--with-mpi takes yes, no or auto, not '$with_mpi'])])
AC_SUBST([with_mpi])
AM_CONDITIONAL([WITH_MPI], [test "$with_mpi" = yes])])

# Sorts the wrapper's command into flags for compiling and for linking. MPI's headers
# are system headers to us: their warnings aren't ours.
AC_DEFUN([RFAAS_MPI_FLAGS],
[AS_IF([test -z "$MPICC"], [rfaas_mpi_missing='no MPI compiler wrapper'],
    [rfaas_mpi_command=`$MPICC -show 2>/dev/null` ||
        rfaas_mpi_missing="'$MPICC -show' fails"])
for rfaas_flag in $rfaas_mpi_command; do
    AS_CASE([$rfaas_flag],
        [-I/usr/include], [],
        [-I*], [AS_VAR_APPEND([MPI_CPPFLAGS],
            [" -isystem `AS_ECHO([$rfaas_flag]) | sed 's/^-I//'`"])],
        [-D*], [AS_VAR_APPEND([MPI_CPPFLAGS], [" $rfaas_flag"])],
        [-L*|-l*|-Wl,*|*.so|*.a], [AS_VAR_APPEND([MPI_LIBS], [" $rfaas_flag"])])
done
AC_SUBST([MPI_CPPFLAGS])
AC_SUBST([MPI_LIBS])])

AC_DEFUN([RFAAS_MPI_LINK],
[AS_IF([test -z "$rfaas_mpi_missing"], [
    rfaas_save_CPPFLAGS=$CPPFLAGS rfaas_save_LIBS=$LIBS
    CPPFLAGS="$CPPFLAGS $MPI_CPPFLAGS" LIBS="$MPI_LIBS $LIBS"
    AC_MSG_CHECKING([whether MPI programs link with the flags of $MPICC])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <mpi.h>]], [[MPI_Init(0, 0);]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
        rfaas_mpi_missing="MPI programs don't link with the flags of $MPICC"])
    AC_MSG_CHECKING([which MPI it is])
    RFAAS_MPI_DEFINES([OPEN_MPI], [mpi_flavour='Open MPI'],
        [RFAAS_MPI_DEFINES([MPICH_VERSION], [mpi_flavour=MPICH],
            [mpi_flavour='an unknown MPI'])])
    AC_MSG_RESULT([$mpi_flavour])
    CPPFLAGS=$rfaas_save_CPPFLAGS LIBS=$rfaas_save_LIBS])])

# RFAAS_MPI_DEFINES(MACRO, IF-YES, IF-NO)
AC_DEFUN([RFAAS_MPI_DEFINES],
[AC_COMPILE_IFELSE(
    [AC_LANG_PROGRAM([[#include <mpi.h>]], [[(void)sizeof($1);]])], [$2], [$3])])

# mpicc.mpich has mpirun.mpich beside it, /opt/mpi/bin/mpicc /opt/mpi/bin/mpirun.
AC_DEFUN([RFAAS_MPI_LAUNCHER],
[AS_IF([test -z "$rfaas_mpi_missing"], [
    AC_MSG_CHECKING([for the launcher of $MPICC])
    AS_IF([test -z "$MPIEXEC"],
        [MPIEXEC=`AS_ECHO([$MPICC]) | sed 's, .*,,; s,mpicc\([[^/]]*\)$,mpirun\1,'`])
    AS_IF([command -v $MPIEXEC >/dev/null],
        [AC_MSG_RESULT([$MPIEXEC])],
        [AC_MSG_RESULT([no])
        rfaas_mpi_missing="the launcher '$MPIEXEC' is missing"])
    # More ranks than cores are welcome in tests; bound ones would sit on one core.
    AS_IF([test "$mpi_flavour" = 'Open MPI' && test -z "$MPIEXEC_FLAGS"],
        [MPIEXEC_FLAGS='--oversubscribe --bind-to none'])])])
