/* A load client: one thread, epoll, thousands of connections, every byte checked.
 *
 *   load follow HOST PORT --path P [--header H] --streams S --readers R
 *        [--from OFFSET] [--churn PER_S]
 *   load replay HOST PORT --path P [--header H] --conns C --seconds T --bytes B
 *        [--once] [--random] [--stream N]
 *   load first  HOST PORT --path P [--header H] --count N --streams S
 *
 * In P and H, %s is the stream's number and %o the byte offset to begin at.
 *
 * A body is events of 200 bytes; number i of stream s, stamped at t, is
 *   "data: " i(12 hex) " " t(16 hex, CLOCK_MONOTONIC ns) " " s(8 hex) " " pad "\n\n"
 * with a pad of 153 bytes that begins at (i + s) % 64 in a repeated alphabet. All of it
 * but t is checked; t gives the delivery latency.
 *
 * A body that begins with "retry" is the same with more lines, for an EventSource: ids
 * and comments are left out, and so is all from "event: end" on.
 *
 * follow prints {"ready": N} when every connection has its first event, then obeys
 * lines on stdin: "begin" opens the window, "end" closes it, "stop I" waits up to 2 s
 * until every connection has I events, prints the result as one line, and exits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENT = 200, PAD = 153, AT_STAMP = 19, AT_STREAM = 36, AT_PAD = 45 };
enum { SUB = 64, OCTAVES = 44, BUCKETS = SUB * OCTAVES };
enum { CONNECTING, HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, DONE };
enum { MAX_PENDING = 256, BUFFER = 1 << 18 };

static const char ALPHABET[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
static char pads[64 * 5];
static char buffer[BUFFER];

typedef struct {
    uint64_t buckets[BUCKETS], count, max;
} Histogram;

typedef struct {
    int fd, state, filled, chunked, line_len, torn_start, waiting;
    int framed, mid_line, dropped; /* for an EventSource; within a line; of no event */
    uint64_t left;      /* of the chunk, or of the body with a length */
    uint64_t events;    /* received and checked, from the stream's beginning */
    uint64_t seen;      /* the same, over all connections of this reader */
    uint64_t asked_at;  /* ns */
    unsigned stream;
    char expect[EVENT]; /* the next event, without its stamp */
    char got[EVENT];
    char line[4096];
} Connection;

static struct sockaddr_in address;
static const char *host, *path, *header = "";
static int epoll, streams = 1, churn, once, randomly;
static uint64_t from_offset, body_bytes, base_stream;
static Connection *connections;
static int total, opened, pending, ready, finished;
static uint64_t delivered, window_events, all_bytes, requests;
static uint64_t window_from, window_to, torn, cut, refused, rejoined, deadline;
static char first_error[256];
static Histogram latency, first_byte;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void complain(const char *what, Connection *c, const char *bytes, int n) {
    if (*first_error) return;
    int at = snprintf(first_error, 120, "%s: stream %u event %llu: ", what, c->stream,
                      (unsigned long long)c->events);
    for (int i = 0; i < n && at < 240; i++)
        first_error[at++] = bytes[i] < 32 || bytes[i] == '"' || bytes[i] == '\\' || bytes[i] > 126 ? '.' : bytes[i];
}

static void record(Histogram *h, uint64_t ns) {
    int octave = 0;
    uint64_t v = ns;
    if (v >= SUB) {
        octave = 63 - __builtin_clzll(v) - 5;
        v >>= octave;
    }
    int at = octave * (SUB / 2) + (int)v;
    h->buckets[at < BUCKETS ? at : BUCKETS - 1]++;
    h->count++;
    if (ns > h->max) h->max = ns;
}

static double percentile_us(Histogram *h, double p) {
    uint64_t want = (uint64_t)(p * h->count), sum = 0;
    for (int i = 0; i < BUCKETS; i++) {
        sum += h->buckets[i];
        if (sum > want) {
            int octave = i < SUB ? 0 : i / (SUB / 2) - 1;
            uint64_t v = i - (uint64_t)octave * (SUB / 2);
            return ((double)(v << octave) + (double)(1ull << octave) / 2) / 1000;
        }
    }
    return h->max / 1000.0;
}

