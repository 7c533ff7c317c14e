/* Keys in files and offered ones, and addresses. */
#include "base/error.h"
#include "control/address.h"
#include "control/handshake.h"
#include "test.h"
#include "wire.h"
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int fds_before;
static char directory[256], path[300];

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    fds_before = open_fds();
    snprintf(directory, sizeof directory, "%s/rfaas-test.XXXXXX", tmp ? tmp : "/tmp");
    CHECK_FATAL(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/key", directory);
}

static void end(void)
{
    unlink(path);
    CHECK_EQUAL(rmdir(directory), 0);
    CHECK_EQUAL(open_fds(), fds_before);
}

static void write_text(const char *text, size_t size, mode_t mode)
{
    unlink(path);
    FILE *file = fopen(path, "w");
    CHECK_FATAL(file != NULL);
    fwrite(text, 1, size, file);
    fclose(file);
    CHECK_EQUAL(chmod(path, mode), 0);
}

static void expect_refusal(const char *text)
{
    struct rfaas_key key, before;
    memset(&key, 0x33, sizeof key);
    before = key;
    CHECK_EQUAL(rfaas_key_read(path, &key), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(memcmp(&key, &before, sizeof key), 0);
    bool named = strstr(rfaas_last_error(), text) && strstr(rfaas_last_error(), path);
    CHECK(named);
    if (!named)
        printf("    not in \"%s\": %s\n", rfaas_last_error(), text);
}

#define DIGITS "00112233445566778899aabbccddeeFF0123456789abcdef0123456789ABCDEF"

static void test_files(void)
{
    begin();
    struct rfaas_key key, again, other;
    struct stat stat;
    mode_t mask = umask(0);
    CHECK_EQUAL(rfaas_key_create(&key), RFAAS_OK);
    CHECK_EQUAL(rfaas_key_create(&other), RFAAS_OK);
    CHECK(memcmp(&key, &other, sizeof key) != 0);
    CHECK_EQUAL(rfaas_key_write(path, &key), RFAAS_OK);
    umask(mask);
    CHECK_EQUAL(lstat(path, &stat), 0);
    CHECK_EQUAL(stat.st_mode, S_IFREG | 0600);
    CHECK_EQUAL(stat.st_size, 65);
    CHECK_EQUAL(rfaas_key_read(path, &again), RFAAS_OK);
    CHECK_EQUAL(memcmp(&key, &again, sizeof key), 0);

    /* Never in another file's place. */
    CHECK_EQUAL(rfaas_key_write(path, &other), RFAAS_ERR_ARGUMENT);
    CHECK(strstr(rfaas_last_error(), "exists") != NULL);
    CHECK_EQUAL(rfaas_key_read(path, &again), RFAAS_OK);
    CHECK_EQUAL(memcmp(&key, &again, sizeof key), 0);

    write_text(DIGITS "\n", 65, 0600);
    CHECK_EQUAL(rfaas_key_read(path, &again), RFAAS_OK);
    CHECK_EQUAL(again.bytes[1], 0x11);
    CHECK_EQUAL(again.bytes[15], 0xff);
    CHECK_EQUAL(again.bytes[31], 0xef);
    end();
}

static void test_bad_files(void)
{
    begin();
    expect_refusal("No such file");
    static const mode_t modes[] = {0640, 0620, 0604, 0602, 0644, 0666, 0610};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        write_text(DIGITS "\n", 65, modes[i]);
        expect_refusal("chmod 600");
    }
    static const char *const texts[] = {
        "", "\n", DIGITS, DIGITS "\n\n", DIGITS "0\n", "0x" DIGITS "\n", DIGITS " ",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text(texts[i], strlen(texts[i]), 0600);
        expect_refusal("64 hexadecimal digits and a newline");
    }
    char bad[] = DIGITS "\n";
    bad[63] = 'g';
    write_text(bad, 65, 0600);
    expect_refusal("64 hexadecimal digits");

    unlink(path);
    CHECK_EQUAL(mkfifo(path, 0600), 0);
    expect_refusal("not a regular file"); /* and nobody waits for a writer */
    unlink(path);
    CHECK_EQUAL(mkdir(path, 0700), 0);
    expect_refusal("not a regular file");
    CHECK_EQUAL(rmdir(path), 0);
    end();
}

