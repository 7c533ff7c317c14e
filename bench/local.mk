# bench/latency, bench/loops and the functions that they invoke. Built by `make`, run by
# hand.

if WITH_MPI
noinst_PROGRAMS += bench/latency bench/loops
endif
# bench/rdma, a script, and what it runs.
noinst_PROGRAMS += bench/round_trips
noinst_DATA += bench/functions.so
bench_round_trips_SOURCES = bench/round_trips.c bench/samples.h
bench_round_trips_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_round_trips_LDADD = librfaas.la
if WITH_VERBS
noinst_PROGRAMS += bench/verbs_round_trips
bench_verbs_round_trips_SOURCES = bench/verbs_round_trips.c bench/samples.h
bench_verbs_round_trips_LDADD = $(VERBS_LIBS)
endif
EXTRA_DIST += bench/rdma
CLEANFILES += bench/functions.so
EXTRA_DIST += bench/functions.c

# Scripts that measure the applications and plot it, run in a build tree.
EXTRA_DIST += \
	bench/blackscholes \
	bench/jacobi \
	bench/matmul \
	bench/quadrature \
	bench/scaling.sh
if WITH_MPI
TESTS += tests/test_bench.sh
endif
dist_check_SCRIPTS += tests/test_bench.sh

bench_latency_SOURCES = bench/latency.c
bench_latency_CPPFLAGS = $(mpi_cppflags) \
	-DBENCH_FUNCTIONS='"$(abs_top_builddir)/bench/functions.so"'
bench_latency_LDFLAGS = $(mpi_ldflags)
bench_latency_LDADD = $(mpi_ldadd)

bench_loops_SOURCES = bench/loops.c
bench_loops_CPPFLAGS = $(mpi_cppflags) \
	-DBENCH_FUNCTIONS='"$(abs_top_builddir)/bench/functions.so"' \
	-DBENCH_BLACKSCHOLES='"$(abs_top_builddir)/parsec_blackscholes/libblackscholes.so"'
bench_loops_LDFLAGS = $(mpi_ldflags)
bench_loops_LDADD = $(mpi_ldadd) -ldl
