/*
 * wakeup.pml: the wake-ups of shmstream (shmstream/wakeups/, producer.py, follower.py,
 * process/membership.py, process/doorbell_chores.py, supervisor/finishing.py and
 * segment_words.py).
 *
 * A producer publishes, marks the boards of the processes that follow, and rings those
 * that nap. A supervisor cancels, and takes over when the producer was killed. Workers
 * follow. SIGKILL may hit the producer and the supervisor between any two steps.
 * ring.pml models the bytes; here a stream is only its head.
 *
 * Configurations; check.sh runs those combinations that fit into its time:
 *   default      one worker, one event loop (wakeups/hub_on_loop.py), two followers of
 *                one segment
 *   -DTHREADS    one worker whose followers are threads (wakeups/hub_in_threads.py)
 *   -DWORKERS    two workers with a follower each: two boards
 *   -DTWOHUBS    one worker with two event loops that share its board, a follower each
 *   -DSEGMENTS   two segments with a producer each; follower f follows segment f (with
 *                TWOHUBS: on hub f)
 *   -DHANDS      ... follower 0 waits from the start on, and leaves at any moment, so
 *                that follower 1 may get its place; another worker has just entered
 *                segment 0, so that the producer of segment 0 learns the places anew
 *   -DHUB_AWAKE  ... the hub is awake, and follower 1 comes when follower 0 has left
 *   -DONE        one follower
 *   -DTAKE       followers take the bytes (Delivery, FollowHub.take), else they wait
 *   -DENDLESS    the source never ends by itself (it may become silent at any moment)
 *   -DBEGIN      the stream is pending first
 *   -DCANCEL     a client cancels, at any moment
 *   -DLEAVE      follower 1 leaves, at any moment, and comes back
 *   -DALONE      ... and there is no other follower
 *   -DCLOSES     ... but does not come back, and its loop ends (needs TWOHUBS)
 *   -DTOGETHER   both producers are threads of one process: they share Bells
 *   -DTASKS      ... or tasks of one event loop: no other task runs until one awaits
 *   -DOWN        the producers are in worker 0: they mark its watches and ring nobody
 *   -DHALF       ... only producer 0 is
 *   -DPIPE       producers ring the loop by its pipe, not by the doorbell's thread (one
 *                hub for each worker)
 *   -DTHREADED   two threads write, with one Producer
 *   -DKILL       SIGKILL of the producer, and of the supervisor (needs NET)
 *   -DNET        the 200 ms safety net exists; each use that was needed is counted
 *   -DSNAP_DESC, -DSNAP_ATOMIC  a snapshot loads its words in descending order; at once
 *
 * Memory: x86-TSO. A store goes into the buffer of its CPU, and Memory commits it some
 * time later. A fence and a semaphore's post empty the buffer. A load takes the value
 * from memory (no thread here loads a shared word that is in its own buffer). On x86
 * the board's lock empties the buffer as well, but not here, to show that the fences
 * are enough. Threads of one worker see each other's Python objects in order, because
 * of the GIL or the lock.
 *
 * One step has at most one access to memory that another process stores to; only with
 * CANCEL, a snapshot loads state and cancelled together. All else in the step is local:
 * a thread's own variables, and stores into its own buffer.
 *
 * Nap numbers: "never used before" is modelled as "not known to any process any more",
 * because they are only ever compared.
 *
 * Mutations, each to be found wrong: check.sh names their defines.
 */

#ifndef APPENDS
#define APPENDS  2              /* bytes that a producer writes, at most              */
#endif
#ifndef QUIET
#define QUIET    1              /* QUIET_TICKS: affects only how long it takes        */
#endif

#ifdef HANDS
#define SEGMENTS
#endif
#ifdef SEGMENTS
#define SEGS     2
#define SEG(w)   (w)            /* the segment of a watch                             */
#else
#define SEGS     1
#define SEG(w)   0
#endif
#define PLACES   SEGS           /* words of a board: one for each segment             */
#if defined(WORKERS) || defined(TWOHUBS)
#define HUBS     2
#define HUB(w)   (w)            /* the hub of a watch                                 */
#else
#define HUBS     1
#define HUB(w)   0
#endif
#ifdef WORKERS
#define SLOTS    2
#define SLOT(h)  (h)            /* the worker of a hub                                */
#else
#define SLOTS    1
#define SLOT(h)  0
#endif
#if SEGS == 2 || HUBS == 2
#define WATCHES  2
#define WATCH(f) (f)            /* the watch of a follower                            */
#else
#define WATCHES  1
#define WATCH(f) 0
#endif
#define OF(f)    SEG(WATCH(f))  /* the segment of a follower                          */

/* -- shared memory: segments (ring/layout.py), worker table (memory/worker_table.py) - */

#define PENDING   0
#define LIVE      1
#define ENDING    2             /* W_COMPLETED is stored, W_STATE not yet             */
#define COMPLETE  3
#define CANCELLED 4
#define ABORTED   5
#define FINAL(s)  ((s) >= COMPLETE)

byte head[SEGS], state[SEGS];   /* B_CHANGES: what a snapshot holds ...               */
byte cancelled;                 /* ... of segment 0                                   */
byte places[SEGS * SLOTS];      /* W_PLACES: place + 1, or 0                          */
byte elsewhere;                 /* HANDS: the place of a worker that is not modelled  */
byte boards[SLOTS * PLACES];    /* the marks                                          */
byte nap[SLOTS];
byte looks[SLOTS];
bool bell[SLOTS];               /* doorbell semaphore: whether it is above zero, for
                                   who takes from it takes all (Doorbell._run)        */
#ifdef PIPE
bool pipe[SLOTS];               /* whether it holds a byte                            */
#define PIPE_EMPTY(k)  !pipe[k]
#else
#define PIPE_EMPTY(k)  true
#endif

/* -- ghosts: read by the properties only ----------------------------------------- */

bool posted[SEGS * SLOTS];      /* this producer has posted for the number in memory  */
bool silent[SEGS];              /* the source says nothing any more: producer idle    */
#ifdef NET
byte owed[SLOTS];              /* SIGKILLs so far, minus safety nets that were needed */
bool ringing, sup_ringing;      /* from a store until the ringing for it is done      */
bool at_work[HUBS];             /* the event loop is in the middle of something       */
#define NOTE(x)  x;
#else
#define NOTE(x)
#endif

/* -- x86-TSO ---------------------------------------------------------------------- */