static void put_hex(char *at, int digits, uint64_t v) {
    for (int i = digits - 1; i >= 0; i--, v >>= 4) at[i] = "0123456789abcdef"[v & 15];
}

static uint64_t get_hex(const char *at) {
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) v = v << 4 | ((at[i] & 15) + (at[i] >> 6) * 9);
    return v;
}

static void expect(Connection *c) {
    put_hex(c->expect + 6, 12, c->events);
    memcpy(c->expect + AT_PAD, pads + (c->events + c->stream) % 64, PAD);
}

static void start_at(Connection *c, uint64_t offset) {
    c->events = offset / EVENT;
    memcpy(c->expect, "data: ", 6);
    memset(c->expect + 18, ' ', AT_PAD - 18);
    memset(c->expect + AT_STAMP, '0', 16);
    put_hex(c->expect + AT_STREAM, 8, c->stream);
    memcpy(c->expect + EVENT - 2, "\n\n", 2);
    expect(c);
    c->filled = offset % EVENT;
    c->torn_start = c->filled;
    c->framed = -1;
    c->mid_line = c->dropped = 0;
    memcpy(c->got, c->expect, c->filled);
}

static int check(Connection *c, const char *e, uint64_t now) {
    if (memcmp(e, c->expect, AT_STAMP) || memcmp(e + 35, c->expect + 35, EVENT - 35)) {
        torn++;
        complain("torn", c, e, 64);
        return -1;
    }
    c->events++;
    delivered++;
    if (window_from && !window_to) {
        uint64_t stamp = get_hex(e + AT_STAMP);
        window_events++;
        if (stamp >= window_from && !c->torn_start && c->events > c->seen)
            record(&latency, now > stamp ? now - stamp : 0);
    }
    if (!c->torn_start && c->events == 1) record(&first_byte, now - c->asked_at);
    if (c->events > c->seen) c->seen = c->events;
    c->torn_start = 0;
    expect(c);
    return 0;
}

static int events(Connection *c, const char *at, uint64_t n, uint64_t now) {
    all_bytes += n;
    while (n) {
        if (!c->filled && n >= EVENT) {
            if (check(c, at, now)) return -1;
            at += EVENT, n -= EVENT;
            continue;
        }
        uint64_t room = EVENT - c->filled, take = room < n ? room : n;
        memcpy(c->got + c->filled, at, take);
        c->filled += take, at += take, n -= take;
        if (c->filled == EVENT) {
            if (check(c, c->got, now)) return -1;
            c->filled = 0;
        }
    }
    return 0;
}

static int expand(char *to, int size, const char *from, Connection *c, uint64_t offset) {
    int n = 0;
    for (; *from && n < size - 32; from++) {
        if (*from == '%' && (from[1] == 's' || from[1] == 'o')) {
            from++;
            n += sprintf(to + n, "%llu", *from == 's' ? (unsigned long long)c->stream : (unsigned long long)offset);
        } else to[n++] = *from;
    }
    to[n] = 0;
    return n;
}

static void ask(Connection *c) {
    char request[2048], p[512], h[512];
    uint64_t offset = from_offset;
    if (randomly) offset = ((uint64_t)random() << 20 ^ random()) % (body_bytes - EVENT);
    else if (churn) offset = c->events * EVENT;
    if (!strstr(path, "%o") && !strstr(header, "%o")) offset = 0;
    start_at(c, offset);
    expand(p, sizeof p, path, c, offset);
    expand(h, sizeof h, header, c, offset);
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", p, host, h, *h ? "\r\n" : "");
    c->state = HEAD, c->line_len = 0, c->chunked = 0, c->left = UINT64_MAX;
    c->asked_at = c->asked_at ? c->asked_at : now_ns();
    if (send(c->fd, request, n, MSG_NOSIGNAL) != n) c->state = DONE, refused++;
    requests++;
}

