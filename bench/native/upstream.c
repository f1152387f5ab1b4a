// A streaming HTTP server, small and fast: the model behind a proxy.
//
//     upstream PORT CHUNKS PER_SECOND BYTES [hold]
//
// listens on 127.0.0.1 (port 0: any; it is printed). Every request, whatever it asks,
// is answered with CHUNKS server-sent events of BYTES bytes, one chunk each (of the
// chunked coding) and one write each, PER_SECOND of them; PER_SECOND 0: all at once.
// With "hold" nothing more follows, and no end. An event is
//     "data: " index(10) " " monotonic nanoseconds(19) " " padding "\n\n"

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 8192, MAX_HEAD = 16384, MAX_EVENT = 65536 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n";

struct connection {
    int fd, used;         // used: bytes of the request's head so far
    long long due;        // when the next chunk is to be written
    int index;            // of the next chunk
    char head[MAX_HEAD];
    struct connection *next;  // in the queue of those that stream
};

static struct connection *by_fd[MAX_CONNECTIONS];
// All have the same period, so they become due in the order of a queue.
static struct connection *first, *last;
static long long period;
static int chunks, size, hold;

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void enqueue(struct connection *c) {
    c->next = NULL;
    if (first) last->next = c; else first = c;
    last = c;
}

static void end(struct connection *c) {
    struct connection **at = &first, *before = NULL;
    for (; *at && *at != c; at = &(*at)->next) before = *at;
    if (*at) {
        *at = c->next;
        if (last == c) last = before;
    }
    by_fd[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static int put(struct connection *c, const char *bytes, int length) {
    // It blocks: a reader that does not keep up spoils the measurement anyway.
    while (length) {
        ssize_t n = send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0) return 0;
        bytes += n;
        length -= n;
    }
    return 1;
}

static int put_event(struct connection *c) {
    static char line[MAX_EVENT + 64];
    int at = sprintf(line, "%x\r\n", size), begin = at;
    at += sprintf(line + at, "data: %010d %019lld ", c->index, now_ns());
    memset(line + at, 'x', begin + size - 2 - at);
    memcpy(line + begin + size - 2, "\n\n\r\n", 4);
    return put(c, line, begin + size + 2);
}

// Writes what is due and queues the connection again; 0 if it is to be closed.
static int advance(struct connection *c) {
    do {
        if (c->index == chunks) {
            c->used = 0;
            return hold || put(c, "0\r\n\r\n", 5);
        }
        if (!put_event(c)) return 0;
        c->index++;
    } while (!period);
    c->due += period;
    enqueue(c);
    return 1;
}

// The length of a whole request at the beginning of ``head``, 0: there is more to come.
static int request_length(struct connection *c) {
    c->head[c->used] = 0;
    char *body = strstr(c->head, "\r\n\r\n");
    if (!body) return 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    int whole = body + 4 - c->head;
    if (length && length < body) whole += atoi(length + 17);
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked"))
        return strstr(body + 2, "\r\n0\r\n\r\n") ? c->used : 0;
    return c->used >= whole ? whole : 0;
}

static void hear(struct connection *c) {
    ssize_t n = recv(c->fd, c->head + c->used, MAX_HEAD - 1 - c->used, 0);
    if (n <= 0) {
        end(c);
        return;
    }
    c->used += n;
    if (!request_length(c)) return;
    c->used = 0;
    c->index = 0;
    c->due = now_ns() + period;
    if (!put(c, HEAD, sizeof HEAD - 1)) end(c);
    else if (period) enqueue(c);
    else if (!advance(c)) end(c);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    chunks = atoi(argv[2]);
    period = atof(argv[3]) > 0 ? 1e9 / atof(argv[3]) : 0;
    size = atoi(argv[4]);
    hold = argc > 5;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, length) || listen(listener, 4096)) {
        perror("upstream");
        return 1;
    }
    getsockname(listener, (void *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct timespec wait, *until = NULL;
        if (first) {
            long long left = first->due - now_ns();
            if (left < 0) left = 0;
            wait = (struct timespec){left / 1000000000, left % 1000000000};
            until = &wait;
        }
        int n = epoll_pwait2(epoll, events, 64, until, NULL);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (by_fd[fd]) hear(by_fd[fd]);
                continue;
            }
            fd = accept(listener, NULL, NULL);
            if (fd < 0) continue;
            struct connection *c = fd < MAX_CONNECTIONS ? calloc(1, sizeof *c) : NULL;
            if (!c) {
                close(fd);
                continue;
            }
            c->fd = fd;
            by_fd[fd] = c;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
        for (long long now = now_ns(); first && first->due <= now;) {
            struct connection *c = first;
            first = c->next;
            if (!first) last = NULL;
            if (!advance(c)) end(c);
        }
    }
}