#define W_HEAD      0           /* of a producer, and of the supervisor: + segment    */
#define W_STATE     2           /* and W_COMPLETED: see ENDING                        */
#define W_CANCELLED 4
#define W_LOOKS     5           /* + slot                                             */
#define W_MARK      8           /* + slot * PLACES + place                            */
#define W_PLACE     12          /* of a worker: + segment * SLOTS + slot              */
#define W_NAP       16          /* + slot                                             */

chan of_producer[SEGS] = [6] of { byte, byte };     /* store buffers: word, value     */
chan of_supervisor = [4] of { byte, byte };
chan of_worker[SLOTS] = [4] of { byte, byte };      /* all its threads on one CPU     */

inline commit(buffer) {         /* the oldest store reaches memory                    */
    buffer?w,v;
    if
    :: w < W_STATE -> head[w - W_HEAD] = v
    :: w >= W_STATE && w < W_CANCELLED -> state[w - W_STATE] = v
    :: w == W_CANCELLED -> cancelled = v
    :: w >= W_LOOKS && w < W_MARK -> looks[w - W_LOOKS] = v
    :: w >= W_MARK && w < W_PLACE -> boards[w - W_MARK] = v
    :: w >= W_PLACE && w < W_NAP -> places[w - W_PLACE] = v
    :: else ->
        nap[w - W_NAP] = v;
        if
        :: v > 0 ->
            posted[w - W_NAP] = false;
#if SEGS == 2
            posted[SLOTS + w - W_NAP] = false
#endif
        :: else
        fi
    fi;
    w = 0; v = 0
}

inline empty_buffer(buffer) {
    do
    :: nempty(buffer) -> commit(buffer)
    :: empty(buffer) -> break
    od
}

/* ring/fence.py. A store right before a fence is one step with it. That makes no
   difference: the store is invisible until Memory commits it, and that is no sooner. */
inline fence(buffer) { d_step { empty_buffer(buffer); skip } }

/* A store within a d_step must not block: a full buffer is emptied, as if it stalled
   its CPU. */
inline store_now(buffer, word, value) {
    if
    :: full(buffer) -> empty_buffer(buffer)
    :: nfull(buffer)
    fi;
    buffer!word,value
}

proctype Memory() {             /* buffers empty themselves at some time              */
    byte w, v;
end:
    do
    :: d_step { nempty(of_producer[0]) -> commit(of_producer[0]) }
#if SEGS == 2
    :: d_step { nempty(of_producer[1]) -> commit(of_producer[1]) }
#endif
    :: d_step { nempty(of_supervisor) -> commit(of_supervisor) }
    :: d_step { nempty(of_worker[0]) -> commit(of_worker[0]) }
#if SLOTS == 2
    :: d_step { nempty(of_worker[1]) -> commit(of_worker[1]) }
#endif
    od
}

/* -- ringing: wakeups/producer_side.py, ring_others.py ---------------------------- */

#ifdef TASKS
#define POSTED(s, k)  (k)       /* by this process                                    */
#else
#define POSTED(s, k)  ((s) * SLOTS + (k))
#endif
byte rung[SEGS * SLOTS];        /* Bells.rung_naps                                    */
#if defined(THREADED) || defined(TASKS)
#define TOGETHER
#endif
#ifdef TASKS
bool running;                   /* a task runs: no other task runs before it has rung */
#define BEFORE_IT !running &&
#define NEXT(x)   running = x
#ifdef RUNG_EACH                /* mutation: each producer has Bells of its own       */
#undef TOGETHER
#endif
#else
#define BEFORE_IT
#define NEXT(x)   skip
#endif
#ifdef TOGETHER
byte ringing_for[2];            /* the nap that a producer is about to ring for       */
#define RUNG(s, k)    rung[k]
#else
#define RUNG(s, k)    rung[(s) * SLOTS + (k)]
#endif

/* No two segments leave the same mark, and none leaves one twice: head ^ salt; a state
   and _learn leave other marks. */
#ifdef NO_SALT
#define SALT(s)       0
#else
#define SALT(s)       (64 * (s))
#endif
#define MARK(s, h)    (SALT(s) + (h))
#define STATE_MARK(s, t)  (SALT(s) + 16 + (t))
#ifdef LEARN_SAME_MARK
#define LEARN_MARK(m) (m)
#else
#define LEARN_MARK(m) ((m) + 32)
#endif

inline post(buffer, k) {        /* Bells.ring; sem_post is a locked instruction       */
    d_step { empty_buffer(buffer); bell[k] = true; to_post = false }
}

#ifdef HALF
#define OWN
#define IS_OWN(s)  (s == 0)
#elif defined(OWN)
#define IS_OWN(s)  true
#else
#define IS_OWN(s)  false
#endif

inline mark_one(s, k, m) {      /* words[place] = mark, for one of Marker.marks       */
    if
    :: !IS_OWN(s) && known[k] > 0 ->
        store_now(of_producer[s], W_MARK + k * PLACES + known[k] - 1, m)
    :: else
    fi
}

inline store_marks(s, m) {
    mark_one(s, 0, m);
#if SLOTS == 2
    mark_one(s, 1, m)
#endif
}

#ifdef PIPE
#define ring_bell(s, k) d_step { empty_buffer(of_producer[s]); pipe[k] = true; to_post = false }
#else
#define ring_bell(s, k) post(of_producer[s], k)
#endif

inline tell_here(s) {           /* Board.mark_here, Watch.mark, FollowHub._on_mark    */
    d_step {
        if
        :: known[0] > 0 ->
#ifndef NO_TELL
            told_here(0, known[0] - 1);
#if WATCHES == 2
            told_here(1, known[0] - 1);
#endif
#endif
            skip
        :: else
        fi
    }
}

inline told_here(i, p) {
    if
    :: placed[i] && place_of[SEG(i)] == p + 1 ->
        if
#ifdef THREADS
        :: awake[HUB(i)]
#else
        :: marked[i]                                        /* _look_soon_here        */
#endif
        :: else -> look_soon(HUB(i))
        fi;
        marked[i] = true
    :: else
    fi
}

