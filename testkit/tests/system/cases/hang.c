/* Blocks the removal of a daemon's socket forever, like a vanished file system, to hang an orderly end. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int unlink(const char *path)
{
    static const char socket[] = "/daemon.sock";
    size_t length = strlen(path), tail = sizeof socket - 1;
    if (length >= tail && strcmp(path + length - tail, socket) == 0)
        for (;;)
            pause();
    return unlinkat(AT_FDCWD, path, 0);
}