static void answered(Connection *c) {
    pending -= c->waiting;
    c->waiting = 0;
}

static int body(Connection *c, const char *at, uint64_t n, uint64_t now) {
    static char kept[BUFFER];
    uint64_t size = 0;
    if (c->framed < 0 && n) c->framed = *at == 'r';
    if (!c->framed) return events(c, at, n, now);
    while (n) {
        if (!c->mid_line && c->dropped < 2) c->dropped = *at == 'e' ? 2 : *at != 'd' && *at != '\n';
        const char *end = memchr(at, '\n', n);
        uint64_t take = end ? (uint64_t)(end - at) + 1 : n;
        if (!c->dropped) memcpy(kept + size, at, take), size += take;
        c->mid_line = !end;
        at += take, n -= take;
    }
    return events(c, kept, size, now);
}

static void hang_up(Connection *c) {
    answered(c);
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void dial(Connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->asked_at = now_ns();
    c->state = CONNECTING;
    pending += !c->waiting;
    c->waiting = 1;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        snprintf(first_error, sizeof first_error, "connect: %s", strerror(errno));
        refused++, finished++, c->state = DONE, hang_up(c);
        return;
    }
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
}

static void over(Connection *c, int clean) {
    if (c->state == DONE) return;
    uint64_t have = c->events * EVENT + c->filled;
    if (!clean) cut++, complain("cut", c, c->line, c->line_len < 64 ? c->line_len : 64);
    else if (body_bytes && have != body_bytes) cut++, complain("short", c, "", 0);
    if (clean && body_bytes && !once && now_ns() < deadline) {
        c->asked_at = 0;
        ask(c);
        return;
    }
    c->state = DONE;
    finished++;
    hang_up(c);
}

/* Parse the head; returns the bytes used, or -1. */
static int head(Connection *c, const char *at, int n) {
    for (int i = 0; i < n; i++) {
        if (c->line_len < (int)sizeof c->line - 1) c->line[c->line_len++] = at[i];
        if (c->line_len < 4 || memcmp(c->line + c->line_len - 4, "\r\n\r\n", 4)) continue;
        c->line[c->line_len] = 0;
        if (strncmp(c->line + 9, "20", 2)) {
            refused++;
            complain("refused", c, c->line, c->line_len < 100 ? c->line_len : 100);
            return -1;
        }
        char *length = strcasestr(c->line, "\r\ncontent-length:");
        answered(c);
        c->chunked = strcasestr(c->line, "transfer-encoding: chunked") != NULL;
        if (length) c->left = strtoull(length + 17, NULL, 10);
        c->state = c->chunked ? CHUNK_SIZE : BODY;
        c->line_len = 0;
        return i + 1;
    }
    return n;
}

static int feed(Connection *c, const char *at, int n, uint64_t now) {
    const char *end = at + n;
    while (at < end) {
        uint64_t have = end - at;
        int used;
        switch (c->state) {
        case HEAD:
            if ((used = head(c, at, have)) < 0) return -1;
            at += used;
            if (c->state == BODY && !c->left) return over(c, 1), 0;
            break;
        case BODY:
        case CHUNK_DATA:
            if (have > c->left) have = c->left;
            if (body(c, at, have, now)) return -1;
            at += have;
            if (c->left != UINT64_MAX) c->left -= have;
            if (!c->left) {
                if (c->state == BODY) return over(c, 1), 0;
                c->state = CHUNK_END;
            }
            break;
        case CHUNK_SIZE:
            if (*at == '\n') {
                c->line[c->line_len] = 0;
                c->left = strtoull(c->line, NULL, 16);
                c->line_len = 0;
                c->state = c->left ? CHUNK_DATA : TRAILER;
            } else if (c->line_len < 64) c->line[c->line_len++] = *at;
            at++;
            break;
        case CHUNK_END:
            if (*at++ == '\n') c->state = CHUNK_SIZE;
            break;
        case TRAILER:
            if (*at++ == '\n') return over(c, 1), 0;
            break;
        default:
            return 0;
        }
    }
    return 0;
}

