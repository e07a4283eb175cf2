/* Moves the wall clock of the process that is started with this library in LD_PRELOAD: the file named by
 * WALL_CLOCK_SHIFT holds the seconds to add (a native 64-bit number), and may be changed at any time. Clocks that
 * measure intervals stay as they are, as they do when a host's clock is set.
 *
 * libfaketime does this for most programs; Envoy's allocator makes it wait for itself for ever. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t shift(void) {
    static volatile int64_t *shared;
    if (!shared) {
        const char *path = getenv("WALL_CLOCK_SHIFT");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (file < 0) abort();
        void *mapped = mmap(NULL, sizeof *shared, PROT_READ, MAP_SHARED, file, 0);
        close(file);
        if (mapped == MAP_FAILED) abort();
        shared = mapped;
    }
    return *shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = (int)syscall(SYS_gettimeofday, now, zone);
    if (!failed && now) now->tv_sec += shift();
    return failed;
}

time_t time(time_t *copy) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (copy) *copy = now.tv_sec;
    return now.tv_sec;
}