inline ring_nap(s, k) {
    d_step {                                    /* nap = words[at]                    */
        if
#ifdef NO_RUNG
        :: known[k] > 0 && nap[k] > 0 ->
#else
        :: known[k] > 0 && nap[k] > 0 && nap[k] != RUNG(s, k) ->
#endif
#if !defined(TOGETHER) || defined(TASKS)        /* two threads may find the same nap  */
            assert(!posted[POSTED(s, k)]);      /* AT MOST ONE POST PER NAP           */
            posted[POSTED(s, k)] = true;
#endif
#ifdef TOGETHER
            ringing_for[s] = nap[k];
#else
            RUNG(s, k) = nap[k];                /* no other producer uses it          */
#endif
            to_post = true
        :: else
        fi
    };
    if
    :: to_post ->
        ring_bell(s, k);
#ifdef TOGETHER
        d_step { RUNG(s, k) = ringing_for[s]; ringing_for[s] = 0 }
#endif
    :: else
    fi
}

inline ring(s) {                                /* Marker.ring, for the mark m        */
#ifdef KILL
    skip;                                       /* killed before the first mark       */
#endif
    d_step {
        store_marks(s, m);
#ifndef NO_FENCE_RING
        fenced = true
#endif
    };
    if
    :: fenced -> fenced = false; fence(of_producer[s])
    :: else
    fi;
    /* self._copy_places() != self._known */
#if SLOTS == 2
    block1 = places[s * SLOTS + 1];
#endif
    d_step {
        changed = places[s * SLOTS] != known[0];
#if SLOTS == 2
        changed = changed || block1 != known[1]; block1 = 0;
#endif
#ifdef HANDS
        changed = changed || (s == 0 && elsewhere != known_elsewhere)
#endif
#ifdef NO_LEARN
        changed = changed && !learnt; learnt = true
#endif
    };
    if
    :: changed ->                               /* Marker._learn                      */
#if SLOTS == 2
        block1 = places[s * SLOTS + 1];
#endif
        d_step {
            known[0] = places[s * SLOTS];
#if SLOTS == 2
            known[1] = block1; block1 = 0;
#endif
#ifdef HANDS
            known_elsewhere = elsewhere;
#endif
            changed = false
        };
        d_step {
#ifndef NO_LEARN_MARK
            store_marks(s, LEARN_MARK(m));
#endif
            m = 0
        };
#ifndef NO_FENCE_LEARN
        fence(of_producer[s])
#endif
    :: else -> m = 0
    fi;
#ifdef OWN
    if
    :: IS_OWN(s) -> tell_here(s)
    :: else -> ring_nap(s, 0)
    fi
#else
    ring_nap(s, 0);
#if SLOTS == 2
    ring_nap(s, 1)
#endif
#endif
}

inline ring_if_follows(k) {
    d_step {                                    /* if segment.words[W_PLACES + slot]  */
        if
        :: places[k] > 0 ->
            to_post = true;
#ifndef NO_LOOKS
            store_now(of_supervisor, W_LOOKS + k, looks[k] + 1) /* count_look         */
#endif
        :: else
        fi
    };
    if
    :: to_post -> post(of_supervisor, k)
    :: else
    fi
}

inline ring_everybody() {
#ifndef NO_FENCE_EVERYBODY
    fence(of_supervisor);
#endif
    ring_if_follows(0);
#if SLOTS == 2
    ring_if_follows(1)
#endif
}

/* -- the supervisor: supervisor/segment_words.py, finishing.py -------------------- */

bool kill_supervisor, asked;
bool kill_producer, producer_over, producer_dead;

#if defined(CANCEL) || defined(KILL)
proctype Supervisor() {
    byte how, w, v;
    bool to_post;
start:
    {
        w = 0;
end:
        do
#ifdef CANCEL
        :: atomic { !asked && empty(of_supervisor) -> asked = true;
                    NOTE(sup_ringing = true)
                    of_supervisor!W_CANCELLED,1 };          /* SegmentWords._mark     */
            ring_everybody();
            NOTE(sup_ringing = false)
#endif
#ifdef KILL
            /* Finishing.finish: the flock is free once the producer is dead, and its
               store buffer has been committed long before. */
        :: atomic { producer_dead && !FINAL(state[0]) &&
                    empty(of_producer[0]) && empty(of_supervisor) ->
                    sup_ringing = true };
            atomic {
                how = (cancelled -> CANCELLED : ABORTED);
                if
                :: !cancelled -> of_supervisor!W_HEAD,head[0] + 1   /* error event    */
                :: else
                fi
            };
            of_supervisor!W_STATE,ENDING;
            of_supervisor!W_STATE,how;
#ifdef NO_TAKEOVER_RING
            fence(of_supervisor);
#else
            ring_everybody();
#endif
            how = 0;
            sup_ringing = false
#endif
        od
    } unless { kill_supervisor };
    atomic {
        kill_supervisor = false;
        NOTE(sup_ringing = false)
        to_post = false; how = 0
    };
    goto start                              /* another one is started             */
}
#endif

#ifdef KILL
#ifdef NO_NET
#define OWE  skip               /* claims that no net is needed, not even after that  */
#elif SLOTS == 2
#define OWE  owed[0]++; owed[1]++
#else
#define OWE  owed[0]++
#endif
proctype Killer() {             /* SIGKILL, at any moment or never                    */
    bool again = true;
    do
    :: atomic { !kill_producer && !producer_over -> kill_producer = true; OWE }
    :: atomic { sup_ringing && again -> kill_supervisor = true; again = false; OWE }
    :: break
    od
}
#endif

/* -- the board: wakeups/shared_board.py ------------------------------------------- */

bool lock[SLOTS];               /* Board._lock                                        */
bool up[HUBS];                  /* Board._awake                                       */
byte place_of[SLOTS * SEGS];    /* Board._place_of: place + 1, or 0                   */
bool placed[WATCHES];           /* Board._placed: whether the watch is in it          */
byte seen_mark[SLOTS * PLACES]; /* Board._seen                                        */
byte last_nap[SLOTS];           /* Board._nap                                         */
bool napping[SLOTS];            /* Board.naps: whether this process stored a nap last */

bool marked[WATCHES];           /* FollowHub._marked: whether the watch is in it      */
bool awake[HUBS];               /* FollowHub.awake                                    */
bool look_is_due[HUBS], all[HUBS];    /* LoopHub._look_is_due, _all                   */
#ifdef STALE_TICK               /* mutation: a tick that is left over counts          */
bool ticking[HUBS];             /* LoopHub._ticking: whether its timer runs           */
#define TICKS(h)   ticking[h]
#else
#define TICKS(h)   awake[h]     /* a timer that is left over does nothing             */
#endif

