/* Functions as the client names them. */
#include "client/client.h"

#include "base/error.h"
#include "base/log.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

enum { FUNCTIONS_MAX = 65536 }; /* numbers aren't used again */

static const off_t LIBRARY_MAX = 255 << 20; /* fits a control message */

/* Reads the whole file into memory of malloc. */
static int file_read(const char *path, void **content, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rfaas_fail(RFAAS_ERR_FUNCTION, "library %s: %m", path);
    int status = RFAAS_ERR_FUNCTION;
    char *bytes = NULL;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        rfaas_fail(status, "library %s: not a file with anything in it", path);
        goto out;
    }
    if (st.st_size > LIBRARY_MAX) {
        rfaas_fail(status, "library %s: %lld bytes are more than %lld", path,
                   (long long)st.st_size, (long long)LIBRARY_MAX);
        goto out;
    }
    bytes = malloc((size_t)st.st_size);
    if (!bytes) {
        status = rfaas_fail(RFAAS_ERR_NO_MEMORY, "library %s: out of memory", path);
        goto out;
    }
    size_t done = 0;
    while (done < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + done, (size_t)st.st_size - done);
        if (n <= 0) {
            rfaas_fail(status, "library %s: %s", path,
                       n < 0 ? strerror(errno) : "it was cut while being read");
            goto out;
        }
        done += (size_t)n;
    }
    *content = bytes;
    *size = done;
    bytes = NULL;
    status = RFAAS_OK;
out:
    free(bytes);
    close(fd);
    return status;
}

/* Loads the library here, which finds out what is wrong with it where the user sees
 * it. Nothing of it is called, but for its constructors. */
static int library_load(const char *path, const char *name, void **library,
                        struct rfaas_callable *callable)
{
    *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!*library)
        return rfaas_fail(RFAAS_ERR_FUNCTION, "library %s: %s", path, dlerror());
    if (rfaas_callable_find(*library, name, callable))
        return RFAAS_OK;
    dlclose(*library);
    return rfaas_fail(RFAAS_ERR_FUNCTION, "library %s: no symbol '%s'", path, name);
}

static int function_add(rfaas_session *session, const char *path, const char *name,
                        void *library, const struct rfaas_callable *callable,
                        rfaas_function **out)
{
    void *content = NULL;
    size_t size = 0;
    int status = file_read(path, &content, &size);
    if (status != RFAAS_OK)
        return status;
    unsigned char sha256[SHA256_SIZE];
    SHA256(content, size, sha256);
    rfaas_function *function = calloc(1, sizeof *function);
    char *copy = strdup(name);
    if (!function || !copy) {
        status = rfaas_fail(RFAAS_ERR_NO_MEMORY, "function %s: out of memory", name);
        goto out;
    }
    session_lock(session);
    if (session->next_function == FUNCTIONS_MAX) {
        status = rfaas_fail(RFAAS_ERR_NO_RESOURCES,
                            "function %s: %d functions were loaded in this session",
                            name, FUNCTIONS_MAX - 1);
        session_unlock(session);
        goto out;
    }
    function->session = session;
    function->number = session->next_function++;
    function->name = copy;
    function->library = library;
    function->callable = *callable;
    function->references = 1;
    status = control_add_function(session->control, function->number, name, path,
                                  sha256, content, size);
    if (status == RFAAS_OK)
        LL_PREPEND(session->functions, function);
    session_unlock(session);
out:
    free(content);
    if (status != RFAAS_OK) {
        free(copy);
        free(function);
        return status;
    }
    *out = function;
    return RFAAS_OK;
}

int rfaas_function_load(rfaas_session *session, const char *library, const char *name,
                        rfaas_function **function)
{
    char path[PATH_MAX];
    struct rfaas_callable callable;
    void *handle;
    if (!session || !library || !name || !function || name[0] == '\0')
        return rfaas_fail(RFAAS_ERR_ARGUMENT, "rfaas_function_load: a NULL argument");
    if (!realpath(library, path))
        return rfaas_fail(RFAAS_ERR_FUNCTION, "library %s: %m", library);
    int status = library_load(path, name, &handle, &callable);
    if (status != RFAAS_OK)
        return status;
    status = function_add(session, path, name, handle, &callable, function);
    if (status != RFAAS_OK)
        dlclose(handle);
    return status;
}

/* With the lock. */
void function_release(rfaas_function *function)
{
    if (--function->references > 0)
        return;
    LL_DELETE(function->session->functions, function);
    dlclose(function->library);
    free(function->broken);
    free(function->name);
    free(function);
}

void rfaas_function_free(rfaas_function *function)
{
    if (!function)
        return;
    rfaas_session *session = function->session;
    session_lock(session);
    function_release(function);
    session_unlock(session);
}

const struct rfaas_callable *rfaas_function_callable(const rfaas_function *function)
{
    return &function->callable;
}

const char *rfaas_function_name(const rfaas_function *function)
{
    return function->name;
}

void rfaas_function_hold(rfaas_function *function)
{
    session_lock(function->session);
    function->references++;
    session_unlock(function->session);
}
