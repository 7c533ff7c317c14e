#define _GNU_SOURCE /* O_TMPFILE */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The name that a signal has to remove. */
static const char *volatile unfinished;

static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

static void remove_unfinished(int signal_number)
{
    if (unfinished != NULL)
        unlink(unfinished);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void catch_signals(void)
{
    for (int i = 0; i < SIGNALS; i++) {
        struct sigaction action = {.sa_handler = remove_unfinished}, old;
        sigaction(signals[i], NULL, &old);
        if (old.sa_handler == SIG_DFL) /* not one that is ignored, as under nohup */
            sigaction(signals[i], &action, NULL);
    }
}

/* Creates the file under its temporary name, or links it there if it is open already.
 * Signals wait meanwhile: one that came between would leave the name behind, or remove
 * somebody else's file. Returns the descriptor, or -1. */
static int take_name(struct file *file, mode_t mode)
{
    char self[32];
    sigset_t block, old;
    int fd = file->fd;
    sigemptyset(&block);
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&block, signals[i]);
    sigprocmask(SIG_BLOCK, &block, &old);
    if (fd < 0) {
        fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    } else {
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        if (linkat(AT_FDCWD, self, AT_FDCWD, file->temporary, AT_SYMLINK_FOLLOW) != 0)
            fd = -1;
    }
    if (fd >= 0)
        unfinished = file->temporary;
    int error = errno;
    sigprocmask(SIG_SETMASK, &old, NULL);
    errno = error;
    return fd;
}

/* Of the directory in the target's path, with the slash. */
static int directory_length(const struct file *file)
{
    const char *slash = strrchr(file->target, '/');
    return slash == NULL ? 0 : (int)(slash - file->target) + 1;
}

/* take_name with the first name that is free. */
static int name_temporary(struct file *file, mode_t mode)
{
    catch_signals();
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(file->temporary, sizeof file->temporary,
                         "%.*s.blackscholes-%ld-%d.tmp", directory_length(file),
                         file->target, (long)getpid(), i);
        if (n >= (int)sizeof file->temporary) {
            errno = ENAMETOOLONG;
            break;
        }
        int fd = take_name(file, mode);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            break;
    }
    file->temporary[0] = '\0';
    return -1;
}

/* A file without a name in the directory of the target; -1 where there is no such
 * thing, or no /proc, by which it gets its name later. */
static int open_nameless(const struct file *file, mode_t mode)
{
    char directory[PATH_MAX] = ".";
    int length = directory_length(file);
    if (length > 0)
        snprintf(directory, sizeof directory, "%.*s", length, file->target);
    if (access("/proc/self/fd", X_OK) != 0)
        return -1;
    return open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
}

static bool failed(struct file *file, const char *what, char *problem)
{
    problem_set(problem, "%s: cannot %s: %s", file->path, what, strerror(errno));
    file_discard(file);
    return false;
}

static bool create_beside(struct file *file, mode_t mode, char *problem)
{
    file->fd = open_nameless(file, mode);
    if (file->fd < 0)
        file->fd = name_temporary(file, mode);
    return file->fd >= 0 || failed(file, "create", problem);
}

/* Into what is there already, and isn't a regular file; or into stdout. */
static bool open_direct(struct file *file, char *problem)
{
    file->direct = true;
    file->fd = file->is_stdout ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                               : open(file->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    return file->fd >= 0 || failed(file, "open", problem);
}

/* /dev/null isn't counted: what is sent there twice needn't be kept apart. */
static bool is_stdout(const struct stat *status)
{
    struct stat out;
    return fstat(STDOUT_FILENO, &out) == 0 && out.st_dev == status->st_dev &&
           out.st_ino == status->st_ino &&
           (!S_ISCHR(out.st_mode) || isatty(STDOUT_FILENO));
}

bool file_create(struct file *file, const char *path, char *problem)
{
    struct stat status;
    *file = FILE_CLOSED;
    file->path = path;
    if (stat(path, &status) != 0) {
        if (errno != ENOENT || path[0] == '\0')
            return failed(file, "create", problem);
        snprintf(file->target, sizeof file->target, "%s", path);
        return create_beside(file, 0666, problem);
    }
    file->is_stdout = is_stdout(&status);
    if (file->is_stdout || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)))
        return open_direct(file, problem);
    if (S_ISDIR(status.st_mode))
        errno = EISDIR;
    /* Replacing a write-protected file takes no right to write it: ask. */
    if (S_ISDIR(status.st_mode) || access(path, W_OK) != 0 ||
        realpath(path, file->target) == NULL)
        return failed(file, "write", problem);
    if (!create_beside(file, 0600, problem))
        return false;
    return fchmod(file->fd, status.st_mode & 0777) == 0 ||
           failed(file, "create", problem);
}

bool file_write(struct file *file, const void *data, size_t size, char *problem)
{
    const char *next = data;
    while (size > 0) {
        ssize_t n = write(file->fd, next, size);
        if (n < 0 && errno != EINTR)
            return failed(file, "write", problem);
        next += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

bool file_finish(struct file *file, char *problem)
{
    if (!file->direct && file->temporary[0] == '\0' && name_temporary(file, 0) < 0)
        return failed(file, "create", problem);
    int closed = close(file->fd);
    file->fd = -1;
    if (closed != 0)
        return failed(file, "write", problem);
    if (!file->direct && rename(file->temporary, file->target) != 0)
        return failed(file, "replace", problem);
    unfinished = NULL;
    file->temporary[0] = '\0';
    return true;
}

void file_discard(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->temporary[0] != '\0')
        unlink(file->temporary);
    unfinished = NULL;
    file->temporary[0] = '\0';
    file->fd = -1;
}