#ifdef WORKERS
#define UP(k)      up[k]
#elif HUBS == 2
#define UP(k)      (up[0] || up[1])
#else
#define UP(k)      up[0]
#endif
#if WATCHES == 1
#define IN_USE(k)  placed[0]                    /* Board._top                         */
#elif SLOTS == 2
#define IN_USE(k)  placed[k]
#else
#define IN_USE(k)  (placed[0] || placed[1])
#endif
#ifdef TOGETHER
#define HELD(n)    ((n) == ringing_for[0] || (n) == ringing_for[1])
#else
#define HELD(n)    false
#endif
#define USED(n, k) ((n) == last_nap[k] || (n) == nap[k] || (n) == rung[k] || \
                    (n) == rung[(SEGS - 1) * SLOTS + k] || HELD(n))

inline look_soon(h) {               /* FollowHub._look_soon                           */
#ifdef THREADS
#ifndef NO_SELF_RING
    if
    :: !is_bell ->              /* Membership.ring                                    */
        empty_buffer(of_worker[0]); bell[0] = true
    :: else                     /* the doorbell's thread looks before it waits again  */
    fi;
#endif
    skip
#else
    look_is_due[h] = true             /* LoopHub.look_soon                            */
#endif
}

inline on_mark(k, p, i) {       /* FollowHub._on_mark, if watch i is at place p       */
    if
    :: placed[i] && SLOT(HUB(i)) == k && place_of[k * SEGS + SEG(i)] == p + 1 ->
        marked[i] = true;
        told = true;
        if
        :: !awake[HUB(i)] -> look_soon(HUB(i))
        :: else
        fi
    :: else
    fi
}

inline tell(k, p) {           /* Board._collect, _mark_watches: one word; in a d_step */
    if
    :: IN_USE(k) && boards[k * PLACES + p] != seen_mark[k * PLACES + p] ->
        seen_mark[k * PLACES + p] = boards[k * PLACES + p];
        on_mark(k, p, 0);
#if WATCHES == 2
        on_mark(k, p, 1)
#endif
    :: else
    fi
}

/* _collect: tell_first, and a d_step that begins with tell(k, PLACES - 1) */
#if PLACES == 2
#define tell_first(k)  d_step { tell(k, 0); skip }
#else
#define tell_first(k)  skip
#endif

inline renew_nap(k) {           /* up to its fence; in a d_step                       */
#ifdef NAP_REUSED
    last_nap[k] = 1;
#else
    if
    :: !USED(1, k) -> last_nap[k] = 1
    :: USED(1, k) && !USED(2, k) -> last_nap[k] = 2
    :: USED(1, k) && USED(2, k) && !USED(3, k) -> last_nap[k] = 3
    :: USED(1, k) && USED(2, k) && USED(3, k) && !USED(4, k) -> last_nap[k] = 4
    :: USED(1, k) && USED(2, k) && USED(3, k) && USED(4, k) && !USED(5, k) ->
        last_nap[k] = 5
    :: else -> assert(!USED(6, k)); last_nap[k] = 6
    fi;
#endif
    store_now(of_worker[k], W_NAP + k, last_nap[k]);
    napping[k] = true;
#ifndef NO_FENCE_NAP
    empty_buffer(of_worker[k]);
#endif
    skip
}

#ifdef NO_COLLECT_NAP
#define look_again(k)  skip
#else
#define look_again(k)  tell(k, PLACES - 1)
#endif

inline board_collect(k) {       /* Board.collect                                      */
#if PLACES == 1
    d_step { !lock[k] -> tell(k, 0); told = false };
#else
    d_step { !lock[k] -> lock[k] = true; tell(k, 0) };
    d_step { tell(k, 1); told = false; lock[k] = false };
#endif
}

inline board_stay_awake(k, h) {       /* Board.stay_awake                             */
    d_step { !lock[k] -> up[h] = true; store_now(of_worker[k], W_NAP + k, 0); napping[k] = false }
}

inline board_nap(k, h) {        /* Board.nap                                          */
    d_step {
        !lock[k] ->
        up[h] = false;
        if
        :: !UP(k) -> lock[k] = true; mine = true; renew_nap(k)
        :: else
        fi
    };
    if
    :: mine ->
        tell_first(k);
        d_step { look_again(k); told = false; mine = false; lock[k] = false }
    :: else
    fi
}

inline board_collect_on_ring(k) {          /* Board.collect_on_ring                   */
    d_step {
        !lock[k] ->
        if
        :: !UP(k) ->
            lock[k] = true; mine = true;
#ifndef RUNG_COLLECTS_ONLY
            store_now(of_worker[k], W_NAP + k, 0);
            napping[k] = false
#endif
        :: else
        fi
    };
    if
    :: mine ->
        tell_first(k);
        d_step {
            tell(k, PLACES - 1);
            mine = !told;
            told = false;
#if defined(RUNG_COLLECTS_ONLY) || defined(NO_RENEW)
            mine = false;
#endif
            if
            :: mine -> renew_nap(k)
            :: else -> lock[k] = false
            fi
        };
        if
        :: mine ->
            tell_first(k);
            d_step { look_again(k); told = false; mine = false; lock[k] = false }
        :: else
        fi
    :: else
    fi
}

inline enter(k, i) {            /* Board.enter                                        */
    d_step {
        !lock[k] ->
        if
        :: place_of[k * SEGS + SEG(i)] == 0 ->
            place_of[k * SEGS + SEG(i)] = 1;               /* the lowest that is free */
#if SEGS == 2
            if
            :: place_of[k * SEGS + 1 - SEG(i)] == 1 -> place_of[k * SEGS + SEG(i)] = 2
            :: else
            fi;
#endif
            store_now(of_worker[k], W_PLACE + SEG(i) * SLOTS + k, place_of[k * SEGS + SEG(i)])
        :: else
        fi;
        placed[i] = true;
#ifndef NO_FENCE_ENTER
        empty_buffer(of_worker[k]);
#endif
        skip
    }
}

inline board_leave(k, i) {      /* Board.leave; in a d_step, after !lock[k]           */
    placed[i] = false;
#if defined(TWOHUBS) && SEGS == 1
    if
    :: !placed[1 - i] ->
#endif
    store_now(of_worker[k], W_PLACE + SEG(i) * SLOTS + k, 0);
    place_of[k * SEGS + SEG(i)] = 0
#if defined(TWOHUBS) && SEGS == 1
    :: else
    fi
#endif
}

/* -- the producer: producer.py ---------------------------------------------------- */

