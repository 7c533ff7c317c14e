/* The program rfaas-manager: $RFAAS_MANAGER, else ./rfaas-manager. */
#include "control/address.h"
#include "control/dial.h"
#include "rfaas.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char directory[256]; /* for key files and sockets */

struct program {
    pid_t pid;
    FILE *out;
    char address[256], key_file[256]; /* what it printed */
};

/* A program that doesn't end is killed rather than waited for. */
static volatile sig_atomic_t running;
static void on_alarm(int number)
{
    (void)number;
    kill(running, SIGKILL);
}

/* Starts it, its standard output and error readable from `out`. */
static void start(struct program *program, const char *const arguments[])
{
    const char *path =
        getenv("RFAAS_MANAGER") ? getenv("RFAAS_MANAGER") : "./rfaas-manager";
    char *argv[8] = {(char *)path};
    for (int i = 0; arguments[i]; i++)
        argv[i + 1] = (char *)arguments[i];
    int ends[2];
    posix_spawn_file_actions_t actions;
    CHECK_FATAL(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    CHECK_FATAL(posix_spawn(&program->pid, path, &actions, NULL, argv, environ) == 0);
    running = program->pid;
    alarm(15);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    program->out = fdopen(ends[0], "r");
    CHECK_FATAL(program->out != NULL);
}

/* Starts it and reads its line: it serves. */
static void serve(struct program *program, const char *const arguments[])
{
    char line[600] = "";
    start(program, arguments);
    CHECK(fgets(line, sizeof line, program->out) != NULL);
    int fields = sscanf(line, "manager_address=%255s key_file=%255s\n",
                        program->address, program->key_file);
    CHECK_EQUAL(fields, 2);
    if (fields != 2)
        printf("\n    printed: %s\n", line);
}

/* Waits for its end and returns its exit status; `text` gets what else it printed. */
static int end(struct program *program, char text[4096])
{
    int status;
    text[fread(text, 1, 4095, program->out)] = '\0';
    fclose(program->out);
    CHECK_EQUAL(waitpid(program->pid, &status, 0), program->pid);
    alarm(0);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int end_by(struct program *program, int number, char text[4096])
{
    CHECK_EQUAL(kill(program->pid, number), 0);
    return end(program, text);
}

/* Its exit status when it doesn't get to serve; what it prints contains `expected`. */
static int run(const char *const arguments[], const char *expected)
{
    struct program program;
    char text[4096];
    start(&program, arguments);
    int status = end(&program, text);
    CHECK(strstr(text, expected) != NULL);
    return status;
}
#define RUN(expected, ...) run((const char *const[]){__VA_ARGS__, NULL}, expected)

static int connect_to(const struct program *program, const struct rfaas_key *key)
{
    struct rfaas_stream *stream = NULL;
    int status = rfaas_connect(program->address, "manager", key,
                               RFAAS__ROLE__ROLE_CLIENT, "test", 4096, NULL, &stream);
    if (status == RFAAS_OK)
        rfaas_stream_free(stream);
    return status;
}

static void test_serve(void)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct program program;
        struct rfaas_key key;
        char text[4096];
        serve(&program, (const char *const[]){NULL});
        CHECK_EQUAL(rfaas_key_read(program.key_file, &key), RFAAS_OK);
        CHECK_EQUAL(connect_to(&program, &key), RFAAS_OK);
        CHECK_EQUAL(connect_to(&program, NULL), RFAAS_OK); /* the offered key */
        CHECK_EQUAL(end_by(&program, signals[i], text), 0);
        CHECK_EQUAL(strlen(text), 0);
        CHECK_EQUAL(connect_to(&program, &key), RFAAS_ERR_MANAGER);
    }
}

static void test_options(void)
{
    struct program program;
    struct rfaas_key made, read;
    struct stat stat;
    char address[300], key_file[300], text[4096];
    snprintf(address, sizeof address, "unix:%s/socket", directory);
    snprintf(key_file, sizeof key_file, "%s/key", directory);
    const char *const arguments[] = {"--address", address, "--key-file", key_file,
                                     NULL};
    for (int i = 0; i < 2; i++) { /* the second time the key is there already */
        serve(&program, arguments);
        CHECK(strcmp(program.address, address) == 0);
        CHECK(strcmp(program.key_file, key_file) == 0);
        CHECK_EQUAL(rfaas_key_read(key_file, i == 0 ? &made : &read), RFAAS_OK);
        CHECK_EQUAL(connect_to(&program, &made), RFAAS_OK);
        CHECK_EQUAL(RUN("rfaas-manager: ", "--address", address), 1);
        CHECK_EQUAL(end_by(&program, SIGTERM, text), 0);
        CHECK(access(address + 5, F_OK) != 0);
    }
    CHECK(memcmp(&made, &read, sizeof made) == 0);
    CHECK(lstat(key_file, &stat) == 0 && (stat.st_mode & 0777) == 0600);
    chmod(key_file, 0644);
    CHECK_EQUAL(RUN("chmod 600", "--key-file", key_file), 1);
    unlink(key_file);
}

static void test_settings(void)
{
    struct program program;
    char text[4096];
    char address[RFAAS_ADDRESS_MAX];
    CHECK_EQUAL(rfaas_address_random("test", address, sizeof address), RFAAS_OK);
    setenv("RFAAS_MANAGER_ADDRESS", address, 1);
    serve(&program, (const char *const[]){NULL});
    CHECK(strcmp(program.address, address) == 0);
    CHECK_EQUAL(end_by(&program, SIGTERM, text), 0);
    unsetenv("RFAAS_MANAGER_ADDRESS");
}

static void test_log(void)
{
    struct program program;
    char text[4096];
    start(&program, (const char *const[]){"--log-level=info", NULL});
    char line[600] = "";
    while (!strstr(line, "manager_address=") && fgets(line, sizeof line, program.out))
        ;
    CHECK_EQUAL(end_by(&program, SIGTERM, text), 0);
    CHECK(strstr(text, "rfaas manager ") && strstr(text, "has ended"));
}

static void test_usage(void)
{
    char longer[700];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    CHECK_EQUAL(RUN("Exit status", "--help"), 0);
    CHECK_EQUAL(RUN("rfaas-manager " /* a version */, "--version"), 0);
    CHECK_EQUAL(RUN("Usage: ", "--nonsense"), 2);
    CHECK_EQUAL(RUN("Usage: ", "--address"), 2);
    CHECK_EQUAL(RUN("what is \"more\"", "more"), 2);
    CHECK_EQUAL(RUN("log_level=loud", "--log-level", "loud"), 2);
    CHECK_EQUAL(RUN("511 bytes", "--key-file", longer), 2);
    CHECK_EQUAL(RUN("takes unix:", "--address", "here"), 1);
    CHECK_EQUAL(RUN("takes tcp or HOST:PORT", "--listen", "unix:@here"), 1);
    CHECK_EQUAL(RUN("takes unix:@NAME", "--listen", "here"), 1);
    CHECK_EQUAL(RUN("No such file", "--key-file", "/nowhere/key"), 1);
}

static const struct test tests[] = {
    {"it prints where it is, serves, and ends by a signal with 0", test_serve},
    {"it takes an address and a key file, and makes the key file once", test_options},
    {"what isn't given as an option comes from the settings", test_settings},
    {"it logs as much as it is told to", test_log},
    {"wrong usage is explained", test_usage},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    snprintf(directory, sizeof directory, "%.200s/rfaas-manager-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    signal(SIGALRM, on_alarm);
    int status = test_main("rfaas-manager", tests, argc, argv);
    rmdir(directory);
    return status;
}
