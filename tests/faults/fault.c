/* LD_PRELOAD library: system calls on chosen paths fail. fault_set says which, fault_seen counts.

   A call fits if it is of the kind and its path contains the words; the calls number first to first + count - 1 fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *const KINDS[] = {"open", "read", "write", "fsync", "rename", "link", "mkdir", "unlink"};
enum { NUM_KINDS = sizeof KINDS / sizeof *KINDS };

static char kind[16], words[512];
static int number, first, count, seen[NUM_KINDS];

void fault_set(const char *k, const char *w, int errno_, int first_, int count_)
{
    snprintf(kind, sizeof kind, "%s", k);
    snprintf(words, sizeof words, "%s", w);
    number = errno_, first = first_, count = count_;
    memset(seen, 0, sizeof seen);
}

/* How many calls of the kind, whichever it is that fails, were on such paths. */
int fault_seen(const char *k)
{
    for (int i = 0; i < NUM_KINDS; i++)
        if (!strcmp(KINDS[i], k))
            return seen[i];
    return -1;
}

static int fails(const char *k, const char *path)
{
    int i = 0;
    if (!words[0] || !path || !strstr(path, words))
        return 0;
    while (strcmp(KINDS[i], k))
        i++;
    int n = __sync_fetch_and_add(&seen[i], 1);
    if (strcmp(kind, k) || n < first || n >= first + count)
        return 0;
    errno = number;
    return 1;
}

static int fd_fails(const char *k, int fd)
{
    char link[64], path[4096];
    if (!words[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(k, path);
}

#define REAL(type, name, ...)                   \
    static type (*real)(__VA_ARGS__);           \
    if (!real)                                  \
        real = dlsym(RTLD_NEXT, #name);

#define ON_FD(type, name, k, parameters, ...)   \
    type name parameters                        \
    {                                           \
        REAL(type, name, __VA_ARGS__)           \
        if (fd_fails(k, fd))                    \
            return -1;                          \
        return CALL;                            \
    }

#define CALL real(fd, buffer, size)
ON_FD(ssize_t, write, "write", (int fd, const void *buffer, size_t size), int, const void *, size_t)
ON_FD(ssize_t, read, "read", (int fd, void *buffer, size_t size), int, void *, size_t)
#undef CALL
#define CALL real(fd, parts, number_of_parts)
ON_FD(ssize_t, writev, "write", (int fd, const struct iovec *parts, int number_of_parts), int, const struct iovec *, int)
#undef CALL
#define CALL real(fd, buffer, size, offset)
ON_FD(ssize_t, pread64, "read", (int fd, void *buffer, size_t size, off64_t offset), int, void *, size_t, off64_t)
ON_FD(ssize_t, pwrite64, "write", (int fd, const void *buffer, size_t size, off64_t offset), int, const void *, size_t, off64_t)
#undef CALL
#define CALL real(fd)
ON_FD(int, fsync, "fsync", (int fd), int)
#undef CALL
#define CALL real(fd, size)
ON_FD(int, ftruncate64, "write", (int fd, off64_t size), int, off64_t)

#define ON_NAMES(name, k)                                       \
    int name(const char *from, const char *to)                  \
    {                                                           \
        REAL(int, name, const char *, const char *)             \
        return fails(k, to) ? -1 : real(from, to);              \
    }
ON_NAMES(rename, "rename")
ON_NAMES(link, "link")
ON_NAMES(symlink, "link")

int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, const char *, mode_t)
    return fails("mkdir", path) ? -1 : real(path, mode);
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *)
    return fails("unlink", path) ? -1 : real(path);
}

#define MODE                                                    \
    mode_t mode = 0;                                            \
    if (flags & (O_CREAT | O_TMPFILE)) {                        \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode = va_arg(rest, mode_t);                            \
        va_end(rest);                                           \
    }

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...)                  \
    {                                                           \
        REAL(int, name, const char *, int, ...)                 \
        MODE                                                    \
        return fails("open", path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                            \
    int name(int folder, const char *path, int flags, ...)      \
    {                                                           \
        REAL(int, name, int, const char *, int, ...)            \
        MODE                                                    \
        return fails("open", path) ? -1 : real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)