static void on_event(Connection *c, uint32_t events) {
    if (c->fd < 0) return;
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            snprintf(first_error, sizeof first_error, "connect: %s", strerror(error));
            refused++, finished++, c->state = DONE, hang_up(c);
            return;
        }
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
        ask(c);
        return;
    }
    (void)events;
    for (int turns = 0; turns < 4 && c->fd >= 0; turns++) {
        ssize_t n = recv(c->fd, buffer, BUFFER, 0);
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR) return;
            over(c, 0);
            return;
        }
        if (n == 0) {
            /* A body without length and chunks ends with its connection. */
            if (c->state == HEAD && !c->line_len && body_bytes) { /* kept alive no longer */
                hang_up(c);
                rejoined++;
                dial(c);
            } else over(c, c->state == BODY && c->left == UINT64_MAX);
            return;
        }
        uint64_t before = c->events;
        uint64_t now = now_ns();
        if (feed(c, buffer, n, now)) {
            c->state = DONE;
            finished++;
            hang_up(c);
            return;
        }
        if (!before && c->events) ready++;
        if (n < BUFFER) return;
    }
}

static void turn(int wait_ms) {
    struct epoll_event events[512];
    /* More at once would overflow the server's backlog; lost SYNs would be measured. */
    while (opened < total && (once || pending < MAX_PENDING)) dial(&connections[opened++]);
    int n = epoll_wait(epoll, events, 512, wait_ms);
    for (int i = 0; i < n; i++) on_event(events[i].data.ptr, events[i].events);
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_histogram(const char *name, Histogram *h) {
    printf("\"%s\": {\"count\": %llu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}, ",
           name, (unsigned long long)h->count, percentile_us(h, .5), percentile_us(h, .9),
           percentile_us(h, .99), percentile_us(h, .999), h->max / 1000.0);
}

static void result(double seconds, double cpu) {
    printf("{\"seconds\": %.6f, \"client_cpu_s\": %.6f, \"window_events\": %llu, \"events\": %llu, \"bytes\": %llu, "
           "\"requests\": %llu, \"torn\": %llu, \"cut\": %llu, \"refused\": %llu, \"rejoined\": %llu, ",
           seconds, cpu, (unsigned long long)window_events, (unsigned long long)delivered,
           (unsigned long long)all_bytes, (unsigned long long)requests, (unsigned long long)torn,
           (unsigned long long)cut, (unsigned long long)refused, (unsigned long long)rejoined);
    print_histogram("latency", &latency);
    print_histogram("first", &first_byte);
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < total; i++) {
        if (connections[i].events < least) least = connections[i].events;
        if (connections[i].events > most) most = connections[i].events;
    }
    printf("\"least\": %llu, \"most\": %llu, \"error\": \"%s\"}\n", (unsigned long long)least,
           (unsigned long long)most, first_error);
    fflush(stdout);
}

static void rejoin(void) {
    Connection *c = &connections[random() % total];
    if (c->fd < 0 || c->state == CONNECTING || c->state == HEAD || c->state == DONE) return;
    hang_up(c);
    rejoined++;
    dial(c);
}

