# Unit tests are programs on the layers' own libraries; MPI tests use what is installed
# and run with 1, 2 and 4 ranks. All go through tests/run-test, one at a time.
#
#     make check                                everything
#     make check TESTS=tests/test_leases        one of them; its log beside it
#     make check TEST_TIME_LIMIT=600            seconds for each, e.g. with a sanitizer

TEST_TIME_LIMIT = 120
LOG_COMPILER = $(srcdir)/tests/run-test
AM_LOG_FLAGS = --time-limit $(TEST_TIME_LIMIT)

# Programs and libraries under test are those of the build tree.
AM_TESTS_ENVIRONMENT = \
	export RFAAS_EXECUTOR='$(abs_top_builddir)/rfaas-executor' \
		RFAAS_MANAGER='$(abs_top_builddir)/rfaas-manager' \
		RFAAS_INFO='$(abs_top_builddir)/rfaas-info' \
		RFAAS_TEST_FUNCTIONS='$(abs_top_builddir)/tests/functions.so' \
		MPIEXEC='$(MPIEXEC)' \
		MPIEXEC_FLAGS='$(MPIEXEC_FLAGS)' \
		MPI_CPPFLAGS='$(MPI_CPPFLAGS)' \
		PACKAGE_VERSION='$(PACKAGE_VERSION)' \
		SOFTROCE_DIR='$(abs_top_builddir)/softroce' \
		CC='$(CC)' \
		CXX='$(CXX)';

dist_check_SCRIPTS += \
	tests/check_headers.sh \
	tests/check_install.sh \
	tests/check_layering.sh \
	tests/run-examples.sh \
	tests/run-mpi.sh \
	tests/run-test

TESTS += \
	tests/check_headers.sh \
	tests/check_layering.sh

# ---- unit tests: one file each, tests/NAME.c, unless NAME_SOURCES says more ----
unit_tests = \
	tests/test_arena \
	tests/test_base \
	tests/test_config \
	tests/test_connection \
	tests/test_control \
	tests/test_descriptors \
	tests/test_dial \
	tests/test_handshake \
	tests/test_keys \
	tests/test_lease_ends \
	tests/test_lease_random \
	tests/test_leases \
	tests/test_lease_resizes \
	tests/test_listener \
	tests/test_loops \
	tests/test_manager \
	tests/test_manager_abuse \
	tests/test_manager_program \
	tests/test_registrations \
	tests/test_remote_client \
	tests/test_remote_executor \
	tests/test_session \
	tests/test_session_data \
	tests/test_session_faults \
	tests/test_session_killed \
	tests/test_session_leases \
	tests/test_session_libraries \
	tests/test_session_many \
	tests/test_session_resizes \
	tests/test_session_rogues \
	tests/test_session_starting \
	tests/test_session_stopped \
	tests/test_session_strangers \
	tests/test_tcp \
	tests/test_transport \
	tests/test_transport_bounds \
	tests/test_transport_peers \
	tests/test_transport_sleep \
	tests/test_unmapping
# They need an RDMA device: tests/softroce/test_rdma.sh runs them.
verbs_tests = \
	tests/test_session_buffers \
	tests/test_session_verbs \
	tests/test_verbs
LDADD = tests/libtest.la libclient.la libmanager.la libexecutor.la $(below_client)

if WITH_CUNIT
check_LTLIBRARIES += tests/libtest.la
check_PROGRAMS += $(unit_tests) $(verbs_tests) tests/two_nodes
TESTS += $(unit_tests) tests/test_two_nodes.sh
check_DATA += tests/functions.so
endif

tests_libtest_la_CPPFLAGS = $(AM_CPPFLAGS) $(CUNIT_CFLAGS)
tests_libtest_la_LIBADD = $(CUNIT_LIBS)
tests_libtest_la_SOURCES = \
	tests/test.c \
	tests/test.h

control_peers = \
	tests/ends.c \
	tests/ends.h \
	tests/server.c \
	tests/server.h \
	tests/wire.c \
	tests/wire.h
