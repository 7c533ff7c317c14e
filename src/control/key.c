/* The job's key: made, kept in files, offered to processes of the same user. */
#include "base/error.h"
#include "base/random.h"
#include "control/handshake.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_TEXT = 2 * RFAAS_KEY_SIZE + 1 }; /* the digits and a newline */

int rfaas_key_create(struct rfaas_key *key)
{
    return rfaas_random(key->bytes, sizeof key->bytes);
}

static void key_format(const struct rfaas_key *key, char text[KEY_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < RFAAS_KEY_SIZE; i++) {
        text[2 * i] = digits[key->bytes[i] >> 4];
        text[2 * i + 1] = digits[key->bytes[i] & 15];
    }
    text[KEY_TEXT - 1] = '\n';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool key_parse(const char text[KEY_TEXT], struct rfaas_key *key)
{
    for (int i = 0; i < RFAAS_KEY_SIZE; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key->bytes[i] = (unsigned char)(high << 4 | low);
    }
    return text[KEY_TEXT - 1] == '\n';
}

static int read_open_file(int fd, const char *path, struct rfaas_key *key)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return rfaas_fail(RFAAS_ERR_IO, "key file %s: %m", path);
    if (!S_ISREG(stat.st_mode))
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "key file %s: not a regular file", path);
    if (stat.st_mode & (S_IRWXG | S_IRWXO))
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "key file %s: open to others (mode %o): chmod 600 %s", path,
                          (unsigned)stat.st_mode & 0777u, path);

    /* From the beginning, wherever an earlier reader of the same descriptor got to;
     * a byte more than a key has, to see whether there is more. */
    char text[KEY_TEXT + 1];
    ssize_t n;
    do {
        n = pread(fd, text, sizeof text, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return rfaas_fail(RFAAS_ERR_IO, "key file %s: %m", path);
    struct rfaas_key parsed;
    bool good = n == KEY_TEXT && key_parse(text, &parsed);
    if (good)
        *key = parsed;
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(&parsed, sizeof parsed);
    if (!good)
        return rfaas_fail(RFAAS_ERR_ARGUMENT,
                          "key file %s: takes %d hexadecimal digits and a newline",
                          path, KEY_TEXT - 1);
    return RFAAS_OK;
}

int rfaas_key_read(const char *path, struct rfaas_key *key)
{
    /* Nonblocking: a FIFO in the file's place is refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "key file %s: %m", path);
    int status = read_open_file(fd, path, key);
    close(fd);
    return status;
}

/* Makes the file's mode 600, whatever the umask, and puts the key into it. */
static int key_fill(int fd, const struct rfaas_key *key)
{
    char text[KEY_TEXT];
    key_format(key, text);
    size_t done = 0;
    bool failed = fchmod(fd, S_IRUSR | S_IWUSR) != 0;
    while (!failed && done < sizeof text) {
        ssize_t n = write(fd, text + done, sizeof text - done);
        if (n >= 0)
            done += (size_t)n;
        else
            failed = errno != EINTR;
    }
    OPENSSL_cleanse(text, sizeof text);
    return failed ? rfaas_fail(RFAAS_ERR_IO, "writing a key: %m") : RFAAS_OK;
}

int rfaas_key_write(const char *path, const struct rfaas_key *key)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "key file %s: %m", path);
    int status = key_fill(fd, key);
    if (close(fd) != 0 && status == RFAAS_OK)
        status = rfaas_fail(RFAAS_ERR_IO, "key file %s: %m", path);
    if (status != RFAAS_OK)
        unlink(path); /* half a key helps nobody */
    return status;
}

int rfaas_key_offer(const struct rfaas_key *key, int *fd, char *path, size_t size)
{
    int memory = memfd_create("rfaas-key", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0)
        return rfaas_fail(RFAAS_ERR_IO, "key to offer: %m");
    int status = key_fill(memory, key);
    if (status != RFAAS_OK)
        goto close_memory;
    /* Readers open it anew, and for writing if they like: nobody shall change it. */
    if (fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        status = rfaas_fail(RFAAS_ERR_IO, "key to offer: %m");
        goto close_memory;
    }
    int length = snprintf(path, size, "/proc/%ld/fd/%d", (long)getpid(), memory);
    if (length < 0 || (size_t)length >= size) {
        status = rfaas_fail(RFAAS_ERR_ARGUMENT, "key to offer: its path needs %d bytes",
                            length + 1);
        goto close_memory;
    }
    *fd = memory;
    return RFAAS_OK;

close_memory:
    close(memory);
    return status;
}
