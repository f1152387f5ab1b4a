/*
 * ring.pml: the ring of shmstream (shmstream/ring/ring.py), byte by byte.
 *
 * One writer at a time: the producer; after its SIGKILL a supervisor that takes over
 * (Finishing.finish, supervisor/finishing.py); after the supervisor's SIGKILL a second
 * supervisor. One reader, at any offset: readers write nothing, so one reader that may
 * do anything stands for all.
 *
 * A byte of the ring is modelled as the stream offset that it was written for, plus a
 * number for its writer (WHO). So "torn" is exact: a copied byte that is not the byte
 * published for its offset.
 *
 * Memory: x86-TSO keeps store-store and load-load order. With one writer, and a reader
 * that stores nothing, this is the same as one step per access. The bytes within one
 * copy are written, and read, in ANY order (memmove, rep movsb).
 *
 * -DINTERRUPT     an exception may leave append anywhere (MemoryError); Producer.abort
 *                 then appends the error event with the same RingWriter
 *
 * Mutations, each to be found wrong: VALIDATE_HEAD PREFIX_LATE PREFIX_LOWERED
 * FLOOR_OF_INIT NO_VALIDATE HEAD_FIRST FINAL_LATE.
 */

#ifndef CAP
#define CAP      3          /* capacity of the ring                                   */
#endif
#ifndef TOTAL
#define TOTAL    8          /* the producer writes up to so many bytes: some laps     */
#endif
#define CHUNK    (CAP + 1)  /* the longest append: longer than the ring               */
#define EVENT    2          /* the longest error event of a supervisor                */
#define WHO(w)   (32 * (w)) /* who wrote a byte: 0 producer, 1 and 2 supervisors      */

/* The header's words (ring/layout.py) and the ring. */
byte data[CAP];
byte head, dropped;
bool final;                 /* whether W_STATE is a final state                      */

/* Ghosts: no process of the protocol reads these. */
byte from[3];               /* the offset at which writer w began                     */
byte began;                 /* the last writer that has begun                         */
bool killed[2], gone[2];    /* SIGKILL was sent; its flock is free                    */
bool raised;                /* an exception leaves RingWriter.append                  */
bool lost, ended;           /* how the reader ended                                  */

/* Whether the byte v is what was published for stream offset o. */
#define RIGHT(v, o)  ((v) == (o) + ((began >= 2 && (o) >= from[2]) -> WHO(2) :        \
                                    ((began >= 1 && (o) >= from[1]) -> WHO(1) : 0)))

/* -- RingWriter.append ------------------------------------------------------------- */

/* if head - capacity > self._dropped: words[W_DROPPED] = self._dropped = head - capacity */
inline publish_prefix() {
    if
#ifdef PREFIX_LOWERED
    :: to > CAP -> dropped = to - CAP            /* ring.py at 4634ba3                */
#else
#ifdef FLOOR_OF_INIT
    :: to > CAP + floor -> dropped = to - CAP    /* ring.py at c080b55                */
#else
    :: to > CAP + dropped -> dropped = to - CAP  /* _dropped is the writer's own word */
#endif
#endif
    :: else
    fi
}

inline append(n) {
    do                                           /* longer than the ring: in pieces   */
    :: atomic { n > 0 ->
                size = (n > CAP -> CAP : n);
                n = n - size;
                to = at + size;
                todo = (1 << size) - 1;
                size = 0 };
#ifdef HEAD_FIRST
        head = to;
#endif
#ifndef PREFIX_LATE
        publish_prefix();                        /* 1: before a byte is overwritten   */
#endif
        do                                      /* 2: data[at:end] = chunk, any order */
        :: todo == 0 -> break
        :: todo & 1 -> d_step { todo = todo & 14; data[at % CAP] = at + WHO(me) }
        :: todo & 2 -> d_step { todo = todo & 13; data[(at + 1) % CAP] = at + 1 + WHO(me) }
        :: todo & 4 -> d_step { todo = todo & 11; data[(at + 2) % CAP] = at + 2 + WHO(me) }
        :: todo & 8 -> d_step { todo = todo & 7; data[(at + 3) % CAP] = at + 3 + WHO(me) }
        od;
#ifdef PREFIX_LATE
        publish_prefix();
#endif
        atomic { head = to; at = to; to = 0 }    /* 3: words[W_HEAD] = head           */
    :: n == 0 -> break
    od
}

#define APPENDS_EVENT                            /* end_stream: append_last           */ \
    if                                                                                   \
    :: n = 1                                                                             \
    :: n = EVENT                                                                         \
    :: n = 0                                     /* not an event stream, or no room   */ \
    fi;                                                                                  \
    append(n)

