/* The smallest service: static, no libc start-up worth speaking of.
 *   tiny wait            waits for its end
 *   tiny stamp FIFO      writes the monotonic nanoseconds of its start into FIFO, then waits
 *   tiny term FIFO       writes such a stamp once it waits for SIGTERM, another when that has come, and ends
 *   tiny lines COUNT     writes COUNT numbered lines of 100 bytes, 4 KiB a write, as line-buffering programs do
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void put(const char *from, size_t length) {
    while (length > 0) {
        ssize_t written = write(1, from, length);
        if (written <= 0)
            _exit(1);
        from += written;
        length -= (size_t)written;
    }
}

static void stamp(int fifo) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (fifo < 0 || write(fifo, &ns, sizeof ns) != sizeof ns)
        _exit(1);
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "stamp")) {
        int fifo = open(argv[2], O_WRONLY);
        stamp(fifo);
        close(fifo);
    } else if (argc > 2 && !strcmp(argv[1], "term")) {
        sigset_t term;
        int fifo = open(argv[2], O_WRONLY), signal;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        stamp(fifo);
        sigwait(&term, &signal);
        stamp(fifo);
        return 0;
    } else if (argc > 2 && !strcmp(argv[1], "lines")) {
        char block[4000];
        long count = atol(argv[2]);
        for (long line = 0; line < count;) {
            size_t used = 0;
            for (; used < sizeof block && line < count; used += 100, line++) {
                memset(block + used, 'x', 99);
                char number[24];
                int digits = snprintf(number, sizeof number, "%012ld ", line);
                memcpy(block + used, number, (size_t)digits);
                block[used + 99] = '\n';
            }
            put(block, used);
        }
        return 0;
    }
    for (;;)
        pause();
}
