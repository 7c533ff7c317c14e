# Layers: base <- transport <- control <- { manager, executor, client } <- mpi, each a
# library of its own that names what it needs from outside. tests/check_layering.sh
# holds them to it.

include_HEADERS += \
	include/rfaas.h \
	include/rfaas_function.h

noinst_LTLIBRARIES += \
	libbase.la \
	libtransport.la \
	libcontrol.la \
	libmanager.la \
	libexecutor.la \
	libclient.la

libbase_la_LIBADD = $(INIPARSER_LIBS) $(HWLOC_LIBS)
libbase_la_SOURCES = \
	src/base/callable.c \
	src/base/callable.h \
	src/base/clock.h \
	src/base/config.c \
	src/base/config.h \
	src/base/config_value.c \
	src/base/config_value.h \
	src/base/cores.c \
	src/base/cores.h \
	src/base/error.c \
	src/base/error.h \
	src/base/export.h \
	src/base/log.c \
	src/base/log.h \
	src/base/random.h \
	src/base/status.c

libtransport_la_SOURCES = \
	src/transport/shm.c \
	src/transport/shm.h \
	src/transport/shm_memory.c \
	src/transport/transport.c \
	src/transport/transport.h
if WITH_VERBS
libtransport_la_LIBADD = $(VERBS_LIBS)
libtransport_la_SOURCES += \
	src/transport/verbs.c \
	src/transport/verbs.h \
	src/transport/verbs_device.c \
	src/transport/verbs_endpoint.c \
	src/transport/verbs_port.c
endif

libcontrol_la_LIBADD = $(PROTOBUF_C_LIBS) $(EVENT_LIBS) $(CRYPTO_LIBS)
libcontrol_la_SOURCES = \
	$(control_messages) \
	src/control/address.c \
	src/control/address.h \
	src/control/connection.c \
	src/control/connection.h \
	src/control/dial.c \
	src/control/dial.h \
	src/control/handshake.c \
	src/control/handshake.h \
	src/control/host.c \
	src/control/host.h \
	src/control/inbox.c \
	src/control/inbox.h \
	src/control/invocation.h \
	src/control/key.c \
	src/control/listener.c \
	src/control/socket.c \
	src/control/socket.h \
	src/control/stream.c \
	src/control/stream.h

libmanager_la_LIBADD = $(EVENT_LIBS)
libmanager_la_SOURCES = \
	src/manager/executors.c \
	src/manager/executors.h \
	src/manager/leases.c \
	src/manager/leases.h \
	src/manager/messages.c \
	src/manager/messages.h \
	src/manager/owners.c \
	src/manager/queue.c \
	src/manager/queue.h \
	src/manager/transitions.c \
	src/manager/transitions.h \
	src/manager/requests.c \
	src/manager/requests.h \
	src/manager/server.c \
	src/manager/server.h

libexecutor_la_LIBADD = $(EVENT_LIBS) $(CRYPTO_LIBS)
libexecutor_la_SOURCES = \
	src/executor/answer.c \
	src/executor/clients.c \
	src/executor/executor.c \
	src/executor/executor.h \
	src/executor/function.c \
	src/executor/function.h \
	src/executor/leases.c \
	src/executor/library.c \
	src/executor/library.h \
	src/executor/output.c \
	src/executor/output.h \
	src/executor/worker.c \
	src/executor/worker.h \
	src/executor/worker_control.c \
	src/executor/worker_state.h \
	src/executor/workers.c

libclient_la_LIBADD = $(CRYPTO_LIBS)
libclient_la_SOURCES = \
	src/client/arena.c \
	src/client/arena.h \
	src/client/buffers.c \
	src/client/client.h \
	src/client/commands.c \
	src/client/control.c \
	src/client/control.h \
	src/client/control_thread.h \
	src/client/device.h \
	src/client/function.c \
	src/client/invoke.c \
	src/client/lease.c \
	src/client/links.c \
	src/client/lost.c \
	src/client/offers.c \
	src/client/records.c \
	src/client/registrations.c \
	src/client/registrations.h \
	src/client/remotes.c \
	src/client/requests.c \
	src/client/resize.c \
	src/client/session.c \
	src/client/unmapping.c \
	src/client/unmapping.h \
	src/client/worker_commands.c \
	src/client/worker_connection.c \
	src/client/workers.c

# ---- control messages: generated in the build tree, and shipped in the tarball ----
control_messages = \
	src/control/rfaas.pb-c.c \
	src/control/rfaas.pb-c.h
BUILT_SOURCES += $(control_messages)
MAINTAINERCLEANFILES += $(control_messages)
EXTRA_DIST += src/control/rfaas.proto

# A pattern rule, since one run makes both files.
%.pb-c.c %.pb-c.h: %.proto
	$(AM_V_GEN)$(MKDIR_P) src && $(PROTOC_C) -I$(srcdir)/src --c_out=src $<

# ---- what is installed ----
below_client = libcontrol.la libtransport.la libbase.la

lib_LTLIBRARIES += librfaas.la
librfaas_la_SOURCES =
librfaas_la_LIBADD = libclient.la libmanager.la $(below_client)
librfaas_la_LDFLAGS = $(AM_LDFLAGS) $(NO_UNDEFINED) -version-info 0:0:0
pkgconfig_DATA += rfaas.pc

bin_PROGRAMS += \
	rfaas-executor \
	rfaas-info \
	rfaas-manager

rfaas_executor_SOURCES = src/executor/main.c
rfaas_executor_LDADD = libexecutor.la $(below_client)

rfaas_info_SOURCES = src/client/info.c
rfaas_info_LDADD = libclient.la $(below_client)

rfaas_manager_SOURCES = src/manager/main.c
rfaas_manager_LDADD = libmanager.la $(below_client)

if WITH_MPI
include_HEADERS += include/mpix_rfaas.h
lib_LTLIBRARIES += libmpix_rfaas.la
pkgconfig_DATA += mpix-rfaas.pc
else
EXTRA_DIST += include/mpix_rfaas.h
endif

libmpix_rfaas_la_CPPFLAGS = $(mpi_cppflags)
libmpix_rfaas_la_LIBADD = librfaas.la $(MPI_LIBS)
libmpix_rfaas_la_LDFLAGS = $(AM_LDFLAGS) $(NO_UNDEFINED) -version-info 0:0:0
libmpix_rfaas_la_SOURCES = \
	src/mpi/datatype.c \
	src/mpi/errors.c \
	src/mpi/function.c \
	src/mpi/invocation.c \
	src/mpi/invocation.h \
	src/mpi/invoke.c \
	src/mpi/invoke_all.c \
	src/mpi/launch.c \
	src/mpi/lease.c \
	src/mpi/loop.c \
	src/mpi/loop.h \
	src/mpi/loop_local.c \
	src/mpi/loop_model.c \
	src/mpi/loop_model.h \
	src/mpi/loop_remote.c \
	src/mpi/loop_work.c \
	src/mpi/loop_work.h \
	src/mpi/mpich.c \
	src/mpi/mpix.h \
	src/mpi/parallel_for.c \
	src/mpi/pool.c \
	src/mpi/progress.c \
	src/mpi/serve.c \
	src/mpi/settings.c \
	src/mpi/settings.h \
	src/mpi/task.c \
	src/mpi/task.h
