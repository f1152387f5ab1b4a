// Append and read in C++: the algorithm of llama.cpp's stream buffer, and plain memcpy.
//
// The buffer is a std::vector<char> under a mutex, with a condition variable for its
// readers. It keeps its last CAPACITY bytes: once it is full, every append erases from
// the front, which moves all that is kept.
//
//     ring SIZE CAPACITY BELOW AT_CAP
//
// prints CPU nanoseconds per operation, one "what where ns" a line; BELOW and AT_CAP
// are how many operations to measure below the capacity and at it.

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <vector>

class Buffer {
  public:
    explicit Buffer(size_t capacity) : capacity(capacity) {}

    void append(const char *chunk, size_t size) {
        std::lock_guard<std::mutex> guard(mutex);
        kept.insert(kept.end(), chunk, chunk + size);
        if (kept.size() > capacity) {
            size_t excess = kept.size() - capacity;
            kept.erase(kept.begin(), kept.begin() + excess);
            dropped += excess;
        }
        changed.notify_all();
    }

    size_t read(size_t offset, char *into, size_t size) {
        std::lock_guard<std::mutex> guard(mutex);
        if (offset < dropped) return 0;
        size_t at = offset - dropped;
        if (at >= kept.size()) return 0;
        if (size > kept.size() - at) size = kept.size() - at;
        memcpy(into, kept.data() + at, size);
        return size;
    }

    size_t first() { return dropped; }

  private:
    const size_t capacity;
    size_t dropped = 0;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<char> kept;
};

static double now_ns() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

template <typename F> static void report(const char *what, size_t count, F operation) {
    double began = now_ns();
    for (size_t i = 0; i < count; i++) operation(i);
    printf("%s %.2f\n", what, (now_ns() - began) / count);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: ring SIZE CAPACITY BELOW AT_CAP\n");
        return 2;
    }
    size_t size = atol(argv[1]), capacity = atol(argv[2]);
    size_t below = atol(argv[3]), at_cap = atol(argv[4]);
    std::vector<char> chunk(size, 'x'), into(size);
    size_t got = 0;

    Buffer buffer(capacity);
    auto append = [&](size_t) { buffer.append(chunk.data(), size); };
    report("append below", below, append);
    size_t kept = below * size;
    auto read = [&](size_t i) {
        size_t offset = buffer.first() + i * size % (kept - size + 1);
        got += buffer.read(offset, into.data(), size);
    };
    report("read below", at_cap * 20, read);
    while (kept <= capacity) {
        append(0);
        kept += size;
    }
    kept = capacity;
    report("append cap", at_cap, append);
    report("read cap", at_cap * 20, read);

    // Both into a ring and out of it: what moving the bytes costs whoever does it.
    std::vector<char> ring(capacity, 'y');
    size_t places = capacity / size;
    report("memcpy-in cap", at_cap * 50, [&](size_t i) {
        memcpy(ring.data() + i % places * size, chunk.data(), size);
        __asm__ volatile("" : : "r"(ring.data()) : "memory");
    });
    report("memcpy-out cap", at_cap * 50, [&](size_t i) {
        memcpy(into.data(), ring.data() + i % places * size, size);
        __asm__ volatile("" : : "r"(into.data()) : "memory");
    });
    fprintf(stderr, "%zu bytes read\n", got);
    return 0;
}