proctype Producer(byte s) {
    byte at, how, w, v, m, block1;
    byte known[SLOTS], known_elsewhere;         /* Marker._known, marks, _naps        */
    bool changed, to_post, fenced, learnt;
#ifdef OWN
    bool mine, told, is_bell;
#endif
#ifdef HANDS
    known[0] = 1 - s;                           /* the place of follower 0            */
#endif
    {
#ifdef BEGIN
        atomic {                                /* begin                              */
            NOTE(ringing = true)
            of_producer[s]!W_STATE + s,LIVE;
            m = STATE_MARK(s, LIVE)
        };
        ring(s);
        NOTE(ringing = false)
#endif
        do
        :: atomic { BEFORE_IT at < APPENDS && !cancelled ->             /* write      */
                    NEXT(true); at++; NOTE(ringing = true)
                    of_producer[s]!W_HEAD + s,at;
                    m = MARK(s, at) };
            ring(s);
            NEXT(false);
            NOTE(ringing = false)
#ifdef CANCEL
        :: atomic { cancelled -> how = CANCELLED; NOTE(ringing = true) };
            break                                        /* write, or look_for_cancel */
#endif
#ifndef ENDLESS
        :: atomic { !cancelled -> how = COMPLETE; NOTE(ringing = true) };
            break                                           /* finish                 */
        :: atomic { !cancelled -> how = ABORTED; NOTE(ringing = true)
                    of_producer[s]!W_HEAD + s,at + 1 };
            break                                           /* abort: with an event   */
#endif
#if !defined(NET) || defined(ENDLESS)       /* NET tells what is LOST without it      */
        :: silent[s] = true;
end_silent: false                               /* no more bytes, and no end          */
#endif
        od;
        of_producer[s]!W_STATE + s,ENDING;                  /* _end: end_stream       */
        atomic {
            of_producer[s]!W_STATE + s,how;
            m = STATE_MARK(s, how)
        };
        ring(s)
    } unless { kill_producer };
    atomic {
        producer_over = true;
        producer_dead = kill_producer;
        NOTE(ringing = false)
        silent[s] = false;
        at = 0; how = 0; changed = false; to_post = false; block1 = 0; m = 0; fenced = false;
        known[0] = 0; known[SLOTS - 1] = 0; known_elsewhere = 0; learnt = false;
        rung[s * SLOTS] = 0; rung[s * SLOTS + SLOTS - 1] = 0
    }
}

#ifdef THREADED

/* Two threads write with one Producer, whose lock is held for `append` and `mark`. The
   release of the lock is a fence. A switch of threads is a fence, too, so both threads
   share one store buffer. */
byte known[SLOTS], marks[SLOTS], naps[SLOTS];   /* Marker._known, marks, _naps        */
byte written, other_mark;
bool write_lock, learn_lock;

proctype Writer() {
    byte w, v, found;
    bool changed, to_post;
    do
    :: atomic { !write_lock && written < APPENDS -> write_lock = true; written++;
                of_producer[0]!W_HEAD,written };
        d_step {
            if
            :: marks[0] > 0 -> store_now(of_producer[0], W_MARK + marks[0] - 1, written)
            :: else
            fi;
#ifndef NO_FENCE_RELEASE
            empty_buffer(of_producer[0]);
#endif
            write_lock = false
        };
        changed = places[0] != known[0];
        if
        :: changed ->
#ifndef LEARN_TOGETHER                          /* the lock of _learn                 */
            atomic { !learn_lock -> learn_lock = true };
#endif
            found = places[0];
            marks[0] = found;
            naps[0] = found;
            d_step {
                if
                :: marks[0] > 0 ->
                    other_mark = other_mark + 1;
                    store_now(of_producer[0], W_MARK + marks[0] - 1, 16 + other_mark)
                :: else
                fi
            };
            fence(of_producer[0]);
            d_step { known[0] = found; found = 0; changed = false; learn_lock = false }
        :: else
        fi;
        d_step {
            if
            :: naps[0] > 0 && nap[0] > 0 && nap[0] != rung[0] ->
                ringing_for[_pid % 2] = nap[0]; to_post = true
            :: else
            fi
        };
        if
        :: to_post ->
            post(of_producer[0], 0);
            d_step { rung[0] = ringing_for[_pid % 2]; ringing_for[_pid % 2] = 0 }
        :: else
        fi
    :: silent[0] = true;
end_silent: false
    od
}

#endif

/* -- the hub: wakeups/hub_pace.py ------------------------------------------------- */

byte last_head[WATCHES], last_state[WATCHES], last_cancelled[WATCHES];  /* Watch.last */
byte quiet[HUBS], joined[WATCHES];

#define NEW      0              /* has not joined yet                                 */
#define RUN      1              /* is to run: Follower._look                          */
#define WAIT     2              /* is in Watch.waiters, or in Watch.takers            */
#define OVER     3
byte stands[2], offset[2];
byte grace[2];                /* looks since it saw the cancel; if > 0 it has a timer */
bool has_left;

#define HUB_LOCALS byte now_head, now_state, now_cancelled, w, v;                    \
                   byte seen_head, seen_state, seen_cancelled, there;                \
                   bool final, none, mine, told, found, yes, news, is_bell
#if defined(NET) && !defined(THREADS)
#define IDLE       at_work[h] = false;
#else
#define IDLE
#endif
#define FORGET     now_head = 0; now_state = 0; now_cancelled = 0
#define RESET      FORGET; there = 0; IDLE                                           \
                   seen_head = 0; seen_state = 0; seen_cancelled = 0; final = false; \
                   none = false

/* A snapshot loads its words one by one, as memcpy does. The first load is one step
   with the cause of the look, and the last load one step with the use of the words. */
#ifdef SNAP_ATOMIC
#define SNAP1(g, h, s, c)  skip
#define SNAP2(g, h, s, c)  h = head[g]; s = state[g]; c = cancelled
#else
#ifdef SNAP_DESC
#ifdef CANCEL
#define SNAP1(g, h, s, c)  c = cancelled
#define SNAP2(g, h, s, c)  s = state[g]; h = head[g]
#else
#define SNAP1(g, h, s, c)  s = state[g]
#define SNAP2(g, h, s, c)  h = head[g]
#endif
#else
#define SNAP1(g, h, s, c)  h = head[g]
#ifdef CANCEL
#define SNAP2(g, h, s, c)  s = state[g]; c = cancelled
#else
#define SNAP2(g, h, s, c)  s = state[g]
#endif
#endif
#endif

