# Libraries and tools: what is missing is named together with its Debian package.

# RFAAS_REQUIRE(VARIABLE, PKG-CONFIG MODULE, DEBIAN PACKAGE)
AC_DEFUN([RFAAS_REQUIRE],
[PKG_CHECK_MODULES([$1], [$2], [],
    [AC_MSG_ERROR([$2 is missing (Debian package $3)])])])

# iniparser and uthash come without pkg-config files.
AC_DEFUN([RFAAS_REQUIRE_INIPARSER],
[AC_CHECK_HEADER([iniparser/iniparser.h], [],
    [AC_MSG_ERROR([iniparser is missing (Debian package libiniparser-dev)])])
AC_CHECK_LIB([iniparser], [iniparser_load], [AC_SUBST([INIPARSER_LIBS], [-liniparser])],
    [AC_MSG_ERROR([iniparser is missing (Debian package libiniparser-dev)])])])

AC_DEFUN([RFAAS_REQUIRE_UTHASH],
[AC_CHECK_HEADER([uthash.h], [],
    [AC_MSG_ERROR([uthash is missing (Debian package uthash-dev)])])])

# The compiler of the control messages. A tarball has its output and can do without.
AC_DEFUN([RFAAS_PROTOC_C],
[AC_ARG_VAR([PROTOC_C], [compiler of control messages, protoc-c])
AC_CHECK_PROGS([PROTOC_C], [protoc-c])
AS_IF([test -z "$PROTOC_C"],
    [AS_IF([test -f "$srcdir/src/control/rfaas.pb-c.c"], [PROTOC_C=protoc-c],
        [AC_MSG_ERROR([protoc-c is missing (Debian package protobuf-c-compiler)])])])])

# --with-cunit=yes|no|auto: the unit tests.
AC_DEFUN([RFAAS_WITH_CUNIT],
[AC_ARG_WITH([cunit],
    [AS_HELP_STRING([--with-cunit=yes|no|auto], [unit tests with CUnit @<:@auto@:>@])],
    [], [with_cunit=auto])
AS_CASE([$with_cunit],
    [no], [],
    [yes|auto], [PKG_CHECK_MODULES([CUNIT], [cunit], [with_cunit=yes],
        [AS_IF([test "$with_cunit" = yes],
            [AC_MSG_ERROR([CUnit is missing (Debian package libcunit1-dev)])])
        with_cunit=no])],
    [AC_MSG_ERROR([--with-cunit takes yes, no or auto, not '$with_cunit'])])
AM_CONDITIONAL([WITH_CUNIT], [test "$with_cunit" = yes])
AS_IF([test "$with_cunit" = yes], [cunit_summary='CUnit'],
    [cunit_summary='none: no CUnit'])])

# --with-verbs=yes|no|auto: the transport verbs, RDMA by libibverbs.
AC_DEFUN([RFAAS_WITH_VERBS],
[AC_ARG_WITH([verbs],
    [AS_HELP_STRING([--with-verbs=yes|no|auto], [RDMA by libibverbs @<:@auto@:>@])],
    [], [with_verbs=auto])
AS_CASE([$with_verbs],
    [no], [],
    [yes|auto], [PKG_CHECK_MODULES([VERBS], [libibverbs >= 1.13], [with_verbs=yes],
        [AS_IF([test "$with_verbs" = yes],
            [AC_MSG_ERROR([libibverbs is missing (Debian package libibverbs-dev)])])
        with_verbs=no])],
    [AC_MSG_ERROR([--with-verbs takes yes, no or auto, not '$with_verbs'])])
AM_CONDITIONAL([WITH_VERBS], [test "$with_verbs" = yes])
AS_IF([test "$with_verbs" = yes], [have_verbs=1 transports_summary='shm verbs'],
    [have_verbs=0 transports_summary='shm (no verbs: no libibverbs)'])
AC_SUBST([have_verbs])
AC_SUBST([with_verbs])])

# --with-ucm=yes|no|auto: UCM's header. The library is loaded at run time, where it is.
AC_DEFUN([RFAAS_WITH_UCM],
[AC_ARG_WITH([ucm],
    [AS_HELP_STRING([--with-ucm=yes|no|auto],
        [keep buffers registered with RDMA devices, by UCX's UCM @<:@auto@:>@])],
    [], [with_ucm=auto])
AS_CASE([$with_ucm],
    [no], [],
    [yes|auto], [AC_CHECK_HEADER([ucm/api/ucm.h], [with_ucm=yes],
        [AS_IF([test "$with_ucm" = yes],
            [AC_MSG_ERROR([UCM is missing (Debian package libucx-dev)])])
        with_ucm=no])],
    [AC_MSG_ERROR([--with-ucm takes yes, no or auto, not '$with_ucm'])])
AS_IF([test "$with_ucm" = yes],
    [have_ucm=1 buffers_summary='registered when they are used again (UCM)'],
    [have_ucm=0 buffers_summary='copied (no UCM)'])
AS_IF([test "$with_verbs" = no], [buffers_summary='copied (no verbs)'])
AC_SUBST([have_ucm])
AC_SUBST([with_ucm])])

# --disable-openmp: the programs with OpenMP. AC_OPENMP adds that option and sets
# OPENMP_CFLAGS; a compiler may take the flag and yet have no library.
AC_DEFUN([RFAAS_WITH_OPENMP],
[AC_OPENMP
rfaas_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS $OPENMP_CFLAGS"
AS_IF([test "$enable_openmp" = no], [with_openmp=no],
    [AC_MSG_CHECKING([whether OpenMP programs link])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <omp.h>]],
            [[return omp_get_max_threads() < _OPENMP;]])],
        [with_openmp=yes], [with_openmp=no])
    AC_MSG_RESULT([$with_openmp])])
CFLAGS=$rfaas_save_CFLAGS
AM_CONDITIONAL([WITH_OPENMP], [test "$with_openmp" = yes])])
