/* The smallest HTTP server that may be one of several on a port: `server PORT`, with SO_REUSEPORT. It answers every request
 * with its PID and closes. After SIGTERM it goes on until nobody waits any more, and only then closes: what is in the queue of
 * a listener that is closed is reset, whoever else listens on the port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t asked_to_end;

static void ask_to_end(int signal) {
    (void)signal;
    asked_to_end = 1;
}

static void answer(int client) {
    char request[1024], text[128];
    size_t length = 0;
    while (length < sizeof request && !memmem(request, length, "\r\n\r\n", 4)) {
        ssize_t got = read(client, request + length, sizeof request - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    int size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d\n", getpid());
    send(client, text, (size_t)size, MSG_NOSIGNAL);
    close(client);
}

int main(int argc, char **argv) {
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &before);
    signal(SIGTERM, ask_to_end);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argc > 1 ? argv[1] : "0")), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128))
        return 1;
    struct pollfd polled = {.fd = listener, .events = POLLIN};
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0)
            answer(client);
        else if (asked_to_end)
            break;
        else if (errno == EAGAIN)
            ppoll(&polled, 1, NULL, &before);
    }
    /* Right after it was seen to be empty: the end of a process closes it only once its memory is gone. */
    close(listener);
    return 0;
}