proctype Producer() {
    byte at, floor, to, todo, n, size;           /* floor: dropped in __init__        */
    byte me = 0;
    {
        {
            do
            :: atomic { at < TOTAL -> n = 1;     /* Producer.write, any chunk         */
                        do
                        :: n < CHUNK && at + n < TOTAL -> n++
                        :: break
                        od };
                append(n)
            :: break
            od
        } unless { raised };
#ifdef INTERRUPT
        if
        :: raised ->                             /* Producer.__exit__, abort          */
            atomic { me = 1; from[1] = at; began = 1 };     /* the event, not a chunk */
            APPENDS_EVENT
        :: else
        fi;
#endif
        final = true                             /* RingWriter.finish                 */
    } unless { killed[0] };
    gone[0] = !final                             /* the kernel frees the flock        */
}

/* Finishing.finish of the first supervisor (`me` is 1) or of the second one (2) */
proctype Supervisor(byte me) {
    byte at, floor, to, todo, n, size;
    if
    :: atomic { gone[me - 1] ->                  /* flock taken: the producer is dead */
                at = head;                       /* RingWriter.__init__               */
#ifdef FLOOR_OF_INIT
                floor = dropped;
#endif
                from[me] = head; began = me }
    :: final -> goto done
    fi;
    {
        APPENDS_EVENT;
        final = true
    } unless { me == 1 && killed[1] };
    if
    :: me == 1 -> gone[1] = !final
    :: else
    fi;
done:
    skip
}

#ifdef INTERRUPT
proctype Exception() {                           /* at any moment, or never           */
    if
    :: raised = true
    :: skip
    fi
}
#else
proctype Killer() {                              /* SIGKILL, at any moment, or never  */
    if
    :: !final -> killed[0] = true;
        if
        :: (began == 1 && !final) -> killed[1] = true
        :: final
        fi
    :: final
    fi
}
#endif

/* -- Follower._look, Watch.read, RingReader.read ------------------------------------ */

proctype Reader() {
    byte offset, seen, size, todo;
    bool torn, was_final;

    atomic { do :: offset < TOTAL -> offset++ :: break od };
    do
    ::                                          /* it polls: wakeup.pml has the waits */
#ifdef FINAL_LATE
        seen = head;
        was_final = final;
#else
        was_final = final;                       /* producer_state, BEFORE head       */
        seen = head;                             /* head = words[W_HEAD]              */
#endif
#ifdef VALIDATE_HEAD
        if :: head > offset + CAP -> lost = true; break :: else fi;
#else
        if :: dropped > offset -> lost = true; break :: else fi;
#endif
        if
        :: seen <= offset
        :: seen > offset ->                      /* any limit                         */
            atomic {
                size = 1;
                do
                :: size < seen - offset && size < CAP -> size++
                :: break
                od;
                todo = (1 << size) - 1
            }
        fi;
        seen = 0;
        do                                       /* copy = data[at:end].tobytes()     */
        :: todo == 0 -> break
        :: todo & 1 -> d_step {
            todo = todo & 14; torn = torn || !RIGHT(data[offset % CAP], offset) }
        :: todo & 2 -> d_step {
            todo = todo & 13;
            torn = torn || !RIGHT(data[(offset + 1) % CAP], offset + 1) }
        :: todo & 4 -> d_step {
            todo = todo & 11;
            torn = torn || !RIGHT(data[(offset + 2) % CAP], offset + 2) }
        :: todo & 8 -> d_step {
            todo = todo & 7;
            torn = torn || !RIGHT(data[(offset + 3) % CAP], offset + 3) }
        od;
#ifndef NO_VALIDATE
#ifdef VALIDATE_HEAD
        if :: head > offset + CAP -> lost = true; break :: else fi;
#else
        if :: size > 0 && dropped > offset -> lost = true; break :: else fi;
#endif
#endif
        assert(!torn);                           /* I1: no torn copy is accepted      */
        if
        :: atomic { size > 0 ->                  /* consecutive: RIGHT(o) for each o  */
                    offset = offset + size;
                    size = 0 }
        :: size == 0 && was_final ->
            assert(offset >= head);              /* I1: nothing is missing at the end */
            ended = true;
            break
        :: size == 0 && !was_final
        fi
    od
}

init {
    atomic {
        run Producer(); run Supervisor(1); run Supervisor(2); run Reader();
#ifdef INTERRUPT
        run Exception()
#else
        run Killer()
#endif
    }
}