tests_test_connection_SOURCES = tests/test_connection.c $(control_peers)
tests_test_control_SOURCES = tests/test_control.c $(control_peers)
tests_test_descriptors_SOURCES = tests/test_descriptors.c $(control_peers)
tests_test_dial_SOURCES = tests/test_dial.c $(control_peers)
tests_test_handshake_SOURCES = tests/test_handshake.c $(control_peers)
tests_test_keys_SOURCES = tests/test_keys.c $(control_peers)
tests_test_listener_SOURCES = tests/test_listener.c $(control_peers)
tests_test_tcp_SOURCES = tests/test_tcp.c $(control_peers)

# The parts of loops that know nothing of MPI.
tests_test_loops_SOURCES = tests/test_loops.c \
	src/mpi/loop_model.c \
	src/mpi/loop_model.h \
	src/mpi/loop_work.c \
	src/mpi/loop_work.h

lease_recorder = \
	tests/lease_recorder.c \
	tests/lease_recorder.h
tests_test_lease_ends_SOURCES = tests/test_lease_ends.c $(lease_recorder)
tests_test_lease_random_SOURCES = tests/test_lease_random.c $(lease_recorder)
tests_test_lease_resizes_SOURCES = tests/test_lease_resizes.c $(lease_recorder)
tests_test_leases_SOURCES = tests/test_leases.c $(lease_recorder)

manager_peers = \
	tests/manager_peers.c \
	tests/manager_peers.h
tests_test_manager_SOURCES = tests/test_manager.c $(manager_peers)
tests_test_manager_abuse_SOURCES = tests/test_manager_abuse.c $(manager_peers)
tests_test_remote_client_SOURCES = tests/test_remote_client.c $(manager_peers)
tests_test_remote_executor_SOURCES = tests/test_remote_executor.c $(manager_peers)
tests_test_remote_executor_LDADD = $(LDADD) $(CRYPTO_LIBS)

transport_pair = \
	tests/transport_pair.c \
	tests/transport_pair.h
tests_test_transport_SOURCES = tests/test_transport.c $(transport_pair)
tests_test_transport_bounds_SOURCES = tests/test_transport_bounds.c $(transport_pair)
tests_test_transport_peers_SOURCES = tests/test_transport_peers.c $(transport_pair)
tests_test_transport_sleep_SOURCES = tests/test_transport_sleep.c $(transport_pair)
tests_test_verbs_SOURCES = tests/test_verbs.c tests/verbs_only.h $(transport_pair)

mock_device = \
	tests/mock_device.c \
	tests/mock_device.h
tests_test_registrations_SOURCES = tests/test_registrations.c $(mock_device)
tests_test_unmapping_SOURCES = tests/test_unmapping.c $(mock_device)

session_pool = \
	tests/session_pool.c \
	tests/session_pool.h
tests_test_session_SOURCES = tests/test_session.c $(session_pool)
tests_test_session_buffers_SOURCES = tests/test_session_buffers.c tests/verbs_only.h $(session_pool)
tests_test_session_data_SOURCES = tests/test_session_data.c $(session_pool)
tests_test_session_faults_SOURCES = tests/test_session_faults.c $(session_pool)
tests_test_session_killed_SOURCES = tests/test_session_killed.c $(session_pool)
tests_test_session_leases_SOURCES = tests/test_session_leases.c $(session_pool)
tests_test_session_libraries_SOURCES = tests/test_session_libraries.c $(session_pool)
tests_test_session_many_SOURCES = tests/test_session_many.c $(session_pool)
tests_test_session_resizes_SOURCES = tests/test_session_resizes.c $(session_pool)
tests_test_session_rogues_SOURCES = tests/test_session_rogues.c $(session_pool)
tests_test_session_starting_SOURCES = tests/test_session_starting.c $(session_pool)
tests_test_session_stopped_SOURCES = tests/test_session_stopped.c $(session_pool)
tests_test_session_strangers_SOURCES = tests/test_session_strangers.c $(session_pool)
tests_test_session_verbs_SOURCES = tests/test_session_verbs.c tests/verbs_only.h $(session_pool)

# ---- functions that the tests invoke: one library. Some of them misbehave on purpose,
# which the compiler sees: no warnings ----
test_functions = \
	tests/functions/functions.c \
	tests/functions/loops.c \
	tests/functions/rogue.c \
	tests/functions/starts.c
