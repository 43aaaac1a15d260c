/*
 * Loaded before everything else (LD_PRELOAD) into a process that writes a home: counts its writes, flushes, renames and removals
 * below that home, and kills the process at the one it is told to, before the call, after half of its bytes, or after it.
 *
 *   ASHORE_KILL_HOME   the home, as a real path; without it nothing is done
 *   ASHORE_KILL_STATE  a file that holds `struct state`, shared with whoever arms the kill and reads the count
 *
 * Linux only: every call goes to the kernel directly.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode { BEFORE, HALF, AFTER, PASS };

struct state {
    int64_t count;   /* calls so far */
    int64_t kill_at; /* the one to die at; 0: none */
    int64_t mode;
    char what[232];  /* the call that it died at, and on which path */
};

static struct state *state;
static char home[PATH_MAX];
static size_t home_size;

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("ASHORE_KILL_HOME"), *path = getenv("ASHORE_KILL_STATE");
    unsetenv("LD_PRELOAD"); /* what this process starts is no part of it */
    if (!where || !path)
        return;
    home_size = (size_t)snprintf(home, sizeof home, "%s/", where);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        state = mapped;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static int counted(const char *call, const char *path)
{
    if (strncmp(path, home, home_size - 1) || (path[home_size - 1] && path[home_size - 1] != '/'))
        return PASS;
    int64_t count = __atomic_add_fetch(&state->count, 1, __ATOMIC_SEQ_CST);
    if (count != __atomic_load_n(&state->kill_at, __ATOMIC_SEQ_CST))
        return PASS;
    snprintf(state->what, sizeof state->what, "%s %s", call, path);
    return (int)state->mode;
}

static int of_path(const char *call, const char *path)
{
    return state ? counted(call, path) : PASS;
}

static int of_fd(const char *call, int fd)
{
    char link[64], path[PATH_MAX];
    if (!state)
        return PASS;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return PASS;
    path[size] = 0;
    return counted(call, path);
}

#define WRITING(call, fd, size, half, whole)                                                                                           \
    int mode = of_fd(call, fd);                                                                                                        \
    if (mode == HALF && (size) > 1)                                                                                                    \
        half;                                                                                                                          \
    if (mode == BEFORE || mode == HALF)                                                                                                \
        die();                                                                                                                         \
    ssize_t done = whole;                                                                                                              \
    if (mode == AFTER)                                                                                                                 \
        die();                                                                                                                         \
    return done;

#define DOING(asked, whole)                                                                                                            \
    int mode = asked;                                                                                                                  \
    if (mode == BEFORE || mode == HALF)                                                                                                \
        die();                                                                                                                         \
    int done = (int)(whole);                                                                                                           \
    if (mode == AFTER)                                                                                                                 \
        die();                                                                                                                         \
    return done;

ssize_t write(int fd, const void *data, size_t size)
{
    WRITING("write", fd, size, syscall(SYS_write, fd, data, size / 2), syscall(SYS_write, fd, data, size))
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    WRITING("pwrite", fd, size, syscall(SYS_pwrite64, fd, data, size / 2, at), syscall(SYS_pwrite64, fd, data, size, at))
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    WRITING("pwrite", fd, size, syscall(SYS_pwrite64, fd, data, size / 2, at), syscall(SYS_pwrite64, fd, data, size, at))
}

int fsync(int fd)
{
    DOING(of_fd("fsync", fd), syscall(SYS_fsync, fd))
}

int fdatasync(int fd)
{
    DOING(of_fd("fdatasync", fd), syscall(SYS_fdatasync, fd))
}

int ftruncate(int fd, off_t size)
{
    DOING(of_fd("ftruncate", fd), syscall(SYS_ftruncate, fd, size))
}

int ftruncate64(int fd, off64_t size)
{
    DOING(of_fd("ftruncate", fd), syscall(SYS_ftruncate, fd, size))
}

int rename(const char *from, const char *to)
{
    DOING(of_path("rename", to), syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0))
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    DOING(of_path("rename", to), syscall(SYS_renameat2, from_fd, from, to_fd, to, 0))
}

int unlink(const char *path)
{
    DOING(of_path("unlink", path), syscall(SYS_unlinkat, AT_FDCWD, path, 0))
}