#define ON(f, i)   (WATCH(f) == (i))
#define AT(f, h)   (HUB(WATCH(f)) == (h))
#define WAITERS(i) ((ON(0, i) && stands[0] == WAIT) || (ON(1, i) && stands[1] == WAIT))
#define MOVED(i)   (now_head != last_head[i] || now_state != last_state[i] || \
                    now_cancelled != last_cancelled[i])
#ifdef TAKE
#define ONLY_HEAD(i)  (now_state == last_state[i] && now_cancelled == last_cancelled[i])
#else
#define ONLY_HEAD(i)  false
#endif

/* Watch.changed, from its second load on, without _hand_over; in a d_step. */
inline changed2(i) {
    SNAP2(SEG(i), now_head, now_state, now_cancelled);
    if
    :: MOVED(i) ->
        found = true;
        if
        :: ONLY_HEAD(i) -> news = WAITERS(i)
        :: else ->
            if :: ON(0, i) && stands[0] == WAIT -> stands[0] = RUN :: else fi;
            if :: ON(1, i) && stands[1] == WAIT -> stands[1] = RUN :: else fi
        fi;
        last_head[i] = now_head;
        last_state[i] = now_state;
        last_cancelled[i] = now_cancelled
    :: else
    fi
}

#ifdef TAKE
inline hand_over(i) {                /* Watch._hand_over: Delivery.take               */
    if
    :: news ->
        d_step {
            news = false;
            if :: ON(0, i) && stands[0] == WAIT && head[SEG(i)] > offset[0] ->
                offset[0] = head[SEG(i)] :: else fi;
            if :: ON(1, i) && stands[1] == WAIT && head[SEG(i)] > offset[1] ->
                offset[1] = head[SEG(i)] :: else fi
        }
    :: else
    fi
}
#else
#define hand_over(i)  skip
#endif

inline look_at(i) {             /* one watch of FollowHub._look                       */
    if
    :: marked[i] ->
        atomic { marked[i] = false; SNAP1(SEG(i), now_head, now_state, now_cancelled) };
        d_step { changed2(i); FORGET };
        hand_over(i)
    :: else
    fi
}

#if WATCHES == 1
#define MARKED(h)     marked[0]
#define look_marked(h)  look_at(0)
#elif HUBS == 2
#define MARKED(h)     marked[h]
#define look_marked(h)  look_at(h)
#else
#define MARKED(h)     (marked[0] || marked[1])
#define look_marked(h)  look_at(0); look_at(1)
#endif

inline look(h) {                /* FollowHub.look                                     */
    yes = MARKED(h);
    if
    :: yes ->
#ifdef WAKE_IF_NEW
        yes = false;
        look_marked(h);
        if
        :: found && !awake[h] -> awake[h] = true; board_stay_awake(SLOT(h), h)
        :: else
        fi;
#else
        d_step { yes = !awake[h] && !napping[SLOT(h)] };      /* a ring ended the nap */
        if
        :: yes ->
            yes = false;
            if
#ifndef ALWAYS_SOON
            :: true                                         /* not again for a while  */
#endif
#ifndef NEVER_SOON
            :: awake[h] = true; quiet[h] = 0; board_stay_awake(SLOT(h), h)
#endif
            fi
        :: else
        fi;
        look_marked(h);
        d_step { found = false; yes = !awake[h] && !napping[SLOT(h)] };
#ifdef NAP_IF_ASKED                             /* only if the ring came before       */
        yes = false;
#endif
        if
        :: yes -> yes = false; board_nap(SLOT(h), h)
        :: else
        fi
#endif
    :: else
    fi
}

inline look_at_one(i) {         /* one watch of FollowHub.look_at_all                 */
    if
    :: joined[i] > 0 ->
        SNAP1(SEG(i), now_head, now_state, now_cancelled);
        d_step { changed2(i); FORGET; found = false };
        hand_over(i)
    :: else
    fi
}

inline look_at_all(h) {
#if WATCHES == 1
    look_at_one(0)
#elif HUBS == 2
    look_at_one(h)
#else
    look_at_one(0);
    look_at_one(1)
#endif
}

inline tick(h) {                /* FollowHub.tick, if awake                           */
    board_collect(SLOT(h));
    look_marked(h);
    d_step {
#if QUIET == 1
        yes = !found;
#else
        if
        :: found -> quiet[h] = 0
        :: else -> quiet[h]++
        fi;
        yes = quiet[h] >= QUIET;
        if :: yes -> quiet[h] = 0 :: else fi;
#endif
#ifdef NEVER_QUIET
        yes = false;
#endif
        found = false;
        if :: yes -> awake[h] = false :: else fi
    };
    if
    :: yes ->
        board_nap(SLOT(h), h);
        d_step {
            yes = false;
#ifndef NO_MARKED_CHECK
            if
            :: MARKED(h) -> look_soon(h)
            :: else
            fi;
#endif
            IDLE
            skip
        }
    :: else -> d_step { IDLE skip }
    fi
}

inline wait(h, i, f) {          /* FollowHub.wait, take                               */
    SNAP1(SEG(i), now_head, now_state, now_cancelled);
    d_step {
        changed2(i);
        found = false;
        if
#ifdef NO_SEEN_CHECK
        :: true
#else
        :: last_head[i] == seen_head && last_state[i] == seen_state &&
           last_cancelled[i] == seen_cancelled
#endif
            -> stands[f] = WAIT
#ifndef NO_SEEN_CHECK
        :: else -> stands[f] = RUN              /* waiter.wake(), or take is False    */
#endif
        fi;
        yes = news;
        RESET
    };
    yes = false;
    hand_over(i)
#ifdef ENTER_LATE
    ;
    if
    :: !placed[i] && stands[f] == WAIT -> enter(SLOT(h), i)
    :: else
    fi
#endif
}

inline join(i, f) {             /* FollowHub.join                                     */
    if
    :: joined[i] == 0 ->
#ifdef SNAP_FIRST
        d_step { last_head[i] = head[SEG(i)]; last_state[i] = state[SEG(i)];
                 last_cancelled[i] = cancelled };
        enter(SLOT(HUB(i)), i);
#else
#ifndef ENTER_LATE
        enter(SLOT(HUB(i)), i);
#endif
        SNAP1(SEG(i), last_head[i], last_state[i], last_cancelled[i]);
#endif
        d_step {
#ifndef SNAP_FIRST
            SNAP2(SEG(i), last_head[i], last_state[i], last_cancelled[i]);
#endif
            joined[i]++; stands[f] = RUN; IDLE
            skip
        }
    :: else -> d_step { joined[i]++; stands[f] = RUN; IDLE skip }
    fi
}

