/* Round trips of rfaas_invoke over one transport, for bench/rdma; a line each. MODE: hot
 * (the worker polls) or warm (it sleeps). MEMORY: pool, where the arguments lie in memory of
 * rfaas_alloc, or malloc. */
#include "samples.h"

#include <rfaas.h>

#include <string.h>

static const char usage_text[] =
    "Usage: round_trips MANAGER_ADDRESS KEY_FILE LIBRARY [BYTES...]\n"
    "Measures invocations of the library's function `bounce`, hot and warm, with "
    "arguments\n"
    "in memory of the pool and of malloc; default: 8 1024 65536 1048576 bytes.\n";

enum { SIZES_MAX = 16 };

static rfaas_session *session;
static rfaas_function *bounce;

static void check(int status, const char *what)
{
    if (status == RFAAS_OK)
        return;
    fprintf(stderr, "round_trips: %s: %s\n", what, rfaas_last_error());
    exit(1);
}

static double round_trip(rfaas_lease *lease, const void *in, void *out, size_t size)
{
    rfaas_request *request;
    double start = now_ns();
    int status;
    check(rfaas_invoke(lease, 0, bounce, in, size, out, size, &request),
          "rfaas_invoke");
    while ((status = rfaas_test(&request, NULL)) == RFAAS_IN_PROGRESS)
        continue;
    double end = now_ns();
    check(status, "rfaas_test");
    return end - start;
}

static void *memory_get(const char *kind, size_t size)
{
    void *memory;
    if (strcmp(kind, "pool") == 0)
        check(rfaas_alloc(session, size, &memory), "rfaas_alloc");
    else
        memory = malloc(size);
    if (!memory)
        exit(1);
    memset(memory, 1, size);
    return memory;
}

static void memory_put(const char *kind, void *memory)
{
    if (strcmp(kind, "pool") == 0)
        check(rfaas_free(session, memory), "rfaas_free");
    else
        free(memory);
}

static void measure(rfaas_lease *lease, const char *mode, const char *kind, size_t size)
{
    static double times[SAMPLES_MAX];
    bool warm = strcmp(mode, "warm") == 0;
    size_t samples = samples_of(size, warm);
    void *in = memory_get(kind, size), *out = memory_get(kind, size);
    for (size_t i = 0; i < samples; i++) {
        if (warm)
            pause_awake();
        times[i] = round_trip(lease, in, out, size);
    }
    samples_print(mode, kind, size, times, samples);
    memory_put(kind, in);
    memory_put(kind, out);
}

int main(int argc, char **argv)
{
    static const char *const modes[][2] = {{"hot", "hot_timeout_us=-1"},
                                           {"warm", "hot_timeout_us=0"}};
    static const char *const kinds[] = {"pool", "malloc"};
    size_t sizes[SIZES_MAX] = {8, 1024, 65536, 1 << 20}, count = 4;
    char address[512], key[512];
    if (argc < 4) {
        fputs(usage_text, stderr);
        return 2;
    }
    for (int i = 4; i < argc && i - 4 < SIZES_MAX; i++) {
        sizes[i - 4] = strtoul(argv[i], NULL, 0);
        count = (size_t)i - 3;
        if (sizes[i - 4] == 0) {
            fprintf(stderr, "round_trips: %s is no number of bytes\n", argv[i]);
            return 2;
        }
    }
    snprintf(address, sizeof address, "manager_address=%s", argv[1]);
    snprintf(key, sizeof key, "key_file=%s", argv[2]);
    const char *const settings[] = {address, key, "threads=single", NULL};
    check(rfaas_session_open(settings, &session), "rfaas_session_open");
    check(rfaas_function_load(session, argv[3], "bounce", &bounce),
          "rfaas_function_load");
    for (int m = 0; m < 2; m++) {
        const char *const terms[] = {modes[m][1], "wait_seconds=10", NULL};
        rfaas_lease *lease;
        check(rfaas_lease_acquire(session, 1, terms, &lease), "rfaas_lease_acquire");
        for (int k = 0; k < 2; k++)
            for (size_t s = 0; s < count; s++)
                measure(lease, modes[m][0], kinds[k], sizes[s]);
        rfaas_lease_release(lease);
    }
    rfaas_session_close(session);
    return 0;
}
