/* What the client's thread has to tell executors: memories and functions. */
#include "client/control_thread.h"

#include "base/error.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* ---- memories -------------------------------------------------------------------- */

/* A copy whose descriptors are its own. */
int blob_copy(struct rfaas_blob *copy, const struct rfaas_blob *blob)
{
    *copy = *blob;
    for (copy->fd_count = 0; copy->fd_count < blob->fd_count; copy->fd_count++) {
        int fd = fcntl(blob->fds[copy->fd_count], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: duplicating a descriptor: %m");
            while (copy->fd_count > 0)
                close(copy->fds[--copy->fd_count]);
            return RFAAS_ERR_NO_MEMORY;
        }
        copy->fds[copy->fd_count] = fd;
    }
    return RFAAS_OK;
}

struct memory_command {
    struct command command;
    const char *transport;
    uint32_t key;
    struct offered_memory *memory;
};

static void memory_run(struct rfaas_control *control, struct command *command)
{
    struct offered_memory *memory = ((struct memory_command *)command)->memory;
    struct link *link;
    LL_APPEND(control->memories, memory);
    LL_FOREACH(control->links, link)
        link_introduce_memory(link, memory);
}

void offered_memory_free(struct offered_memory *memory)
{
    for (int i = 0; i < memory->blob.fd_count; i++)
        close(memory->blob.fds[i]);
    free(memory);
}

int control_add_memory(struct rfaas_control *control, const char *transport,
                       uint32_t key, const struct rfaas_blob *blob)
{
    NEW_COMMAND(memory_command, c, memory_run);
    c->memory = calloc(1, sizeof *c->memory);
    if (!c->memory || blob_copy(&c->memory->blob, blob) != RFAAS_OK) {
        free(c->memory);
        free(c);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory for a memory");
    }
    c->memory->transport = transport;
    c->memory->key = key;
    command_post(control, &c->command);
    return RFAAS_OK;
}

static void memory_remove_run(struct rfaas_control *control, struct command *command)
{
    struct memory_command *c = (struct memory_command *)command;
    struct offered_memory *memory;
    LL_FOREACH(control->memories, memory)
        if (memory->key == c->key && strcmp(memory->transport, c->transport) == 0)
            break;
    if (!memory)
        return;
    LL_DELETE(control->memories, memory);
    offered_memory_free(memory);
    Rfaas__MemoryRemove body = RFAAS__MEMORY_REMOVE__INIT;
    body.key = c->key;
    Rfaas__Message message = RFAAS__MESSAGE__INIT;
    message.body_case = RFAAS__MESSAGE__BODY_MEMORY_REMOVE;
    message.memory_remove = &body;
    struct link *link;
    LL_FOREACH(control->links, link)
        if (strcmp(link_transport(link), c->transport) == 0)
            link_send(link, &message, NULL, 0);
}

int control_remove_memory(struct rfaas_control *control, const char *transport,
                          uint32_t key)
{
    NEW_COMMAND(memory_command, c, memory_remove_run);
    c->transport = transport;
    c->key = key;
    command_post(control, &c->command);
    return RFAAS_OK;
}

/* ---- functions ------------------------------------------------------------------- */

struct function_command {
    struct command command;
    struct offered_function *function;
};

static void function_run(struct rfaas_control *control, struct command *command)
{
    struct offered_function *function = ((struct function_command *)command)->function;
    struct link *link;
    LL_APPEND(control->functions, function);
    LL_FOREACH(control->links, link)
        link_introduce_function(link, function);
}

void offered_function_free(struct offered_function *function)
{
    free(function->name);
    free(function->path);
    free(function->content);
    free(function);
}

int control_add_function(struct rfaas_control *control, uint32_t number,
                         const char *name, const char *path,
                         const unsigned char *sha256, const void *content, size_t size)
{
    NEW_COMMAND(function_command, c, function_run);
    struct offered_function *f = c->function = calloc(1, sizeof *f);
    if (f) {
        f->number = number;
        f->name = strdup(name);
        f->path = strdup(path);
        f->content = malloc(size);
        f->size = size;
        memcpy(f->sha256, sha256, sizeof f->sha256);
    }
    if (!f || !f->name || !f->path || !f->content) {
        if (f)
            offered_function_free(f);
        free(c);
        return rfaas_fail(RFAAS_ERR_NO_MEMORY, "client: out of memory for a function");
    }
    memcpy(f->content, content, size);
    command_post(control, &c->command);
    return RFAAS_OK;
}