EXTRA_DIST += $(test_functions)
CLEANFILES += tests/functions.so
tests/functions.so: $(test_functions) include/rfaas_function.h
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(FUNCTION_LIBRARY) -w -o $@ $(filter %.c,$^) -lm

# ---- MPI tests: PROGRAM[-ARGUMENT].RANKS is a script that runs the program with so
# many ranks ----
mpi_tests = \
	tests/test_mpi_acquiring \
	tests/test_mpi_calls \
	tests/test_mpi_data \
	tests/test_mpi_errors \
	tests/test_mpi_faults \
	tests/test_mpi_invocations \
	tests/test_mpi_invoke_all \
	tests/test_mpi_loop_losses \
	tests/test_mpi_loops \
	tests/test_mpi_losses \
	tests/test_mpi_pools \
	tests/test_mpi_races \
	tests/test_mpi_requests \
	tests/test_mpi_serve
mpi_test_runs = \
	$(mpi_tests:=.1) \
	$(mpi_tests:=.2) \
	$(mpi_tests:=.4) \
	tests/test_mpi_threads-single.1 \
	tests/test_mpi_threads-funneled.2 \
	tests/test_mpi_threads-serialized.2 \
	tests/test_mpi_threads-multiple.1 \
	tests/test_mpi_threads-multiple.2 \
	tests/test_mpi_threads-multiple.4
dist_check_SCRIPTS += tests/test_mpi_kill.sh tests/test_two_nodes.sh

if WITH_MPI
TESTS += tests/run-examples.sh
if WITH_CUNIT
check_PROGRAMS += $(mpi_tests) tests/test_mpi_threads \
	tests/mpi_guests tests/mpi_nodes tests/mpi_victim
check_SCRIPTS += $(mpi_test_runs)
TESTS += $(mpi_test_runs) tests/test_mpi_kill.sh
endif
endif

CLEANFILES += $(mpi_test_runs)
$(mpi_test_runs): Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && { \
	echo '#!/bin/sh' && \
	echo 'exec "$(abs_srcdir)/tests/run-mpi.sh" $(patsubst .%,%,$(suffix $@)) ./$(subst -, ,$(basename $@))'; \
	} >$@ && chmod +x $@

mpi_test_ldadd = tests/libtest.la $(mpi_ldadd)
mpi_test_pool = \
	tests/mpi_pool.c \
	tests/mpi_pool.h

tests_test_mpi_acquiring_SOURCES = tests/test_mpi_acquiring.c $(mpi_test_pool)
tests_test_mpi_acquiring_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_acquiring_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_acquiring_LDADD = $(mpi_test_ldadd)

tests_test_mpi_calls_SOURCES = tests/test_mpi_calls.c $(mpi_test_pool)
tests_test_mpi_calls_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_calls_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_calls_LDADD = $(mpi_test_ldadd)

tests_test_mpi_data_SOURCES = tests/test_mpi_data.c $(mpi_test_pool)
tests_test_mpi_data_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_data_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_data_LDADD = $(mpi_test_ldadd)

tests_test_mpi_errors_SOURCES = tests/test_mpi_errors.c $(mpi_test_pool)
tests_test_mpi_errors_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_errors_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_errors_LDADD = $(mpi_test_ldadd)

tests_test_mpi_faults_SOURCES = tests/test_mpi_faults.c $(mpi_test_pool)
tests_test_mpi_faults_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_faults_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_faults_LDADD = $(mpi_test_ldadd)

tests_test_mpi_invocations_SOURCES = tests/test_mpi_invocations.c $(mpi_test_pool)
tests_test_mpi_invocations_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_invocations_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_invocations_LDADD = $(mpi_test_ldadd)

tests_test_mpi_invoke_all_SOURCES = tests/test_mpi_invoke_all.c $(mpi_test_pool)
tests_test_mpi_invoke_all_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_invoke_all_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_invoke_all_LDADD = $(mpi_test_ldadd)

tests_test_mpi_loop_losses_SOURCES = tests/test_mpi_loop_losses.c $(mpi_test_pool)
tests_test_mpi_loop_losses_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_loop_losses_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_loop_losses_LDADD = $(mpi_test_ldadd)

