/* rfaas-manager: the manager as a program of its own. */
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "manager/server.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
    "Usage: rfaas-manager [--address ADDRESS] [--listen HOST:PORT] [--key-file FILE]\n"
    "                     [--log-level LEVEL]\n"
    "       rfaas-manager --help | --version\n";

static const char help_text[] =
    "\n"
    "Grants leases on the cores of executors to clients that ask for them. Runs in\n"
    "the foreground until SIGINT or SIGTERM; then all leases end, and with them the\n"
    "executors. When it serves it prints one line,\n"
    "    manager_address=ADDRESS key_file=FILE\n"
    "with what executors and clients on this node need to find it. With --listen\n"
    "    network_address=ADDRESS\n"
    "follows in the same line, for those on other nodes.\n"
    "\n"
    "Options\n"
    "  --address ADDRESS  where to listen: unix:@NAME (no file) or unix:/PATH;\n"
    "                     default: a random unix:@NAME\n"
    "  --listen HOST:PORT listen for other nodes too, by TCP; port 0: any that is "
    "free;\n"
    "                     tcp: any port, at all addresses of this host. They need the\n"
    "                     key: give them a copy of the key file\n"
    "  --key-file FILE    the key that executors and clients must have too. If there\n"
    "                     is no such file it is made, with mode 600, and stays when\n"
    "                     the manager ends: it is yours. Default: a new key, which\n"
    "                     processes of the same user on this node can read while\n"
    "                     the manager runs\n"
    "  --log-level LEVEL  what goes to standard error: none, error, warn (default),\n"
    "                     info or debug\n"
    "  --help             print this and exit\n"
    "  --version          print the version and exit\n"
    "\n"
    "An option that isn't given is taken from the setting manager_address, listen,\n"
    "key_file or log_level, in the environment (RFAAS_MANAGER_ADDRESS, ...) or in the\n"
    "configuration file; see rfaas-info.\n"
    "\n"
    "Exit status\n"
    "  0  ended by a signal, as it should be\n"
    "  1  could not start; standard error says why\n"
    "  2  wrong option or setting\n";

/* What the command line says. Each option is the setting of its name. */
struct options {
    char values[4][RFAAS_CONFIG_STRING_MAX + 32];
    const char *settings[5]; /* as rfaas_config_load takes them */
    int count;
};

/* A value too long for any setting is cut here to what is still too long for one:
 * rfaas_config_load refuses it. */
static void add_setting(struct options *options, const char *name, const char *value)
{
    int i = 0; /* an option that is given again replaces the first */
    while (i < options->count && strncmp(options->values[i], name, strlen(name)) != 0)
        i++;
    snprintf(options->values[i], sizeof *options->values, "%s=%s", name, value);
    options->settings[i] = options->values[i];
    if (i == options->count)
        options->count++;
}

/* Returns -1 to go on, or the status to exit with. */
static int parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"address", required_argument, NULL, 'a'},
        {"listen", required_argument, NULL, 'n'},
        {"key-file", required_argument, NULL, 'k'},
        {"log-level", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    bool good = true;
    int option;
    while (good && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'a':
            add_setting(options, "manager_address", optarg);
            break;
        case 'n':
            add_setting(options, "listen", optarg);
            break;
        case 'k':
            add_setting(options, "key_file", optarg);
            break;
        case 'l':
            add_setting(options, "log_level", optarg);
            break;
        case 'h':
            printf("%s%s", usage_text, help_text);
            return EXIT_OK;
        case 'v':
            printf("rfaas-manager %s\n", rfaas_version());
            return EXIT_OK;
        default:
            good = false; /* getopt_long has said why */
        }
    }
    if (good && optind < argc) {
        fprintf(stderr, "rfaas-manager: what is \"%s\"?\n", argv[optind]);
        good = false;
    }
    if (good)
        return -1;
    fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static int get_key(const char *file, struct rfaas_key *key)
{
    if (*file && access(file, F_OK) == 0)
        return rfaas_key_read(file, key);
    int status = rfaas_key_create(key);
    if (status == RFAAS_OK && *file)
        status = rfaas_key_write(file, key);
    return status;
}

/* Serves until one of the signals, which are blocked in all threads, comes. */
static int serve(const struct rfaas_config *config, const sigset_t *signals)
{
    struct rfaas_key key;
    struct rfaas_manager *manager;
    const char *listen = strcmp(config->listen, "auto") == 0 ? "" : config->listen;
    int status = get_key(config->key_file, &key);
    if (status == RFAAS_OK)
        status = rfaas_manager_start(config->manager_address, listen, &key, &manager);
    explicit_bzero(&key, sizeof key);
    if (status != RFAAS_OK) {
        fprintf(stderr, "rfaas-manager: %s\n", rfaas_last_error());
        return EXIT_FAILED;
    }
    printf("manager_address=%s key_file=%s", rfaas_manager_address(manager),
           *config->key_file ? config->key_file : rfaas_manager_key_file(manager));
    if (*rfaas_manager_network_address(manager))
        printf(" network_address=%s", rfaas_manager_network_address(manager));
    printf("\n");
    int exit_status = EXIT_OK, signal;
    if (fflush(stdout) == 0) {
        sigwait(signals, &signal);
    } else { /* nobody could learn where it is */
        fprintf(stderr, "rfaas-manager: standard output: %m\n");
        exit_status = EXIT_FAILED;
    }
    rfaas_manager_stop(manager);
    return exit_status;
}

int main(int argc, char **argv)
{
    static const char *const initial[] = {"log_level=warn", NULL};
    struct options options = {.count = 0};
    struct rfaas_config config;
    sigset_t signals;

    int status = parse(argc, argv, &options);
    if (status >= 0)
        return status;
    if (rfaas_config_load(&config, initial, options.settings) != RFAAS_OK) {
        fprintf(stderr, "rfaas-manager: %s\n", rfaas_last_error());
        return EXIT_USAGE;
    }
    rfaas_log_start("manager", (enum rfaas_log_level)config.log_level);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return serve(&config, &signals);
}
