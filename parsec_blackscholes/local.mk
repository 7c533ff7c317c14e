# blackscholes, its function library, and its twin with OpenMP. Built by `make`, run by
# quickstart and by tests/test_blackscholes.sh.

if WITH_MPI
noinst_PROGRAMS += parsec_blackscholes/blackscholes
noinst_DATA += parsec_blackscholes/libblackscholes.so
TESTS += tests/test_blackscholes.sh
endif
dist_check_SCRIPTS += tests/test_blackscholes.sh
CLEANFILES += parsec_blackscholes/libblackscholes.so
EXTRA_DIST += \
	parsec_blackscholes/README.md \
	parsec_blackscholes/options_600.txt \
	$(blackscholes_function)

# With these the compiler makes vector code of the kernel; see kernel.c. The program and
# the library get the same, for the comparison to be fair.
blackscholes_flags = -fno-math-errno -fno-trapping-math

blackscholes_function = \
	parsec_blackscholes/function.c \
	parsec_blackscholes/kernel.c \
	parsec_blackscholes/kernel.h
parsec_blackscholes/libblackscholes.so: $(blackscholes_function) include/rfaas_function.h
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(FUNCTION_LIBRARY) $(blackscholes_flags) -o $@ $(filter %.c,$^) -lm

parsec_blackscholes_blackscholes_CPPFLAGS = $(mpi_cppflags) \
	-DBLACKSCHOLES_SOURCE='"$(abs_srcdir)/parsec_blackscholes"'
parsec_blackscholes_blackscholes_CFLAGS = $(AM_CFLAGS) $(blackscholes_flags)
parsec_blackscholes_blackscholes_LDFLAGS = $(mpi_ldflags)
parsec_blackscholes_blackscholes_LDADD = $(mpi_ldadd) -lm
parsec_blackscholes_blackscholes_SOURCES = \
	$(blackscholes_common) \
	parsec_blackscholes/arguments.c \
	parsec_blackscholes/arguments.h \
	parsec_blackscholes/generate.c \
	parsec_blackscholes/generate.h \
	parsec_blackscholes/job.h \
	parsec_blackscholes/main.c \
	parsec_blackscholes/measure.c \
	parsec_blackscholes/problem_mpi.c \
	parsec_blackscholes/problem_mpi.h \
	parsec_blackscholes/report.c \
	parsec_blackscholes/report.h \
	parsec_blackscholes/results.c \
	parsec_blackscholes/shipped.c \
	parsec_blackscholes/shipped.h \
	parsec_blackscholes/split.c \
	parsec_blackscholes/split.h \
	parsec_blackscholes/workers.c \
	parsec_blackscholes/workers.h

# What doesn't know of MPI.
blackscholes_common = \
	parsec_blackscholes/command_line.c \
	parsec_blackscholes/command_line.h \
	parsec_blackscholes/errors.c \
	parsec_blackscholes/errors.h \
	parsec_blackscholes/file.c \
	parsec_blackscholes/file.h \
	parsec_blackscholes/input.c \
	parsec_blackscholes/input.h \
	parsec_blackscholes/kernel.c \
	parsec_blackscholes/kernel.h \
	parsec_blackscholes/output.c \
	parsec_blackscholes/output.h \
	parsec_blackscholes/parse.c \
	parsec_blackscholes/parse.h \
	parsec_blackscholes/problem.c \
	parsec_blackscholes/problem.h \
	parsec_blackscholes/progress.c \
	parsec_blackscholes/progress.h

if WITH_OPENMP
noinst_PROGRAMS += parsec_blackscholes/blackscholes_openmp
endif
parsec_blackscholes_blackscholes_openmp_CFLAGS = \
	$(AM_CFLAGS) $(blackscholes_flags) $(OPENMP_CFLAGS)
parsec_blackscholes_blackscholes_openmp_LDADD = -lm
parsec_blackscholes_blackscholes_openmp_SOURCES = \
	$(blackscholes_common) \
	parsec_blackscholes/openmp.c
