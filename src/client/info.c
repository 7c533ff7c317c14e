/* The program rfaas-info: what there is on this machine, and every setting. */
#include "base/config.h"
#include "base/cores.h"
#include "client/unmapping.h"
#include "transport/transport.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage_text[] =
    "Usage: rfaas-info [OPTION]...\n"
    "Shows the cores and transports of this machine, and every setting with its\n"
    "effective value, its default, what it takes and what it is for.\n"
    "\n"
    "  -h, --help     show this and exit\n"
    "      --version  show the version and exit\n"
    "\n"
    "A setting comes from the first of: an MPI info object or a call's settings, the\n"
    "environment (RFAAS_ and its name in capitals), the section [rfaas] of the\n"
    "configuration file ($RFAAS_CONFIG_FILE, else $XDG_CONFIG_HOME/rfaas.conf, else\n"
    "rfaas.conf in the system's configuration directory), its default.\n"
    "\n"
    "Exit status: 0, or 1 if a setting is wrong, or 2 for wrong usage.\n";

static void show_transports(void)
{
    size_t count;
    const struct rfaas_transport *const *transports = rfaas_transports(&count);
    for (size_t i = 0; i < count; i++) {
        char text[2048];
        transports[i]->describe(text, sizeof text);
        printf("%s%s", i == 0 ? "transports  " : "            ", text);
    }
    printf("\n");
}

static void unmapped(void *arg, uintptr_t start, uintptr_t end)
{
    (void)arg, (void)start, (void)end;
}

/* What becomes of memory that isn't of rfaas_alloc, where a transport registers memory. */
static void show_buffers(void)
{
    struct unmapping watch = {.gone = unmapped};
    if (!rfaas_transport_find("verbs"))
        return;
    if (unmapping_watch(&watch) == RFAAS_OK) {
        unmapping_unwatch(&watch);
        printf("buffers     registered when they are used again (UCM)\n\n");
    } else {
        printf("buffers     copied: %s\n\n", rfaas_last_error());
    }
}

static void show_machine(void)
{
    struct rfaas_cores cores;
    char text[RFAAS_CORES_TEXT];
    printf("version     %s\n", rfaas_version());
    if (rfaas_cores_allowed(&cores) == RFAAS_OK &&
        rfaas_cores_format(&cores, text, sizeof text) == RFAAS_OK)
        printf("cores       %d (%s)\n", rfaas_cores_count(&cores), text);
    else
        printf("cores       unknown: %s\n", rfaas_last_error());
    show_transports();
    show_buffers();
}

static int show_settings(void)
{
    struct rfaas_config config;
    if (rfaas_config_load(&config, NULL, NULL) != RFAAS_OK) {
        fprintf(stderr, "rfaas-info: %s\n", rfaas_last_error());
        return 1;
    }
    for (size_t i = 0; i < rfaas_config_key_count(); i++) {
        const struct rfaas_config_key *key = rfaas_config_key_at(i);
        char value[RFAAS_CONFIG_STRING_MAX];
        rfaas_config_format(&config, i, value, sizeof value);
        printf("%s = %s\n    %s\n    takes %s; default %s\n", key->name, value,
               key->help, key->values, key->initial[0] ? key->initial : "nothing");
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1)
        switch (option) {
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        case 'v':
            printf("rfaas-info %s\n", rfaas_version());
            return 0;
        default:
            fprintf(stderr, "Try 'rfaas-info --help'.\n");
            return 2;
        }
    if (optind < argc) {
        fprintf(stderr,
                "rfaas-info: unexpected argument '%s'\n"
                "Try 'rfaas-info --help'.\n",
                argv[optind]);
        return 2;
    }
    show_machine();
    return show_settings();
}
