# Each example NN_name.c has a function library NN_functions.c. Built by `make`, run by
# the tests (tests/run-examples.sh). An example takes its library from argv[1], or from
# where it was built.

mpi_examples = \
	mpi_examples/01_hello \
	mpi_examples/02_overlap \
	mpi_examples/03_many_workers \
	mpi_examples/04_errors \
	mpi_examples/05_loops
example_functions = \
	mpi_examples/01_functions.so \
	mpi_examples/02_functions.so \
	mpi_examples/03_functions.so \
	mpi_examples/04_functions.so \
	mpi_examples/05_functions.so

if WITH_MPI
noinst_PROGRAMS += $(mpi_examples)
noinst_DATA += $(example_functions)
endif
CLEANFILES += $(example_functions)
EXTRA_DIST += $(example_functions:.so=.c)

mpi_examples/02_functions.so: mpi_examples/02_stencil.h
mpi_examples/03_functions.so: mpi_examples/03_mandelbrot.h

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

mpi_examples_05_loops_SOURCES = mpi_examples/05_loops.c
mpi_examples_05_loops_CPPFLAGS = $(mpi_cppflags) \
	-DFUNCTIONS='"$(abs_top_builddir)/mpi_examples/05_functions.so"'
mpi_examples_05_loops_LDFLAGS = $(mpi_ldflags)
mpi_examples_05_loops_LDADD = $(mpi_ldadd) -lm
