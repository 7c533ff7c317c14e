/* What happens when this library is loaded by a worker: by default nothing. The
 * variable RFAAS_TEST_STARTS says otherwise: "abort N FILE" or "hang N FILE" is what
 * the first N workers do, which count themselves by the length of FILE. */
#include <rfaas_function.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

__attribute__((constructor)) static void at_start(void)
{
    char process[16], what[8], file[200];
    int count;
    const char *wanted = getenv("RFAAS_TEST_STARTS");
    if (!wanted || sscanf(wanted, "%7s %d %199s", what, &count, file) != 3 ||
        prctl(PR_GET_NAME, process) != 0 || strcmp(process, "rfaas-worker") != 0)
        return;
    int fd = open(file, O_WRONLY | O_APPEND);
    if (fd < 0 || write(fd, "x", 1) != 1 || lseek(fd, 0, SEEK_END) > count)
        return;
    if (strcmp(what, "abort") == 0)
        abort();
    for (;;)
        pause();
}

/* Eight bytes; a test changes the last one in a copy of this library's file. */
static volatile const char version[] = "version1";

RFAAS_FUNCTION(tells_version)
{
    for (int i = 0; i < 8; i++)
        ((char *)call->out)[i] = version[i];
    call->out_size = 8;
    return 0;
}