tests_test_mpi_loops_SOURCES = tests/test_mpi_loops.c $(mpi_test_pool)
tests_test_mpi_loops_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_loops_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_loops_LDADD = $(mpi_test_ldadd)

tests_test_mpi_losses_SOURCES = tests/test_mpi_losses.c $(mpi_test_pool)
tests_test_mpi_losses_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_losses_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_losses_LDADD = $(mpi_test_ldadd)

tests_test_mpi_pools_SOURCES = tests/test_mpi_pools.c $(mpi_test_pool)
tests_test_mpi_pools_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_pools_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_pools_LDADD = $(mpi_test_ldadd)

tests_test_mpi_races_SOURCES = tests/test_mpi_races.c $(mpi_test_pool)
tests_test_mpi_races_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_races_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_races_LDADD = $(mpi_test_ldadd)

tests_test_mpi_requests_SOURCES = tests/test_mpi_requests.c $(mpi_test_pool)
tests_test_mpi_requests_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_requests_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_requests_LDADD = $(mpi_test_ldadd)

tests_test_mpi_serve_SOURCES = tests/test_mpi_serve.c $(mpi_test_pool)
tests_test_mpi_serve_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_serve_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_serve_LDADD = $(mpi_test_ldadd)

tests_test_mpi_threads_SOURCES = tests/test_mpi_threads.c $(mpi_test_pool)
tests_test_mpi_threads_CPPFLAGS = $(mpi_cppflags)
tests_test_mpi_threads_LDFLAGS = $(mpi_ldflags)
tests_test_mpi_threads_LDADD = $(mpi_test_ldadd)

# What tests/test_two_nodes.sh runs.
tests_two_nodes_SOURCES = tests/two_nodes.c
tests_mpi_nodes_SOURCES = tests/mpi_nodes.c
tests_mpi_nodes_CPPFLAGS = $(mpi_cppflags)
tests_mpi_nodes_LDFLAGS = $(mpi_ldflags)
tests_mpi_nodes_LDADD = $(mpi_ldadd)

# What tests/softroce/test_two_guests.sh runs.
tests_mpi_guests_SOURCES = tests/mpi_guests.c $(mpi_test_pool)
tests_mpi_guests_CPPFLAGS = $(mpi_cppflags)
tests_mpi_guests_LDFLAGS = $(mpi_ldflags)
tests_mpi_guests_LDADD = $(mpi_test_ldadd)

# What tests/test_mpi_kill.sh kills.
tests_mpi_victim_SOURCES = tests/mpi_victim.c
tests_mpi_victim_CPPFLAGS = $(mpi_cppflags)
tests_mpi_victim_LDFLAGS = $(mpi_ldflags)
tests_mpi_victim_LDADD = $(mpi_ldadd)

# ---- RDMA, in emulated machines: skipped where there is no QEMU ----
dist_check_SCRIPTS += \
	tests/softroce/guest \
	tests/softroce/image \
	tests/softroce/in_guest.sh \
	tests/softroce/in_pair.sh \
	tests/softroce/in_rdma.sh \
	tests/softroce/in_two_guests.sh \
	tests/softroce/init \
	tests/softroce/test_guest.sh \
	tests/softroce/test_pair.sh \
	tests/softroce/test_rdma.sh \
	tests/softroce/test_rdma_sessions.sh \
	tests/softroce/test_two_guests.sh
TESTS += \
	tests/softroce/test_guest.sh \
	tests/softroce/test_pair.sh \
	tests/softroce/test_rdma.sh \
	tests/softroce/test_rdma_sessions.sh \
	tests/softroce/test_two_guests.sh
distclean-local: # a make clean keeps what was downloaded
	rm -rf softroce

# ---- after make install; part of make distcheck ----
installcheck-local:
	CC='$(CC) $(SANITIZER_FLAGS)' PKG_CONFIG='$(PKG_CONFIG)' PKG_CONFIG_PATH='$(DESTDIR)$(pkgconfigdir)' \
	PACKAGE_VERSION='$(PACKAGE_VERSION)' bindir='$(DESTDIR)$(bindir)' \
	$(srcdir)/tests/check_install.sh