static void test_offer(void)
{
    begin();
    struct rfaas_key key, again;
    int fd;
    CHECK_EQUAL(rfaas_key_create(&key), RFAAS_OK);
    CHECK_EQUAL(rfaas_key_offer(&key, &fd, path, 8), RFAAS_ERR_ARGUMENT);
    CHECK_EQUAL(rfaas_key_offer(&key, &fd, path, sizeof path), RFAAS_OK);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        memset(&again, 0, sizeof again);
        CHECK_EQUAL(rfaas_key_read(path, &again), RFAAS_OK);
        CHECK_EQUAL(memcmp(&key, &again, sizeof key), 0);
    }
    /* Nobody changes it, root included. */
    int writing = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(writing < 0 || write(writing, "x", 1) < 0);
    CHECK(writing < 0 || ftruncate(writing, 0) < 0);
    if (writing >= 0)
        close(writing);
    close(fd);
    expect_refusal("No such file");
    end();
}

/* ---- addresses ------------------------------------------------------------------ */

static void test_addresses(void)
{
    struct sockaddr_storage address;
    socklen_t length;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address;
    CHECK_EQUAL(rfaas_address_parse("unix:@ab", &address, &length), RFAAS_OK);
    CHECK_EQUAL(length, offsetof(struct sockaddr_un, sun_path) + 3);
    CHECK_EQUAL(un->sun_family, AF_UNIX);
    CHECK_EQUAL(memcmp(un->sun_path, "\0ab", 3), 0);
    CHECK_EQUAL(rfaas_address_parse("unix:/a/b", &address, &length), RFAAS_OK);
    CHECK_EQUAL(length, offsetof(struct sockaddr_un, sun_path) + 5);
    CHECK_EQUAL(strcmp(un->sun_path, "/a/b"), 0);

    char longest[5 + sizeof un->sun_path + 1] = "unix:/";
    memset(longest + 6, 'x', sizeof un->sun_path - 2);
    CHECK_EQUAL(rfaas_address_parse(longest, &address, &length), RFAAS_OK);
    CHECK_EQUAL(length, sizeof *un);
    longest[5 + sizeof un->sun_path - 1] = 'x';
    const char *const bad[] = {"",       "unix:",     "unix:@",  "unix:/",
                               "unix:a", "unix:./a",  "tcp:a:1", "@a",
                               "/a",     " unix:@ab", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQUAL(rfaas_address_parse(bad[i], &address, &length), RFAAS_ERR_ARGUMENT);
        CHECK(strstr(rfaas_last_error(), bad[i]) != NULL);
    }
}

static void test_random_addresses(void)
{
    char one[RFAAS_ADDRESS_MAX], two[RFAAS_ADDRESS_MAX], tight[20];
    struct sockaddr_storage address;
    socklen_t length;
    CHECK_EQUAL(rfaas_address_random("manager", one, sizeof one), RFAAS_OK);
    CHECK_EQUAL(rfaas_address_random("manager", two, sizeof two), RFAAS_OK);
    CHECK_EQUAL(strncmp(one, "unix:@rfaas-manager-", 20), 0);
    CHECK_EQUAL(strlen(one), 20 + 32);
    CHECK(strcmp(one, two) != 0);
    CHECK_EQUAL(rfaas_address_parse(one, &address, &length), RFAAS_OK);
    CHECK_EQUAL(rfaas_address_random("manager", tight, sizeof tight),
                RFAAS_ERR_ARGUMENT);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a key file is read as it was written, and never replaced", test_files},
        {"a key file that isn't one, or open to others, is refused", test_bad_files},
        {"an offered key can be read until it is withdrawn, never changed", test_offer},
        {"addresses are taken or refused with their text", test_addresses},
        {"random addresses are fresh", test_random_addresses},
        {NULL, NULL},
    };
    return test_main("keys", tests, argc, argv);
}