#if WATCHES == 1
#define NO_WATCH(h)   (joined[0] == 0)
#elif HUBS == 2
#define NO_WATCH(h)   (joined[h] == 0)
#else
#define NO_WATCH(h)   (joined[0] == 0 && joined[1] == 0)
#endif

inline leave(i, f, as) {        /* Follower.close: FollowHub.leave                    */
    d_step {
        !lock[SLOT(HUB(i))] ->
        stands[f] = as;
        joined[i]--;
        if
        :: joined[i] == 0 ->
            board_leave(SLOT(HUB(i)), i);
            last_head[i] = 0; last_state[i] = 0; last_cancelled[i] = 0
        :: else
        fi;
        RESET;
#ifdef LEAVE_AWAKE
        yes = NO_WATCH(HUB(i)) && awake[HUB(i)];        /* mutation */
#else
#ifndef LEAVE_NO_NAP
        yes = NO_WATCH(HUB(i));
#endif
        if
        :: yes -> marked[i] = false; marked[WATCHES - 1 - i] = marked[WATCHES - 1 - i] && HUBS == 2
        :: else
        fi;
#endif
        if
        :: yes -> awake[HUB(i)] = false; quiet[HUB(i)] = 0
        :: else
        fi
    };
    if
    :: yes -> yes = false; board_nap(SLOT(HUB(i)), HUB(i))
    :: else
    fi
}

#ifdef THREADS
#define LEAVE_NOW(i, f) stands[f] = OVER        /* Thread leaves: it needs the lock   */
#else
#define LEAVE_NOW(i, f) leave(i, f, OVER)
#endif

/* Follower._look, from its second load on; sets `none` if the follower has to wait. */
inline step(i, f) {
    atomic { SNAP2(SEG(i), seen_head, seen_state, seen_cancelled) };
#ifdef FINAL_LATE
    there = head[SEG(i)];
    final = FINAL(state[SEG(i)]);
    d_step {
#else
    final = FINAL(state[SEG(i)]);               /* reader.producer_state.final        */
    d_step {
        there = head[SEG(i)];                   /* watch.read(self.offset)            */
#endif
        if
        :: there > offset[f] -> offset[f] = there; final = false
        :: there <= offset[f] && final ->
            assert(offset[f] == head[SEG(i)])   /* NOTHING IS MISSING AT THE END      */
        :: else -> none = true
        fi;
        if
        :: !none && !final -> RESET
        :: else
        fi
    };
    if
    :: final -> LEAVE_NOW(i, f)
    :: else
    fi;
#ifdef CANCEL
    if
    :: none ->
        if
        :: atomic { !cancelled }
        :: atomic { cancelled && grace[f] < 2 -> grace[f]++ }
        :: atomic { cancelled && grace[f] > 0 -> none = false };    /* FollowCut      */
            LEAVE_NOW(i, f)
        fi
    :: else
    fi
#endif
}

/* LOST: a follower sleeps, there is something to see, and nothing is under way that
   will have its hub look. Only the safety net can help then. */
#define COMES_BY(f) (stands[f] == RUN || (stands[f] == WAIT && grace[f] > 0))
#define UNSEEN(i)   (WAITERS(i) && !(ON(0, i) && COMES_BY(0)) && !(ON(1, i) && COMES_BY(1)) && \
                     (head[SEG(i)] != last_head[i] || state[SEG(i)] != last_state[i] || \
                      cancelled != last_cancelled[i]))
#define NO_NEWS     (!ringing && !sup_ringing && empty(of_producer[0]) && empty(of_supervisor))

#ifndef THREADS

/* -- an event loop: wakeups/hub_on_loop.py ---------------------------------------- */

#define LOST(i)     (UNSEEN(i) && NO_NEWS && !bell[SLOT(HUB(i))] && !look_is_due[HUB(i)] && \
                     PIPE_EMPTY(SLOT(HUB(i))) && \
                     !UP(SLOT(HUB(i))) && !awake[HUB(i)] && !at_work[HUB(i)])

inline follow(f) {
    step(WATCH(f), f);
    if
    :: none -> wait(h, WATCH(f), f)
    :: else
    fi
}

#ifdef HUB_AWAKE
#define TURN  (stands[0] == OVER)               /* the place of follower 0 is free    */
#else
#define TURN  true
#endif

#define START(f)  atomic { AT(f, h) && stands[f] == RUN -> NOTE(at_work[h] = true)      \
                           SNAP1(OF(f), seen_head, seen_state, seen_cancelled) }

proctype Loop(byte h) {
    HUB_LOCALS;
end:
    do
    :: START(0); follow(0)
    :: START(1); follow(1)
    :: atomic { AT(0, h) && stands[0] == NEW -> NOTE(at_work[h] = true) };
        join(WATCH(0), 0)                                   /* Follower._enter        */
    :: atomic { AT(1, h) && stands[1] == NEW && TURN -> NOTE(at_work[h] = true) };
        join(WATCH(1), 1)
    :: atomic { look_is_due[h] -> NOTE(at_work[h] = true)        /* LoopHub._look_now */
#ifndef DUE_LATE
                look_is_due[h] = false;
#endif
                yes = all[h]; all[h] = false };
        if
        :: yes -> look_at_all(h)
        :: else
        fi;
        look(h);
#ifdef DUE_LATE
        look_is_due[h] = false;
#endif
#ifdef STALE_TICK
        ticking[h] = ticking[h] || awake[h];
#endif
        d_step { IDLE yes = false }
#ifdef PIPE
    :: atomic { pipe[SLOT(h)] -> NOTE(at_work[h] = true)    /* LoopHub._on_ring       */
#ifndef PIPE_LATE
                pipe[SLOT(h)] = false
#endif
              };
        board_collect_on_ring(SLOT(h));
        d_step {                                            /* then LoopHub._look_now */
#ifdef PIPE_LATE
            pipe[SLOT(h)] = false;
#endif
            look_is_due[h] = true; IDLE
            skip
        }
#endif
    :: atomic { TICKS(h) -> NOTE(at_work[h] = true) };      /* LoopHub._on_tick       */
        tick(h)
#ifdef STALE_TICK
        ; ticking[h] = awake[h]
#endif
#ifdef CANCEL
        /* loop.call_later(_CANCEL_LOOK_S, waiter.wake) */
    :: atomic { AT(0, h) && stands[0] == WAIT && grace[0] > 0 -> stands[0] = RUN }
    :: atomic { AT(1, h) && stands[1] == WAIT && grace[1] > 0 -> stands[1] = RUN }
#endif
#ifdef LEAVE
    :: atomic { AT(1, h) && !has_left && (stands[1] == RUN || stands[1] == WAIT) ->
                has_left = true; grace[1] = 0 };
#ifdef CLOSES
        leave(WATCH(1), 1, OVER)
    :: h == 1 && stands[1] == OVER -> break     /* asyncio.run has returned           */
#else
        leave(WATCH(1), 1, NEW)
#endif
#endif
#ifdef HANDS
    :: AT(0, h) && (stands[0] == RUN || stands[0] == WAIT) -> leave(0, 0, OVER)
#endif
    od
}

