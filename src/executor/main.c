/* The program rfaas-executor. */
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "executor/executor.h"
#include "executor/worker.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usage_text[] =
    "Usage: rfaas-executor --manager ADDRESS [OPTION]...\n"
    "Offers cores of this node to the pool of a manager, and runs workers on them.\n"
    "\n"
    "  -m, --manager ADDRESS  the manager's address, as it or MPIX_Pool_get_info says\n"
    "  -k, --key-file FILE    file with the job's key; a manager of the same user on\n"
    "                         this node tells by itself where it is\n"
    "      --listen HOST:PORT where clients on other nodes reach it, by TCP; tcp: at "
    "any\n"
    "                         free port; default (auto): so if the manager is reached\n"
    "                         by TCP, else nowhere\n"
    "  -c, --cores N          cores to offer (default: all it may use); more than "
    "there\n"
    "                         are share them\n"
    "      --cpuset LIST      the cores to bind workers to, e.g. 1,4-7\n"
    "  -l, --log-level LEVEL  none, error, warn (default), info or debug\n"
    "      --ready-fd FD      write a line to this descriptor when registered:\n"
    "                         \"ready\", or why it failed\n"
    "      --lender-fd FD     a socket of whoever lends it the cores; its end is taken "
    "as\n"
    "                         SIGTERM, and answered by the number of invocations\n"
    "  -h, --help             show this and exit\n"
    "      --version          show the version and exit\n"
    "\n"
    "It ends when the manager does, or on SIGINT; its workers end with it. On SIGTERM\n"
    "it takes nothing more, lets its workers finish what they have, for 30 seconds at\n"
    "most, and ends then; a second SIGTERM ends it at once.\n"
    "Other settings come from the environment and the configuration file: see\n"
    "rfaas-info.\n"
    "\n"
    "Exit status: 0 after an ordinary end, 1 on failure, 2 for wrong usage.\n";

enum {
    OPTION_CPUSET = 256,
    OPTION_READY_FD,
    OPTION_LENDER_FD,
    OPTION_LISTEN,
    OPTION_VERSION,
    OPTION_WORKER
};

static const struct option long_options[] = {
    {"manager", required_argument, NULL, 'm'},
    {"key-file", required_argument, NULL, 'k'},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"cores", required_argument, NULL, 'c'},
    {"cpuset", required_argument, NULL, OPTION_CPUSET},
    {"log-level", required_argument, NULL, 'l'},
    {"ready-fd", required_argument, NULL, OPTION_READY_FD},
    {"lender-fd", required_argument, NULL, OPTION_LENDER_FD},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"worker", required_argument, NULL, OPTION_WORKER}, /* for itself: see workers.c */
    {0},
};

/* Lets this process die with its parent; false: that died before. */
static bool die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == parent;
}

/* This program as a worker; dies with the executor whose pid is given. */
static int worker_main(const char *parent)
{
    if (!die_with(atoi(parent)))
        return 1;
    prctl(PR_SET_NAME, "rfaas-worker");
    return rfaas_worker_main();
}

/* Each worker brings several descriptors, some of them in flight. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage_error(void)
{
    fprintf(stderr, "Try 'rfaas-executor --help'.\n");
    return 2;
}

static int invalid(void)
{
    fprintf(stderr, "rfaas-executor: %s\n", rfaas_last_error());
    return 2;
}

struct arguments {
    struct rfaas_config config;
    struct rfaas_cores cpuset;
    bool has_cpuset;
    int ready_fd, lender_fd;
};

/* Above those of every program; false: that isn't one. */
static bool parse_fd(const char *option, int *fd)
{
    char *end;
    *fd = (int)strtol(optarg, &end, 10);
    if (*end == '\0' && *fd > 2)
        return true;
    fprintf(stderr, "rfaas-executor: --%s takes a descriptor above 2, not '%s'\n",
            option, optarg);
    return false;
}

/* -1: go on; else the exit status. */
static int take_option(struct arguments *a, int option)
{
    static const char *const keys[] = {
        ['m'] = "manager_address", ['k'] = "key_file",         ['c'] = "cores",
        ['l'] = "log_level",       [OPTION_LISTEN] = "listen",
    };
    char setting[RFAAS_CONFIG_STRING_MAX + 32];
    const char *const settings[] = {setting, NULL};
    switch (option) {
    case 'm':
    case 'k':
    case 'c':
    case 'l':
    case OPTION_LISTEN:
        snprintf(setting, sizeof setting, "%s=%s", keys[option], optarg);
        return rfaas_config_apply(&a->config, settings) == RFAAS_OK ? -1 : invalid();
    case OPTION_CPUSET:
        a->has_cpuset = true;
        return rfaas_cores_parse(optarg, &a->cpuset) == RFAAS_OK ? -1 : invalid();
    case OPTION_READY_FD:
        return parse_fd("ready-fd", &a->ready_fd) ? -1 : 2;
    case OPTION_LENDER_FD:
        return parse_fd("lender-fd", &a->lender_fd) ? -1 : 2;
    case 'h':
        fputs(usage_text, stdout);
        return 0;
    case OPTION_VERSION:
        printf("rfaas-executor %s\n", rfaas_version());
        return 0;
    default:
        return usage_error();
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--worker") == 0)
        return worker_main(argv[2]);

    static const char *const initial[] = {"log_level=warn", NULL};
    struct arguments a = {.ready_fd = -1, .lender_fd = -1};
    if (rfaas_config_load(&a.config, initial, NULL) != RFAAS_OK)
        return invalid();
    int option;
    while ((option = getopt_long(argc, argv, "m:k:c:l:h", long_options, NULL)) != -1) {
        int status = take_option(&a, option);
        if (status >= 0)
            return status;
    }
    if (optind < argc) {
        fprintf(stderr, "rfaas-executor: unexpected argument '%s'\n", argv[optind]);
        return usage_error();
    }
    if (a.config.manager_address[0] == '\0') {
        fprintf(stderr, "rfaas-executor: no manager: give --manager ADDRESS\n");
        return usage_error();
    }
    rfaas_log_start("executor", (enum rfaas_log_level)a.config.log_level);
    struct rfaas_key key;
    if (a.config.key_file[0] != '\0' &&
        rfaas_key_read(a.config.key_file, &key) != RFAAS_OK) {
        fprintf(stderr, "rfaas-executor: %s\n", rfaas_last_error());
        return 1;
    }
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN); /* who started it may not wait to hear that it is ready */
    struct rfaas_executor_options options = {
        .manager = a.config.manager_address,
        .listen = a.config.listen,
        .key = a.config.key_file[0] != '\0' ? &key : NULL,
        .cores = (int)a.config.cores,
        .cpuset = a.has_cpuset ? &a.cpuset : NULL,
        .ready_fd = a.ready_fd,
        .lender_fd = a.lender_fd,
    };
    return rfaas_executor_run(&options);
}
