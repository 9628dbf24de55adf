/* Preloaded into a node under test: makes syncs of chosen files fail, take long, or do nothing.
 * QUELEA_SHIM=WHAT:WHERE:N, with WHAT one of
 *   error  the Nth sync of a file whose path contains WHERE takes two seconds and fails with EIO, once
 *   slow   the Nth such sync takes three seconds
 *   skip   such syncs do nothing, from the Nth on
 * QUELEA_SHIM_MARK names a file that is made when the Nth sync begins. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_long passed;

static void wait_ms(long ms) {
    struct timespec time = { ms / 1000, (ms % 1000) * 1000000 };
    nanosleep(&time, NULL);
}

static void mark(void) {
    const char *path = getenv("QUELEA_SHIM_MARK");
    if (path != NULL) {
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (fd >= 0)
            close(fd);
    }
}

/* 0: sync; 1: say that it was done; -1: fail. */
static int meddle(int fd) {
    char what[16], where[64], link[64], path[512];
    long n;
    const char *rule = getenv("QUELEA_SHIM");
    if (rule == NULL || sscanf(rule, "%15[^:]:%63[^:]:%ld", what, where, &n) != 3)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (strstr(path, where) == NULL)
        return 0;
    long now = atomic_fetch_add(&passed, 1) + 1;
    if (strcmp(what, "skip") == 0)
        return now >= n;
    if (now != n)
        return 0;
    mark();
    if (strcmp(what, "slow") == 0) {
        wait_ms(3000);
        return 0;
    }
    wait_ms(2000);
    errno = EIO;
    return -1;
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int meddled = meddle(fd);
    return meddled == 0 ? next(fd) : meddled == 1 ? 0 : -1;
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int meddled = meddle(fd);
    return meddled == 0 ? next(fd) : meddled == 1 ? 0 : -1;
}

int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned int flags) {
    int (*next)(int, off64_t, off64_t, unsigned int) =
        (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
    int meddled = meddle(fd);
    return meddled == 0 ? next(fd, offset, bytes, flags) : meddled == 1 ? 0 : -1;
}
