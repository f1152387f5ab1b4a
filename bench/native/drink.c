// Reads the answers of ``upstream``, directly or through a proxy, and checks them.
//
//     drink PORT CONNECTIONS EVENTS BYTES GAP_US METHOD PATH NAME
//
// opens CONNECTIONS, one each GAP_US microseconds, so that their events do not come at
// the same time, and sends each "METHOD PATH" with "X-Conversation-Id: NAME-number".
// It checks every event's index, and notes every event's age on arrival once all
// connections stream. It prints
//     open EVENTS         all connections stream; so many events have come so far
//     end EVENTS          the first connection has ended; CPU is to be read here, too
//     latency COUNT P50 P99 MAX     in microseconds, of the events between
// and exits with 1 and a line on stderr if anything is missing or wrong.

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

enum { MAX_CONNECTIONS = 4096, MAX_EVENT = 65536, HEAD = 8192 };
enum phase { IN_HEAD, IN_SIZE, IN_DATA, AFTER_DATA, AT_END };

struct connection {
    int fd, index;
    enum phase phase;
    int filled;        // of head, or of event
    long left;         // of the chunk
    char head[HEAD];
    char event[MAX_EVENT];
};

static struct connection *connections[MAX_CONNECTIONS];
static int count, events, size, open_ones, ended;
static long total, noted, room;
static float *latencies;

static void fail(const char *why) {
    fprintf(stderr, "drink: %s\n", why);
    exit(1);
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void mark(const char *what) {
    printf("%s %ld\n", what, total);
    fflush(stdout);
}

static void take_event(struct connection *c, long long now) {
    if (memcmp(c->event, "data: ", 6) || memcmp(c->event + size - 2, "\n\n", 2))
        fail("an event is damaged");
    if (atoi(c->event + 6) != c->index) fail("an event is missing or doubled");
    if (!c->index++ && ++open_ones == count) mark("open");
    total++;
    if (open_ones == count && !ended && noted < room)
        latencies[noted++] = (now - atoll(c->event + 17)) / 1e3;
    if (c->index == events && !ended++) mark("end");
}

static void take_body(struct connection *c, const char *bytes, int n, long long now) {
    while (n) {
        int part = size - c->filled < n ? size - c->filled : n;
        memcpy(c->event + c->filled, bytes, part);
        c->filled += part;
        bytes += part;
        n -= part;
        if (c->filled == size) {
            take_event(c, now);
            c->filled = 0;
        }
    }
}

// One line of head or chunk size at a time, byte by byte: they are short.
static int take_line(struct connection *c, char byte) {
    if (c->filled == HEAD - 1) fail("a line is too long");
    c->head[c->filled++] = byte;
    if (byte != '\n') return 0;
    c->head[c->filled] = 0;
    return 1;
}

static void take(struct connection *c, const char *bytes, int n, long long now) {
    while (n) {
        if (c->phase == AT_END) return;  // the empty trailer
        if (c->phase == IN_DATA) {
            int part = c->left < n ? c->left : n;
            take_body(c, bytes, part, now);
            bytes += part;
            n -= part;
            c->left -= part;
            if (c->left) return;
            c->phase = AFTER_DATA;
            continue;
        }
        char byte = *bytes++;
        n--;
        if (c->phase == AFTER_DATA) {
            if (byte == '\n') c->phase = IN_SIZE;
            continue;
        }
        // An event that a chunk's end cuts stays in c->event, so its fill level is
        // kept aside while a line is read.
        static int aside;
        if (c->phase == IN_SIZE && c->left == 0) {
            aside = c->filled;
            c->filled = 0;
            c->left = -1 - aside;
        }
        if (!take_line(c, byte)) continue;
        if (c->phase == IN_HEAD) {
            if (c->filled < 4 || memcmp(c->head + c->filled - 4, "\r\n\r\n", 4)) continue;
            if (memcmp(c->head, "HTTP/1.1 200", 12)) fail(c->head);
            if (!strcasestr(c->head, "transfer-encoding: chunked")) fail("not chunked");
            c->phase = IN_SIZE;
            c->filled = 0;
            c->left = 0;
            continue;
        }
        long length = strtol(c->head, NULL, 16);
        c->filled = -1 - c->left;
        c->left = length;
        c->phase = length ? IN_DATA : AT_END;
        if (!length && c->index != events) fail("ended early");
    }
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static struct connection *begin(int epoll, int port, int number, char **argv) {
    struct connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[2048];
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&address, sizeof address)) fail(strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: bench\r\nX-Conversation-Id: %s-%d\r\n"
                          "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
                          argv[6], argv[7], argv[8], number);
    if (send(c->fd, request, length, MSG_NOSIGNAL) != length) fail("cannot send");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    return c;
}

int main(int argc, char **argv) {
    if (argc != 9) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int port = atoi(argv[1]), epoll = epoll_create1(0), begun = 0, at_end = 0;
    count = atoi(argv[2]);
    events = atoi(argv[3]);
    size = atoi(argv[4]);
    long long gap = atoll(argv[5]) * 1000, next = now_ns();
    if (count > MAX_CONNECTIONS || size > MAX_EVENT) return 2;
    room = (long)count * events;
    latencies = malloc(room * sizeof *latencies);
    static char bytes[1 << 18];
    while (at_end < count) {
        while (begun < count && now_ns() >= next) {
            connections[begun] = begin(epoll, port, begun, argv);
            begun++;
            next += gap;
        }
        long long left = begun < count ? next - now_ns() : 20000000000LL;
        if (left < 0) left = 0;
        struct timespec wait = {left / 1000000000, left % 1000000000};
        struct epoll_event ready[64];
        int n = epoll_pwait2(epoll, ready, 64, &wait, NULL);
        if (!n && begun == count) fail("nothing came for 20 s");
        for (int i = 0; i < n; i++) {
            struct connection *c = ready[i].data.ptr;
            ssize_t got = recv(c->fd, bytes, sizeof bytes, 0);
            if (got <= 0) fail("a connection broke");
            take(c, bytes, got, now_ns());
            if (c->phase == AT_END) {
                close(c->fd);
                at_end++;
            }
        }
    }
    if (total != room) fail("events are missing");
    qsort(latencies, noted, sizeof *latencies, by_value);
    if (!noted) fail("the first was at its end before the last had begun");
    printf("latency %ld %.1f %.1f %.1f\n", noted, latencies[noted / 2],
           latencies[(long)(noted * 0.99)], latencies[noted - 1]);
    return 0;
}
