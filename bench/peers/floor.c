/* The floor of fan-out: a bare loop of write()s to N sockets, paced.
 *
 *   floor PORT
 *
 * GET .../S subscribes to stream S: a chunked response that begins with event 0 (see
 * load.c). Speaks the protocol of bench/peers/writer.py on stdin and stdout.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENT = 200, CHUNK = 4 + EVENT + 2, MAX_STREAMS = 65536 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n";
static struct { int *fds, count; } subscribers[MAX_STREAMS];
static int streams;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void sleep_until(uint64_t ns) {
    struct timespec t = {ns / 1000000000u, ns % 1000000000u};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void chunk(char *to, uint64_t number, unsigned stream) {
    char head[64];
    sprintf(head, "c8\r\ndata: %012llx %016llx %08x ", (unsigned long long)number,
            (unsigned long long)now_ns(), stream);
    memcpy(to, head, 4 + 45);
    for (int i = 0; i < 153; i++)
        to[49 + i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[(number + stream + i) % 64];
    memcpy(to + 4 + EVENT - 2, "\n\n\r\n", 4);
}

static void subscribe(int listener) {
    char request[4096] = "", bytes[sizeof HEAD + CHUNK];
    int fd = accept(listener, NULL, NULL), n = 0, one = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (n < (int)sizeof request - 1 && !strstr(request, "\r\n\r\n")) {
        ssize_t got = read(fd, request + n, sizeof request - 1 - n);
        if (got <= 0) { close(fd); return; }
        request[n += got] = 0;
    }
    char *end = strstr(request, " HTTP");
    if (!end) { close(fd); return; }
    while (end > request && end[-1] != '/') end--;
    unsigned s = strtoul(end, NULL, 10) % MAX_STREAMS;
    subscribers[s].fds = realloc(subscribers[s].fds, (subscribers[s].count + 1) * sizeof(int));
    subscribers[s].fds[subscribers[s].count++] = fd;
    if ((int)s >= streams) streams = s + 1;
    memcpy(bytes, HEAD, sizeof HEAD - 1);
    chunk(bytes + sizeof HEAD - 1, 0, s);
    if (write(fd, bytes, sizeof HEAD - 1 + CHUNK) < 0) perror("write");
}

static void go(double rate, double seconds) {
    uint64_t began = now_ns(), per_stream = rate * seconds + 0.5, late = 0;
    uint64_t total = (per_stream ? per_stream : 1) * streams, done = 0;
    char bytes[CHUNK];
    while (done < total) {
        uint64_t elapsed = now_ns() - began;
        uint64_t due = (uint64_t)(elapsed / 1e9 * rate * streams) + 1;
        if (due > total) due = total;
        if (due > done) {
            uint64_t behind = elapsed - (uint64_t)(done * 1e9 / (rate * streams));
            if (behind < UINT64_MAX / 2 && behind > late) late = behind;
        }
        for (; done < due; done++) {
            unsigned s = done % streams;
            chunk(bytes, done / streams + 1, s);
            for (int i = 0; i < subscribers[s].count; i++)
                if (write(subscribers[s].fds[i], bytes, CHUNK) < 0) perror("write");
        }
        uint64_t next = began + (uint64_t)(done * 1e9 / (rate * streams)), least = now_ns() + 1000000;
        sleep_until(next > least ? next : least);
    }
    printf("{\"per_stream\": %llu, \"seconds\": %f, \"late_ms\": %f}\n",
           (unsigned long long)(total / streams), (now_ns() - began) / 1e9, late / 1e6);
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 4096)) return perror("bind"), 1;
    puts("{\"ready\": 0}");
    fflush(stdout);
    struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
    for (;;) {
        poll(fds, 2, -1);
        if (fds[1].revents) subscribe(listener);
        if (fds[0].revents) {
            char line[128];
            double rate, seconds;
            ssize_t n = read(0, line, sizeof line - 1);
            if (n <= 0 || !strncmp(line, "close", 5)) return 0;
            line[n] = 0;
            if (sscanf(line, "go %lf %lf", &rate, &seconds) == 2) go(rate, seconds);
        }
    }
}
