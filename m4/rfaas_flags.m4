# How the code is compiled: developer and sanitizer builds.

# --enable-developer: warnings are errors.
AC_DEFUN([RFAAS_ENABLE_DEVELOPER],
[AC_ARG_ENABLE([developer],
    [AS_HELP_STRING([--enable-developer], [make compiler warnings errors])],
    [], [enable_developer=no])
AS_CASE([$enable_developer],
    [yes], [WARNING_CFLAGS='-Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2'],
    [no], [WARNING_CFLAGS=],
    [AC_MSG_ERROR([--enable-developer takes yes or no, not '$enable_developer'])])
AC_SUBST([WARNING_CFLAGS])])

# --enable-sanitizer=KIND. What a sanitizer finds ends the program, so tests fail.
AC_DEFUN([RFAAS_ENABLE_SANITIZER],
[AC_ARG_ENABLE([sanitizer],
    [AS_HELP_STRING([--enable-sanitizer=address|thread|undefined|address,undefined],
        [build with the compiler's sanitizers; best --without-mpi @<:@no@:>@])],
    [], [enable_sanitizer=no])
# ThreadSanitizer doesn't know fences, and gcc warns of them. Ours stand between atomic
# accesses to memory that processes share.
AS_CASE([$enable_sanitizer],
    [thread], [WARNING_CFLAGS="$WARNING_CFLAGS -Wno-unknown-warning-option -Wno-tsan"])
AS_CASE([$enable_sanitizer],
    [no], [SANITIZER_FLAGS=],
    [address|thread|undefined|address,undefined],
        [SANITIZER_FLAGS="-fsanitize=$enable_sanitizer -fno-sanitize-recover=all -fno-omit-frame-pointer"
        AC_DEFINE([RFAAS_SANITIZER], [1], [Define to 1 in builds with a sanitizer.])
        rfaas_save_CFLAGS=$CFLAGS
        CFLAGS="$CFLAGS $SANITIZER_FLAGS"
        AC_MSG_CHECKING([whether $CC takes $SANITIZER_FLAGS])
        AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes])],
            [AC_MSG_ERROR([it doesn't])])
        CFLAGS=$rfaas_save_CFLAGS],
    [AC_MSG_ERROR([--enable-sanitizer takes address, thread, undefined or address,undefined, not '$enable_sanitizer'])])
# A sanitizer's runtime is in the program: libraries with undefined symbols are right.
AS_IF([test "$enable_sanitizer" = no], [NO_UNDEFINED=-Wl,-z,defs], [NO_UNDEFINED=])
AC_SUBST([SANITIZER_FLAGS])
AC_SUBST([NO_UNDEFINED])])
