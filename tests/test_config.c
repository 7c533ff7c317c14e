/* Settings: where values come from, what they may be, and what a wrong one gets. */
#include "base/config.h"
#include "test.h"
#include <ctype.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a place without settings ------------------------------------------------- */

static char directory[256]; /* XDG_CONFIG_HOME; removed with what `write_file` made */
static char file[300];

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/rfaas-config.XXXXXX", tmp ? tmp : "/tmp");
    CHECK_FATAL(mkdtemp(directory) != NULL);
    snprintf(file, sizeof file, "%s/rfaas.conf", directory);
    setenv("XDG_CONFIG_HOME", directory, 1);
    unsetenv("RFAAS_CONFIG_FILE");
    for (size_t i = 0; i < rfaas_config_key_count(); i++) {
        char variable[64];
        snprintf(variable, sizeof variable, "RFAAS_%s", rfaas_config_key_at(i)->name);
        for (char *c = variable; *c; c++)
            *c = (char)toupper((unsigned char)*c);
        unsetenv(variable);
    }
}

static void end(void)
{
    unsetenv("RFAAS_SLOTS");
    unsetenv("RFAAS_CONFIG_FILE");
    unlink(file);
    CHECK_EQUAL(rmdir(directory), 0);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    CHECK_FATAL(f != NULL);
    fputs(text, f);
    fclose(f);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct rfaas_config load(const char *const initial[],
                                const char *const settings[])
{
    struct rfaas_config config;
    memset(&config, 0, sizeof config);
    int status = rfaas_config_load(&config, initial, settings);
    CHECK_EQUAL(status, RFAAS_OK);
    if (status != RFAAS_OK)
        printf("    %s\n", rfaas_last_error());
    return config;
}

/* That loading fails, and that the text has all of the `parts`. */
static void expect_error(const char *const initial[], const char *const settings[],
                         const char *const parts[])
{
    struct rfaas_config config, before;
    memset(&config, 0x5a, sizeof config);
    before = config;
    CHECK_EQUAL(rfaas_config_load(&config, initial, settings), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(memcmp(&config, &before, sizeof config), 0);
    for (; *parts; parts++) {
        bool named = strstr(rfaas_last_error(), *parts) != NULL;
        CHECK(named);
        if (!named)
            printf("    not in \"%s\": %s\n", rfaas_last_error(), *parts);
    }
}

/* ---- tests -------------------------------------------------------------------- */

static void test_defaults(void)
{
    begin();
    struct rfaas_config config = load(NULL, NULL);
    for (size_t i = 0; i < rfaas_config_key_count(); i++) {
        const struct rfaas_config_key *key = rfaas_config_key_at(i);
        char text[RFAAS_CONFIG_STRING_MAX];
        rfaas_config_format(&config, i, text, sizeof text);
        CHECK_EQUAL(strcmp(text, key->initial), 0);
        CHECK(key->help[0] && key->values[0]);
        CHECK(rfaas_config_known(key->name));
    }
    CHECK(rfaas_config_key_at(rfaas_config_key_count()) == NULL);
    CHECK_EQUAL(config.memory_per_worker, 16 << 20);
    CHECK_EQUAL(config.slots, 8);
    CHECK_EQUAL(config.cores, 0);
    CHECK_EQUAL(config.inline_max, 192);
    CHECK_EQUAL(config.hot_timeout_us, 2000);
    CHECK(config.lease_seconds == 600);
    CHECK(config.wait_seconds == 0);
    CHECK_EQUAL(config.log_level, 0);
    CHECK(!rfaas_config_known("slot"));
    CHECK(!rfaas_config_known("slotss"));
    CHECK(!rfaas_config_known(""));
    end();
}

static void test_precedence(void)
{
    begin();
    const char *const *initial = LIST("slots=10");
    CHECK_EQUAL(load(NULL, NULL).slots, 8);
    CHECK_EQUAL(load(initial, NULL).slots, 10);
    write_file("[rfaas]\nslots = 20 ; a comment\n");
    CHECK_EQUAL(load(initial, NULL).slots, 20);
    setenv("RFAAS_SLOTS", "30", 1);
    CHECK_EQUAL(load(initial, NULL).slots, 30);
    CHECK_EQUAL(load(initial, LIST("slots=40")).slots, 40);
    CHECK_EQUAL(load(initial, LIST("slots=40", "slots=50")).slots, 50);
    CHECK_EQUAL(load(initial, LIST("inline_max=64")).slots, 30);
    end();
}

static void test_file_places(void)
{
    begin();
    char home[300], in_home[400], config_directory[320];
    snprintf(home, sizeof home, "%s/home", directory);
    snprintf(config_directory, sizeof config_directory, "%s/.config", home);
    snprintf(in_home, sizeof in_home, "%s/rfaas.conf", config_directory);
    mkdir(home, 0700);
    mkdir(config_directory, 0700);
    FILE *f = fopen(in_home, "w");
    CHECK_FATAL(f != NULL);
    fputs("[rfaas]\nslots=21\n", f);
    fclose(f);
    char *old_home = strdup(getenv("HOME") ? getenv("HOME") : "/");
    setenv("HOME", home, 1);

    CHECK_EQUAL(load(NULL, NULL).slots, 8);
    unsetenv("XDG_CONFIG_HOME");
    CHECK_EQUAL(load(NULL, NULL).slots, 21);
    setenv("XDG_CONFIG_HOME", directory, 1);
    write_file("[rfaas]\nslots=22\n");
    CHECK_EQUAL(load(NULL, NULL).slots, 22);
    setenv("RFAAS_CONFIG_FILE", in_home, 1);
    CHECK_EQUAL(load(NULL, NULL).slots, 21);
    setenv("RFAAS_CONFIG_FILE", "/dev/null", 1);
    CHECK_EQUAL(load(NULL, NULL).slots, 8);

    setenv("HOME", old_home, 1);
    free(old_home);
    unlink(in_home);
    rmdir(config_directory);
    rmdir(home);
    end();
}

static void test_bad_values(void)
{
    begin();
    static const char *const bad[][3] = {
        /* key, value, what it takes */
        {"slots", "0", "1..256"},
        {"slots", "257", "1..256"},
        {"slots", "", "1..256"},
        {"slots", "8x", "1..256"},
        {"slots", " 8", "1..256"},
        {"slots", "0x10", "1..256"},
        {"slots", "--8", "1..256"},
        {"slots", "99999999999999999999", "1..256"},
        {"transport", "tcp", "auto|shm"},
        {"transport", "", "auto|shm"},
        {"transport", "auto|shm", "auto|shm"},
        {"transport", "sh", "auto|shm"},
        {"executors", "all", "auto|none"},
        {"threads", "2", "multiple|single"},
        {"cores", "0", "auto or 1..4096"},
        {"cores", "Auto", "auto or 1..4096"},
        {"cores_per_worker", "auto", "1..4096"},
        {"memory_per_worker", "16", "1M..1024G"},
        {"memory_per_worker", "16T", "1M..1024G"},
        {"memory_per_worker", "16MB", "1M..1024G"},
        {"memory_per_worker", "-16M", "1M..1024G"},
        {"memory_per_worker", "M", "1M..1024G"},
        {"memory_per_worker", "1025G", "1M..1024G"},
        {"memory_per_worker", "9223372036854775807G", "1M..1024G"},
        {"memory_per_worker", "17179869185G",
         "1M..1024G"}, /* 2^64 bytes more than 1G */
        {"inline_max", "63", "64..4096"},
        {"inline_max", "4097", "64..4096"},
        {"hot_timeout_us", "-2", "-1..1000000000"},
        {"hot_timeout_us", "1e3", "-1..1000000000"},
        {"min_workers", "-1", "0..65536"},
        {"lease_seconds", "0", "more than 0"},
        {"lease_seconds", "-5", "more than 0"},
        {"lease_seconds", "nan", "more than 0"},
        {"lease_seconds", "inf", "more than 0"},
        {"lease_seconds", "0x10", "more than 0"},
        {"lease_seconds", "1,5", "more than 0"},
        {"lease_seconds", "1e10", "more than 0"},
        {"lease_seconds", "1.5.2", "more than 0"},
        {"wait_seconds", "-0.1", "0..1000000000"},
        {"schedule", "guided", "model|dynamic|static"},
        {"offload", "1.1", "0..1"},
        {"offload", "-0.1", "0..1"},
        {"local_threads", "-1", "0..1024"},
        {"chunk", "0", "auto or 1..1000000000"},
        {"log_level", "verbose", "none|error|warn|info|debug"},
        {"log_level", "1", "none|error|warn|info|debug"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char setting[128];
        snprintf(setting, sizeof setting, "%s=%s", bad[i][0], bad[i][1]);
        expect_error(NULL, LIST(setting), LIST(setting, "(the settings)", bad[i][2]));
    }
    char longest[RFAAS_CONFIG_STRING_MAX + 16] = "key_file=";
    memset(longest + 9, 'x', RFAAS_CONFIG_STRING_MAX);
    expect_error(NULL, LIST(longest), LIST("key_file=xxx", "at most 511"));
    longest[9 + RFAAS_CONFIG_STRING_MAX - 1] = '\0';
    CHECK_EQUAL(strlen(load(NULL, LIST(longest)).key_file),
                RFAAS_CONFIG_STRING_MAX - 1);
    end();
}

static void test_sources_are_named(void)
{
    begin();
    expect_error(LIST("slots=0"), NULL, LIST("slots=0", "(the program's defaults)"));
    expect_error(NULL, LIST("slot=1"), LIST("unknown key", "\"slot\"", "the settings"));
    expect_error(NULL, LIST("=1"), LIST("unknown key", "\"\""));
    expect_error(NULL, LIST("slots"), LIST("\"slots\"", "not key=value"));
    setenv("RFAAS_SLOTS", "many", 1);
    expect_error(NULL, LIST("slots=1"), LIST("slots=many", "(RFAAS_SLOTS)", "1..256"));
    unsetenv("RFAAS_SLOTS");
    write_file("[rfaas]\nslots=1000\n");
    expect_error(NULL, NULL, LIST("slots=1000", file, "1..256"));
    end();
}

static void test_bad_files(void)
{
    begin();
    write_file("[rfaas]\nslots=4\nslotts=5\n");
    expect_error(NULL, NULL, LIST("unknown key", "\"slotts\"", file));
    write_file("slots=4\n");
    expect_error(NULL, NULL, LIST("\"slots\"", "[rfaas]", file));
    write_file("[rfaas]\nslots=4\n[other]\nslots=5\n");
    expect_error(NULL, NULL, LIST("\"other\"", "[rfaas]", file));
    write_file("[rfaas2]\nslots=4\n");
    expect_error(NULL, NULL, LIST("\"rfaas2\"", file));
    write_file("[rfaas:slots]\n");
    expect_error(NULL, NULL, LIST("\"rfaas:slots\"", file));
    write_file("[rfaas]\nslots 4\n");
    expect_error(NULL, NULL, LIST(file, "(2)", "slots 4"));
    setenv("RFAAS_CONFIG_FILE", directory, 1);
    expect_error(NULL, NULL, LIST(directory, "directory"));
    setenv("RFAAS_CONFIG_FILE", "/nonexistent/rfaas.conf", 1);
    expect_error(NULL, NULL, LIST("/nonexistent/rfaas.conf", "No such file"));
    end();
}

/* iniparser prints by itself unless told otherwise. */
static void test_silence(void)
{
    begin();
    FILE *captured = tmpfile();
    CHECK_FATAL(captured != NULL);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
    write_file("[rfaas]\nslots 4\nslots 5\n");
    expect_error(NULL, NULL, LIST("slots 4"));
    dup2(saved, STDERR_FILENO);
    close(saved);
    struct stat stat;
    fstat(fileno(captured), &stat);
    CHECK_EQUAL(stat.st_size, 0);
    fclose(captured);
    end();
}

static void test_good_values(void)
{
    begin();
    static const char *const good[][3] = {
        /* key, value, as it is printed */
        {"memory_per_worker", "1048576", "1M"},
        {"memory_per_worker", "1048577", "1048577"},
        {"memory_per_worker", "3000K", "3000K"},
        {"memory_per_worker", "2G", "2G"},
        {"memory_per_worker", "1024G", "1024G"},
        {"inline_max", "4K", "4K"},
        {"inline_max", "64", "64"},
        {"cores", "auto", "auto"},
        {"cores", "4096", "4096"},
        {"hot_timeout_us", "-1", "-1"},
        {"hot_timeout_us", "0", "0"},
        {"lease_seconds", "0.25", "0.25"},
        {"lease_seconds", "1e9", "1000000000"},
        {"lease_seconds", "1e-9", "1e-09"},
        {"wait_seconds", "0", "0"},
        {"schedule", "static", "static"},
        {"offload", "0.25", "0.25"},
        {"local_threads", "0", "0"},
        {"chunk", "64", "64"},
        {"log_level", "debug", "debug"},
        {"log_level", "none", "none"},
        {"manager_address", "unix:@a=b", "unix:@a=b"},
        {"transport", "shm", "shm"},
        {"threads", "single", "single"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char setting[128], text[64];
        size_t key = 0;
        while (strcmp(rfaas_config_key_at(key)->name, good[i][0]) != 0)
            key++;
        snprintf(setting, sizeof setting, "%s=%s", good[i][0], good[i][1]);
        struct rfaas_config config = load(NULL, LIST(setting));
        rfaas_config_format(&config, key, text, sizeof text);
        CHECK_EQUAL(strcmp(text, good[i][2]), 0);
        snprintf(setting, sizeof setting, "%s=%s", good[i][0], text);
        struct rfaas_config again = load(NULL, LIST(setting));
        CHECK_EQUAL(memcmp(&config, &again, sizeof config), 0);
    }
    end();
}

static void test_apply(void)
{
    begin();
    struct rfaas_config config = load(NULL, NULL), before = config;
    CHECK_EQUAL(rfaas_config_apply(&config, LIST("slots=4", "wait_seconds=2.5")),
                RFAAS_OK);
    CHECK_EQUAL(config.slots, 4);
    CHECK(config.wait_seconds == 2.5);
    config = before;
    CHECK_EQUAL(rfaas_config_apply(&config, LIST("slots=4", "inline_max=1")),
                RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_config_apply(&config, LIST("slots=4", "nonsense=1")),
                RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(memcmp(&config, &before, sizeof config), 0);
    CHECK_EQUAL(rfaas_config_apply(&config, NULL), RFAAS_OK);
    char text[4];
    rfaas_config_format(&config, rfaas_config_key_count(), text, sizeof text);
    CHECK_EQUAL(text[0], 0);
    rfaas_config_format(&config, 0, text, sizeof text); /* "auto" doesn't fit */
    CHECK_EQUAL(strcmp(text, "aut"), 0);
    end();
}

/* Only shows something where such a language is installed. */
static void test_locale(void)
{
    begin();
    if (setlocale(LC_ALL, "de_DE.UTF-8") || setlocale(LC_ALL, "fr_FR.UTF-8")) {
        struct rfaas_config config = load(NULL, LIST("lease_seconds=1.5"));
        CHECK(config.lease_seconds == 1.5);
        expect_error(NULL, LIST("lease_seconds=1,5"), LIST("lease_seconds=1,5"));
        setlocale(LC_ALL, "C");
    }
    end();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"without settings every key has the table's default", test_defaults},
        {"settings win over environment, file, program and table", test_precedence},
        {"the file is found in its places in their order", test_file_places},
        {"a bad value is refused with key, value, source and what it takes",
         test_bad_values},
        {"each source is named by its errors", test_sources_are_named},
        {"a bad file is refused with its name and what is wrong in it", test_bad_files},
        {"a bad file makes nobody print", test_silence},
        {"good values are taken, and printed so that they can be set again",
         test_good_values},
        {"more settings change all or nothing", test_apply},
        {"the decimal point doesn't depend on the language", test_locale},
        {NULL, NULL},
    };
    return test_main("config", tests, argc, argv);
}