static void follow(void) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    (void)e;
    int announced = 0, stopping = 0;
    uint64_t want = 0, give_up = 0, next_churn = 0, began = 0;
    double cpu0 = 0, cpu = 0, seconds = 0;
    fcntl(0, F_SETFL, O_NONBLOCK);
    uint64_t look = 0;
    for (;;) {
        turn(announced ? 5 : 1);
        uint64_t now = now_ns();
        if (!announced && ready + finished >= total) {
            announced = 1;
            printf("{\"ready\": %d, \"refused\": %llu, \"error\": \"%s\"}\n", ready, (unsigned long long)refused, first_error);
            fflush(stdout);
        }
        if (churn && window_from && !stopping) {
            if (!next_churn) next_churn = now;
            for (; next_churn <= now; next_churn += 1000000000u / churn) rejoin();
        }
        if (now - look > 2000000) {
            char line[64];
            look = now;
            ssize_t n = read(0, line, sizeof line - 1);
            if (n == 0) exit(0); /* the parent process has ended */
            if (n > 0) {
                line[n] = 0;
                if (strstr(line, "begin")) window_from = began = now, window_to = 0, cpu0 = cpu_s();
                if (strstr(line, "end") && began) window_to = now, seconds = (now - began) / 1e9, cpu = cpu_s() - cpu0;
                char *stop = strstr(line, "stop");
                if (stop) stopping = 1, want = strtoull(stop + 4, NULL, 10), give_up = now + 2000000000u;
            }
        }
        if (stopping) {
            int behind = 0;
            for (int i = 0; i < total && !behind; i++) behind = connections[i].events < want;
            if (!behind || now > give_up) break;
        }
    }
    result(seconds, cpu);
}

static void replay(double seconds) {
    uint64_t began = now_ns(), end;
    deadline = began + (uint64_t)(seconds * 1e9);
    double cpu0 = cpu_s();
    while (finished < total && (end = now_ns()) < deadline + 10000000000u) turn(100);
    result((now_ns() - began) / 1e9, cpu_s() - cpu0);
}

static void first(int count) {
    uint64_t began = now_ns();
    for (int i = 0; i < count && !refused && !torn; i++) {
        Connection *c = &connections[0];
        memset(c, 0, sizeof *c);
        c->stream = base_stream + i % streams;
        finished = 0, opened = total = 1;
        dial(c);
        uint64_t limit = now_ns() + 5000000000u;
        while (!c->events && !finished && now_ns() < limit) turn(100);
        if (!c->events && !finished) { complain("no first event", c, "", 0); refused++; }
        c->state = DONE;
        hang_up(c);
    }
    result((now_ns() - began) / 1e9, 0);
}

int main(int argc, char **argv) {
    int readers = 1, conns = 1, count = 100;
    double seconds = 1;
    if (argc < 4) return fprintf(stderr, "usage: load follow|replay|first HOST PORT ...\n"), 2;
    host = argv[2];
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(argv[3]));
    inet_pton(AF_INET, host, &address.sin_addr);
    for (int i = 4; i < argc; i++) {
        const char *o = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(o, "--once")) { once = 1; continue; }
        if (!strcmp(o, "--random")) { randomly = 1; continue; }
        i++;
        if (!strcmp(o, "--path")) path = v;
        else if (!strcmp(o, "--header")) header = v;
        else if (!strcmp(o, "--streams")) streams = atoi(v);
        else if (!strcmp(o, "--readers")) readers = atoi(v);
        else if (!strcmp(o, "--from")) from_offset = strtoull(v, NULL, 10);
        else if (!strcmp(o, "--churn")) churn = atoi(v);
        else if (!strcmp(o, "--conns")) conns = atoi(v);
        else if (!strcmp(o, "--seconds")) seconds = atof(v);
        else if (!strcmp(o, "--bytes")) body_bytes = strtoull(v, NULL, 10);
        else if (!strcmp(o, "--stream")) base_stream = atoi(v);
        else if (!strcmp(o, "--count")) count = atoi(v);
        else return fprintf(stderr, "unknown option %s\n", o), 2;
    }
    for (int i = 0; i < (int)sizeof pads; i++) pads[i] = ALPHABET[i % 64];
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    srandom(1);
    epoll = epoll_create1(0);
    int following = !strcmp(argv[1], "follow");
    total = following ? streams * readers : conns;
    connections = calloc(total, sizeof *connections);
    for (int i = 0; i < total; i++) {
        connections[i].fd = -1;
        connections[i].stream = base_stream + i % streams;
    }
    if (following) follow();
    else if (!strcmp(argv[1], "replay")) replay(seconds);
    else first(count);
    return 0;
}