/* wakeups/doorbell_thread.py: Doorbell._run;
   process/doorbell_chores.py: DoorbellChores.on_wake */
proctype Doorbell(byte k) {
    byte w, v, looked;
    bool mine, told, every, due;
end:
    do
    :: bell[k] -> bell[k] = false;
#ifndef DRAIN_LATE
        bell[k] = false;                        /* take all other posts               */
#endif
on_wake:
        skip;
        d_step { every = due || looks[k] != looked; looked = looks[k]; due = false };
        board_collect_on_ring(k);
        d_step {                                /* hub.look_soon(look_at_all)         */
            if
            :: every ->
                all[k * (HUBS - 1)] = true; look_is_due[k * (HUBS - 1)] = true;
#ifdef TWOHUBS
                all[1] = true; look_is_due[1] = true;
#endif
                every = false
            :: else
            fi
        };
#ifdef DRAIN_LATE
        bell[k] = false
#endif
#ifdef NET
    :: atomic { LOST(k * (WATCHES - 1)) ->      /* acquire(NET_S) ran out             */
                assert(owed[k] > 0);            /* THE NET: AT MOST ONCE PER KILL     */
                owed[k]--; due = true };
        goto on_wake
#endif
    od
}

#else

/* -- threads: wakeups/hub_in_threads.py ------------------------------------------- */

bool hub_lock;                  /* ThreadHub._lock                                    */
bool tick_s;                    /* the doorbell's thread waits TICK_S, or not at all  */

proctype Thread(byte f) {       /* Follower.__next__                                  */
    HUB_LOCALS;
    atomic { !hub_lock -> hub_lock = true };
    join(0, f);
    hub_lock = false;
end:
    do
    :: atomic { stands[f] == RUN -> SNAP1(0, seen_head, seen_state, seen_cancelled) };
        step(0, f);
        if
        :: none ->                              /* ThreadHub.wait                     */
            atomic { !hub_lock -> hub_lock = true };
            wait(0, 0, f);
            hub_lock = false
        :: else
        fi
#ifdef CANCEL
        /* waiter.event.wait(_CANCEL_LOOK_S), hub.forget */
    :: atomic { stands[f] == WAIT && grace[f] > 0 && !hub_lock -> stands[f] = RUN }
#endif
    :: atomic { stands[f] == OVER && !hub_lock -> hub_lock = true };
        leave(0, f, OVER);                      /* Follower.close                     */
        hub_lock = false;
        break
    od
}

proctype Doorbell(byte k) {     /* Doorbell._run, on_wake, ThreadHub.look             */
    HUB_LOCALS;
    byte looked;
    bool every;
    is_bell = true;
end:
    do
    :: bell[0] -> bell[0] = false;
#ifndef DRAIN_LATE
        bell[0] = false;                        /* take all other posts               */
#endif
on_wake:
        skip;
        d_step { every = looks[0] != looked; looked = looks[0] };
        board_collect_on_ring(0);
        atomic { !hub_lock -> hub_lock = true };
        if
        :: every -> every = false; look_at_all(0)
        :: else
        fi;
        if
        :: awake[0] -> tick(0)
        :: else
        fi;
        look(0);
        d_step {
            yes = false;
#ifdef NO_PENDING
            tick_s = awake[0];
#else
            tick_s = awake[0] || marked[0];     /* FollowHub.pending                  */
#endif
            hub_lock = false
        }
#ifdef DRAIN_LATE
        bell[0] = false
#endif
    :: tick_s && !bell[0] -> goto on_wake       /* acquire(TICK_S) ran out            */
    od
}

#endif

/* -- what must hold once nothing more can happen ----------------------------------- */

#define FINE(f)     (stands[f] == OVER || \
                     (silent[OF(f)] && !FINAL(state[OF(f)]) && !cancelled && \
                      offset[f] == head[OF(f)]))

proctype Monitor() {
    timeout ->
    assert(FINE(0) && FINE(1))  /* NO LOST WAKE-UP, AND EVERY FOLLOWER ENDS           */
}

init {
    atomic {
#ifndef BEGIN
        state[0] = LIVE;
        state[SEGS - 1] = LIVE;
#endif
#ifdef ONE
        stands[1] = OVER;
#endif
#ifdef ALONE
        stands[0] = OVER;
#endif
#ifdef HANDS
        stands[0] = WAIT; joined[0] = 1; last_state[0] = LIVE;
        placed[0] = true; place_of[0] = 1; places[0] = 1;
        elsewhere = 1;
#endif
#ifndef NO_FIRST_NAP
        nap[0] = 1; last_nap[0] = 1;            /* Board.__init__                     */
        nap[SLOTS - 1] = 1; last_nap[SLOTS - 1] = 1;
        napping[0] = true; napping[SLOTS - 1] = true;
#endif
#ifdef HUB_AWAKE
        nap[0] = 0; awake[0] = true; up[0] = true; napping[0] = false;
#endif
        run Memory(); run Monitor();
#ifdef THREADED
        run Writer(); run Writer();
#else
        run Producer(0);
#endif
#if SEGS == 2
        run Producer(1);
#endif
        run Doorbell(0);
#if SLOTS == 2
        run Doorbell(1);
#endif
#if defined(CANCEL) || defined(KILL)
        run Supervisor();
#endif
#ifdef KILL
        run Killer();
#endif
#ifdef THREADS
        run Thread(0);
#ifndef ONE
        run Thread(1)
#endif
#else
        run Loop(0);
#if HUBS == 2
        run Loop(1);
#endif
#endif
    }
}
