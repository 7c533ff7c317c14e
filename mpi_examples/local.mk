# Each example NN_name.c has a function library NN_functions.c. Built by `make`, run by
# the tests (tests/run-examples.sh). An example takes its library from argv[1], or from
# where it was built.

mpi_examples = \
	mpi_examples/01_hello \
	mpi_examples/02_overlap \
	mpi_examples/03_many_workers \
	mpi_examples/04_errors \
	mpi_examples/05_jacobi \
	mpi_examples/06_matmul \
	mpi_examples/07_quadrature \
	mpi_examples/09_loops
example_functions = \
	mpi_examples/01_functions.so \
	mpi_examples/02_functions.so \
	mpi_examples/03_functions.so \
	mpi_examples/04_functions.so \
	mpi_examples/05_functions.so \
	mpi_examples/06_functions.so \
	mpi_examples/07_functions.so \
	mpi_examples/08_functions.so \
	mpi_examples/09_functions.so

if WITH_OPENMP
mpi_examples += mpi_examples/08_openmp
endif

if WITH_MPI
noinst_PROGRAMS += $(mpi_examples)
noinst_DATA += $(example_functions)
endif
CLEANFILES += $(example_functions)
EXTRA_DIST += $(example_functions:.so=.c)

mpi_examples/02_functions.so: mpi_examples/02_stencil.h
mpi_examples/03_functions.so: mpi_examples/03_mandelbrot.h

# A kernel that ranks and workers share is compiled for both, with the same flags.
mpi_examples/05_functions.so: mpi_examples/05_sweeps.c mpi_examples/05_sweeps.h
mpi_examples/06_functions.so: mpi_examples/06_multiply.c mpi_examples/06_multiply.h
mpi_examples/07_functions.so: mpi_examples/07_simpson.h
mpi_examples/08_functions.so: mpi_examples/08_collatz.h

mpi_examples_01_hello_SOURCES = mpi_examples/01_hello.c
mpi_examples_01_hello_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/01_functions.so"'
mpi_examples_01_hello_LDFLAGS = $(mpi_ldflags)
mpi_examples_01_hello_LDADD = $(mpi_ldadd)

mpi_examples_02_overlap_SOURCES = \
	mpi_examples/02_overlap.c \
	mpi_examples/02_stencil.h
mpi_examples_02_overlap_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/02_functions.so"'
mpi_examples_02_overlap_LDFLAGS = $(mpi_ldflags)
mpi_examples_02_overlap_LDADD = $(mpi_ldadd)

mpi_examples_03_many_workers_SOURCES = \
	mpi_examples/03_many_workers.c \
	mpi_examples/03_mandelbrot.h
mpi_examples_03_many_workers_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/03_functions.so"'
mpi_examples_03_many_workers_LDFLAGS = $(mpi_ldflags)
mpi_examples_03_many_workers_LDADD = $(mpi_ldadd)

mpi_examples_04_errors_SOURCES = mpi_examples/04_errors.c
mpi_examples_04_errors_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/04_functions.so"'
mpi_examples_04_errors_LDFLAGS = $(mpi_ldflags)
mpi_examples_04_errors_LDADD = $(mpi_ldadd)

mpi_examples_05_jacobi_SOURCES = \
	mpi_examples/05_jacobi.c \
	mpi_examples/comparison.h \
	mpi_examples/05_sweeps.c \
	mpi_examples/05_sweeps.h
mpi_examples_05_jacobi_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/05_functions.so"'
mpi_examples_05_jacobi_CFLAGS = $(AM_CFLAGS) $(kernel_flags)
mpi_examples_05_jacobi_LDFLAGS = $(mpi_ldflags)
mpi_examples_05_jacobi_LDADD = $(mpi_ldadd) -lm

mpi_examples_06_matmul_SOURCES = \
	mpi_examples/06_matmul.c \
	mpi_examples/comparison.h \
	mpi_examples/06_multiply.c \
	mpi_examples/06_multiply.h
mpi_examples_06_matmul_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/06_functions.so"'
mpi_examples_06_matmul_CFLAGS = $(AM_CFLAGS) $(kernel_flags)
mpi_examples_06_matmul_LDFLAGS = $(mpi_ldflags)
mpi_examples_06_matmul_LDADD = $(mpi_ldadd) -lm

mpi_examples_07_quadrature_SOURCES = \
	mpi_examples/07_quadrature.c \
	mpi_examples/07_simpson.h
mpi_examples_07_quadrature_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/07_functions.so"'
mpi_examples_07_quadrature_CFLAGS = $(AM_CFLAGS) $(kernel_flags)
mpi_examples_07_quadrature_LDFLAGS = $(mpi_ldflags)
mpi_examples_07_quadrature_LDADD = $(mpi_ldadd) -lm

mpi_examples_08_openmp_SOURCES = \
	mpi_examples/08_openmp.c \
	mpi_examples/08_collatz.h
mpi_examples_08_openmp_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/08_functions.so"'
mpi_examples_08_openmp_CFLAGS = $(AM_CFLAGS) $(OPENMP_CFLAGS)
mpi_examples_08_openmp_LDFLAGS = $(mpi_ldflags)
mpi_examples_08_openmp_LDADD = $(mpi_ldadd)

mpi_examples_09_loops_SOURCES = mpi_examples/09_loops.c
mpi_examples_09_loops_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/09_functions.so"'
mpi_examples_09_loops_LDFLAGS = $(mpi_ldflags)
mpi_examples_09_loops_LDADD = $(mpi_ldadd) -lm
