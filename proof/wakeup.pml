/*
 * wakeup.pml: who wakes whom in shmstream (shmstream/wakeups/, producer.py, consumer.py,
 * supervisor/registry.py).
 *
 * A producer publishes and rings; a supervisor cancels, and takes over when the producer
 * was killed; workers follow. SIGKILL may hit the producer and the supervisor between
 * any two steps. The bytes themselves are ring.pml's: here a stream is its head.
 *
 * Configurations; check.sh runs them in the combinations that fit into its time:
 *   default      one worker, one event loop (wakeups/loop.py), two followers, one slot
 *   -DTHREADS    one worker whose followers are threads (wakeups/threads.py)
 *   -DWORKERS    two workers: two slots, a follower each. Ringing is the point there: a
 *                bell reaches the loop at once, and a step of a follower is one step
 *   -DTWOHUBS    one worker with two event loops: two hubs share ONE slot
 *   -DHUBFIX     ... and who raises the armed word has the others look (README, finding 1)
 *   -DONE        one follower
 *   -DENDLESS    the source never ends by itself (it may still fall silent anywhere)
 *   -DBEGIN      the stream is pending first
 *   -DCANCEL     a client cancels, at any moment
 *   -DLEAVE      follower 1 leaves, at any moment, and comes back
 *   -DKILL       SIGKILL of the producer, and of the supervisor (needs NET)
 *   -DNET        the 200 ms safety net exists; each use that was needed is counted
 *   -DSNAP_DESC, -DSNAP_ATOMIC  a snapshot loads its words in descending order, at once
 *
 * Memory: x86-TSO. A store goes into its CPU's buffer, and Memory commits it some time
 * later; a fence, a lock and a semaphore's post empty the buffer; a load takes from memory
 * (no thread here loads a shared word that it has in its buffer). Threads of one worker
 * see each other's Python objects in order: the GIL's doing, or the ThreadHub lock's.
 *
 * One step has at most one access to memory that another process stores to, but for two:
 * with CANCEL a snapshot loads state and cancelled together, and see WORKERS. What goes
 * with the access is local: a thread's own variables, stores into its own buffer.
 *
 * Mutations, each to be found wrong: NO_FENCE_RING NO_FENCE_EVERYBODY NO_FENCE_ARM
 * ARMED_SEQUENCE NO_RECHECK NO_SEEN_CHECK NO_RUNG DRAIN_LATE POKED_LATE FINAL_LATE
 * NO_TAKEOVER_RING NO_SELF_RING NEVER_QUIET NO_NET.
 */

#ifndef APPENDS
#define APPENDS  2              /* bytes that the producer writes, at most            */
#endif
#ifndef QUIET
#define QUIET    1              /* QUIET_TICKS: only how long it takes                */
#endif

#ifdef WORKERS
#define SLOTS    2
#define SLOT(h)  (h)            /* which armed word is a hub's: FollowHub._word       */
#else
#define SLOTS    1
#define SLOT(h)  0
#endif
#if defined(WORKERS) || defined(TWOHUBS)
#define HUBS     2
#define AT(f, h) ((f) == (h))   /* whether follower f is one of hub h                 */
#else
#define HUBS     1
#define AT(f, h) true
#endif

/* -- shared memory (ring/layout.py) ------------------------------------------------- */

#define PENDING   0
#define LIVE      1
#define ENDING    2             /* W_COMPLETED is stored, W_STATE not yet             */
#define COMPLETE  3
#define CANCELLED 4
#define ABORTED   5
#define FINAL(s)  ((s) >= COMPLETE)

byte head, state;               /* B_CHANGES: what a snapshot holds ...               */
byte cancelled;
byte armed[SLOTS];              /* W_ARMED + slot: head that was seen, + 1            */
bool bell[SLOTS];               /* doorbell semaphore: whether it is above zero, for
                                   who takes from it takes all (Doorbell._run)        */

/* -- ghosts: what only the properties look at --------------------------------------- */

bool posted[SLOTS];             /* ring() has posted for the arming that is in memory */
bool silent;                    /* the source says nothing any more: producer idle    */
#ifdef NET
byte owed[SLOTS];               /* SIGKILLs so far, less safety nets that were needed */
bool ringing, sup_ringing;      /* between a store and the end of the ringing for it  */
bool at_work[HUBS];             /* the event loop has something in hand               */
#define NOTE(x)  x;
#else
#define NOTE(x)
#endif

/* -- x86-TSO -------------------------------------------------------------------------- */

#define W_HEAD      0
#define W_STATE     1           /* and W_COMPLETED: see ENDING                        */
#define W_CANCELLED 2
#define W_ARMED     3           /* + slot                                             */

chan of_producer = [4] of { byte, byte };       /* store buffers: word, value         */
chan of_supervisor = [4] of { byte, byte };
chan of_hub[HUBS] = [2] of { byte, byte };

inline commit(buffer) {         /* the oldest store reaches memory                    */
    buffer?w,v;
    if
    :: w == W_HEAD -> head = v
    :: w == W_STATE -> state = v
    :: w == W_CANCELLED -> cancelled = v
    :: else -> armed[w - W_ARMED] = v; posted[w - W_ARMED] = false
    fi;
    w = 0; v = 0
}

inline empty_buffer(buffer) {
    do
    :: nempty(buffer) -> commit(buffer)
    :: empty(buffer) -> break
    od
}

/* ring/fence.py. Where a store comes right before it, the two are one step: nobody can
   tell, for the store is invisible until it is committed, and Memory can do it no sooner. */
inline fence(buffer) { d_step { empty_buffer(buffer); skip } }

inline store_and_fence(buffer, word, value) {
    d_step { buffer!word,value; empty_buffer(buffer); skip }
}

proctype Memory() {             /* buffers empty themselves, some time                */
    byte w, v;
end:
    do
    :: d_step { nempty(of_producer) -> commit(of_producer) }
    :: d_step { nempty(of_supervisor) -> commit(of_supervisor) }
    :: d_step { nempty(of_hub[0]) -> commit(of_hub[0]) }
#if HUBS == 2
    :: d_step { nempty(of_hub[1]) -> commit(of_hub[1]) }
#endif
    od
}

/* -- ringing: wakeups/bells.py -------------------------------------------------------- */

inline post(buffer, k) {        /* Bells.ring; sem_post is a locked instruction       */
    d_step { empty_buffer(buffer); bell[k] = true; to_post = false }
}

/* _ring_changed, for one slot */
inline ring_changed(buffer, at, k) {
    d_step {
        seen = armed[k];                        /* seen = words[W_ARMED + slot]       */
        if
#ifndef NO_RUNG
        :: seen == rung[k]                      /* posted for this one already        */
#else
        :: seen == 0
#endif
#if !defined(NO_SEEN_CHECK) && !defined(ARMED_SEQUENCE)
        :: seen != rung[k] && seen > at -> forgotten = true
#endif
        :: else ->
            assert(!posted[k]);                 /* AT MOST ONE POST PER ARMING        */
            posted[k] = true;
            rung[k] = seen;
            to_post = true
        fi;
        seen = 0
    };
    if
    :: to_post -> post(buffer, k)
    :: else
    fi
}

/* ArmedSlots.ring(at). rung_block is _rung, or b'' if forgotten; rung is _rung_words */
inline ring(buffer, at) {                       /* ... from behind its fence on       */
#if SLOTS == 2
    block1 = armed[1];
#endif
    d_step {                                    /* armed = self._armed()              */
#if SLOTS == 2
        changed = forgotten || armed[0] != rung_block[0] || block1 != rung_block[1];
        rung_block[1] = block1;
        block1 = 0;
#else
        changed = forgotten || armed[0] != rung_block[0];
#endif
#ifdef NO_RUNG
        changed = true;
#endif
        rung_block[0] = armed[0];
        forgotten = false
    };
    if
    :: changed ->
        changed = false;
        ring_changed(buffer, at, 0);
#if SLOTS == 2
        ring_changed(buffer, at, 1)
#endif
    :: else
    fi
}

inline ring_if_armed(buffer, k) {
    to_post = armed[k] != 0;
    if
    :: to_post -> post(buffer, k)
    :: else
    fi
}

inline ring_everybody(buffer) {                 /* ..., likewise                      */
    ring_if_armed(buffer, 0);
#if SLOTS == 2
    ring_if_armed(buffer, 1)
#endif
}

#ifdef NO_FENCE_RING
#define store_ring(buffer, word, value)  buffer!word,value
#else
#define store_ring(buffer, word, value)  store_and_fence(buffer, word, value)
#endif
#ifdef NO_FENCE_EVERYBODY
#define store_everybody(buffer, word, value)  buffer!word,value
#else
#define store_everybody(buffer, word, value)  store_and_fence(buffer, word, value)
#endif

/* -- the producer: producer.py -------------------------------------------------------- */

bool kill_producer, producer_over, producer_dead;

proctype Producer() {
    byte at, how, w, v, seen, block1;
    byte rung_block[SLOTS], rung[SLOTS];
    bool forgotten, changed, to_post;
    {
#ifdef BEGIN
        NOTE(ringing = true)                    /* begin                              */
        store_everybody(of_producer, W_STATE, LIVE);
        ring_everybody(of_producer);
        NOTE(ringing = false)
#endif
        do
        :: atomic { at < APPENDS && !cancelled -> at++; NOTE(ringing = true) };
            store_ring(of_producer, W_HEAD, at);                        /* write      */
            ring(of_producer, at);
            NOTE(ringing = false)
#ifdef CANCEL
        :: atomic { cancelled -> how = CANCELLED; NOTE(ringing = true) };
            break                                           /* a write, or notice     */
#endif
#ifndef ENDLESS
        :: atomic { !cancelled -> how = COMPLETE; NOTE(ringing = true) };
            break                                           /* finish                 */
        :: atomic { !cancelled -> how = ABORTED; NOTE(ringing = true)
                    of_producer!W_HEAD,at + 1 };
            break                                           /* abort: with an event   */
#endif
#if !defined(NET) || defined(ENDLESS)       /* NET tells what is LOST without it      */
        :: silent = true;
end_silent: false                               /* nothing comes, and no end          */
#endif
        od;
        of_producer!W_STATE,ENDING;                         /* _end: end_stream       */
        store_everybody(of_producer, W_STATE, how);
        ring_everybody(of_producer)
    } unless { kill_producer };
    atomic {
        producer_over = true;
        producer_dead = kill_producer;
        NOTE(ringing = false)
        silent = false;
        at = 0; how = 0; forgotten = false; changed = false; to_post = false; block1 = 0;
        rung[0] = 0; rung[SLOTS - 1] = 0; rung_block[0] = 0; rung_block[SLOTS - 1] = 0
    }
}

/* -- the supervisor: supervisor/registry.py ------------------------------------------- */

bool kill_supervisor, asked;

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
        :: atomic { !asked -> asked = true; NOTE(sup_ringing = true) };
            store_everybody(of_supervisor, W_CANCELLED, 1); /* Registry.cancel: _mark */
            ring_everybody(of_supervisor);
            NOTE(sup_ringing = false)
#endif
#ifdef KILL
            /* Registry._finish: the flock is to be had once the producer is dead; what
               the dead left in their store buffers has long been committed then. */
        :: atomic { producer_dead && !FINAL(state) &&
                    empty(of_producer) && empty(of_supervisor) ->
                    sup_ringing = true };
            atomic {
                how = (cancelled -> CANCELLED : ABORTED);
                if
                :: !cancelled -> of_supervisor!W_HEAD,head + 1      /* error event    */
                :: else
                fi
            };
            of_supervisor!W_STATE,ENDING;
#ifdef NO_TAKEOVER_RING
            store_and_fence(of_supervisor, W_STATE, how);
#else
            store_everybody(of_supervisor, W_STATE, how);
            ring_everybody(of_supervisor);
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
#if SLOTS == 2
#define OWE  owed[0]++; owed[1]++
#else
#ifdef NO_NET
#define OWE  skip               /* claims that it is never needed, not even then      */
#else
#define OWE  owed[0]++
#endif
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

/* -- the hub: wakeups/hub.py ---------------------------------------------------------- */

/* Watch.last, and in which of FollowHub._busy and ._armed the watch is */
byte last_head[HUBS], last_state[HUBS], last_cancelled[HUBS];
bool busy[HUBS], asleep[HUBS];
byte quiet[HUBS], joined[HUBS];

#define NEW      0              /* has not joined yet                                 */
#define RUN      1              /* is to run: Follower._step                          */
#define WAIT     2              /* is in Watch.waiters                                */
#define OVER     3
byte stands[2], offset[2];
byte grace[2];                  /* looks since it saw the cancel; has a timer if > 0  */
bool has_left;

#define HUB_LOCALS byte now_head, now_state, now_cancelled, w, v;                    \
                   byte seen_head, seen_state, seen_cancelled, there;                \
                   bool final, none, to_arm, yes
#if defined(NET) && !defined(THREADS)
#define IDLE       at_work[h] = false;
#else
#define IDLE
#endif
#define RESET      now_head = 0; now_state = 0; now_cancelled = 0; there = 0; IDLE   \
                   seen_head = 0; seen_state = 0; seen_cancelled = 0; final = false; \
                   none = false

/* A snapshot loads its words one by one: memcpy. The first load goes into one step with
   what made us look, the last one with what is made of it. */
#ifdef SNAP_ATOMIC
#define SNAP1(h, s, c)  skip
#define SNAP2(h, s, c)  h = head; s = state; c = cancelled
#else
#ifdef SNAP_DESC
#ifdef CANCEL
#define SNAP1(h, s, c)  c = cancelled
#define SNAP2(h, s, c)  s = state; h = head
#else
#define SNAP1(h, s, c)  s = state
#define SNAP2(h, s, c)  h = head
#endif
#else
#define SNAP1(h, s, c)  h = head
#ifdef CANCEL
#define SNAP2(h, s, c)  s = state; c = cancelled
#else
#define SNAP2(h, s, c)  s = state
#endif
#endif
#endif

#define MOVED(i)   (now_head != last_head[i] || now_state != last_state[i] || \
                    now_cancelled != last_cancelled[i])
#define WAITERS(i) ((AT(0, i) && stands[0] == WAIT) || (AT(1, i) && stands[1] == WAIT))

inline fire(i) {                /* FollowHub._fire                                    */
    last_head[i] = now_head;
    last_state[i] = now_state;
    last_cancelled[i] = now_cancelled;
    if :: AT(0, i) && stands[0] == WAIT -> stands[0] = RUN :: else fi;
    if :: AT(1, i) && stands[1] == WAIT -> stands[1] = RUN :: else fi
}

inline moved(i) {               /* FollowHub._moved                                   */
    asleep[i] = false;
    quiet[i] = 0;
    busy[i] = true;
    fire(i)
}

inline store_armed(i) {         /* FollowHub._arm, up to its fence                    */
    to_arm = true;
#ifdef ARMED_SEQUENCE
    sequence[i]++;
    of_hub[i]!W_ARMED + SLOT(i),sequence[i]
#else
#ifndef TWOHUBS
    of_hub[i]!W_ARMED + SLOT(i),last_head[i] + 1
#endif
#endif
}

inline arm(i) {                 /* FollowHub._arm, from its fence on                  */
#ifdef TWOHUBS
    d_step {                    /* with _arming: words[w] = max(words[w], seen)       */
        if
        :: last_head[i] + 1 > armed[0] ->
            armed[0] = last_head[i] + 1;
            posted[0] = false;
#ifdef HUBFIX
            poked[1 - i] = true
#endif
        :: else
        fi
    };
#else
#ifndef NO_FENCE_ARM
    fence(of_hub[i]);
#endif
#endif
#ifndef NO_RECHECK
    SNAP1(now_head, now_state, now_cancelled);
#endif
    d_step {
#ifndef NO_RECHECK
        SNAP2(now_head, now_state, now_cancelled);
#endif
        if
        :: MOVED(i) -> moved(i)
        :: else -> asleep[i] = true
        fi;
        to_arm = false;
        RESET
    }
}

inline wait(i, f) {             /* FollowHub.wait                                     */
    SNAP1(now_head, now_state, now_cancelled);
    d_step {
        SNAP2(now_head, now_state, now_cancelled);
        if
        :: MOVED(i) -> moved(i)
        :: else
        fi;
        if
        :: now_head == seen_head && now_state == seen_state && now_cancelled == seen_cancelled
            -> stands[f] = WAIT
        :: else -> stands[f] = RUN              /* waiter.wake()                      */
        fi;
        if
        :: stands[f] == WAIT && !busy[i] && !asleep[i] -> store_armed(i)
        :: else -> RESET
        fi
    };
    if
    :: to_arm -> arm(i)
    :: else
    fi
}

inline look(i) {                /* FollowHub.look, if asleep[i]                       */
    SNAP1(now_head, now_state, now_cancelled);
    d_step {
        SNAP2(now_head, now_state, now_cancelled);
        if
        :: MOVED(i) -> moved(i)
        :: else
        fi;
        RESET
    }
}

inline tick(i) {                /* FollowHub.tick, if busy[i], from its second load on */
    d_step {
        SNAP2(now_head, now_state, now_cancelled);
        if
        :: MOVED(i) -> quiet[i] = 0; fire(i); RESET
        :: else ->
#ifndef NEVER_QUIET
            quiet[i]++;
#endif
            if
            :: quiet[i] >= QUIET ->
                busy[i] = false;
                quiet[i] = 0;
                if
                :: WAITERS(i) -> store_armed(i)
                :: else -> RESET
                fi
            :: else -> RESET
            fi
        fi
    };
    if
    :: to_arm -> arm(i)
    :: else
    fi
}

inline join(i, f) {             /* FollowHub.join; Watch.__init__                     */
    if
    :: joined[i] == 0 ->
        SNAP1(last_head[i], last_state[i], last_cancelled[i]);
        d_step {
            SNAP2(last_head[i], last_state[i], last_cancelled[i]);
            joined[i]++; stands[f] = RUN
        }
    :: else -> d_step { joined[i]++; stands[f] = RUN }
    fi
}

inline leave(i) {               /* FollowHub.leave                                    */
    joined[i]--;
    if
    :: joined[i] == 0 ->
        busy[i] = false; asleep[i] = false; quiet[i] = 0;
        last_head[i] = 0; last_state[i] = 0; last_cancelled[i] = 0
    :: else
    fi
}

#ifdef THREADS
#define LEAVE_NOW(i) skip       /* needs the lock: see Thread                         */
#else
#define LEAVE_NOW(i) leave(i)   /* Follower.close                                     */
#endif

/* Follower._step (consumer.py), from its second load on; sets `none` if it has to wait */
inline step(i, f) {
#ifdef WORKERS
    d_step {
        SNAP2(seen_head, seen_state, seen_cancelled);
        final = FINAL(state);
        there = head;
#else
    atomic { SNAP2(seen_head, seen_state, seen_cancelled) };
#ifdef FINAL_LATE
    there = head;
    final = FINAL(state);
    d_step {
#else
    final = FINAL(state);                       /* reader.producer_state.final        */
    d_step {
        there = head;                           /* watch.read(self.offset)            */
#endif
#endif
        if
        :: there > offset[f] -> offset[f] = there
        :: there <= offset[f] && final ->
            assert(offset[f] == head);          /* NOTHING IS MISSING AT THE END      */
            stands[f] = OVER;
            LEAVE_NOW(i)
        :: else -> none = true
        fi;
        if
        :: !none -> RESET
        :: else
        fi
    };
#ifdef CANCEL
    if
    :: none ->
        if
        :: atomic { !cancelled }
        :: atomic { cancelled && grace[f] < 2 -> grace[f]++ }
        :: atomic { cancelled && grace[f] > 0 ->            /* FollowCut              */
                    stands[f] = OVER; LEAVE_NOW(i); RESET }
        fi
    :: else
    fi
#endif
}

#ifdef ARMED_SEQUENCE
byte sequence[HUBS];
#endif

/* LOST: a hub sleeps, there is something to see, and nothing is under way that will have
   it look: what only the safety net can mend. */
#define COMES_BY(f) (stands[f] == RUN || (stands[f] == WAIT && grace[f] > 0))
#define UNSEEN(i)   (WAITERS(i) && !(AT(0, i) && COMES_BY(0)) && !(AT(1, i) && COMES_BY(1)) && \
                     (head != last_head[i] || state != last_state[i] || \
                      cancelled != last_cancelled[i]))
#define NO_NEWS     (!ringing && !sup_ringing && empty(of_producer) && empty(of_supervisor))

#ifndef THREADS

/* -- an event loop: wakeups/loop.py --------------------------------------------------- */

bool poked[HUBS];
#define LOST(i)     (UNSEEN(i) && NO_NEWS && !bell[SLOT(i)] && !poked[i] && !busy[i] && \
                     !at_work[i])

inline follow(f) {
    step(h, f);
    if
    :: none -> wait(h, f)
    :: else
    fi
}

proctype Loop(byte h) {
    HUB_LOCALS;
end:
    do
    :: atomic { AT(0, h) && stands[0] == RUN -> NOTE(at_work[h] = true)
                SNAP1(seen_head, seen_state, seen_cancelled) };
        follow(0)
    :: atomic { AT(1, h) && stands[1] == RUN -> NOTE(at_work[h] = true)
                SNAP1(seen_head, seen_state, seen_cancelled) };
        follow(1)
    :: AT(0, h) && stands[0] == NEW -> join(h, 0)           /* Follower._enter        */
    :: AT(1, h) && stands[1] == NEW -> join(h, 1)
#ifdef WORKERS
    :: atomic { bell[h] -> yes = asleep[h]; bell[h] = false };  /* see WORKERS        */
        if
        :: yes -> yes = false; look(h)
        :: else
        fi
#else
    :: atomic { poked[h] ->                     /* LoopHub._on_poke                   */
                yes = asleep[h];
#ifdef POKED_LATE
                NOTE(at_work[h] = yes) skip };
        if
        :: yes -> yes = false; look(h)
        :: else
        fi;
        poked[h] = false
#else
                NOTE(at_work[h] = yes) poked[h] = false };
        if
        :: yes -> yes = false; look(h)
        :: else
        fi
#endif
#endif
    :: atomic { busy[h] -> NOTE(at_work[h] = true)          /* LoopHub._on_tick       */
                SNAP1(now_head, now_state, now_cancelled) };
        tick(h)
#ifdef CANCEL
        /* loop.call_later(_CANCEL_LOOK_S, waiter.wake) */
    :: atomic { AT(0, h) && stands[0] == WAIT && grace[0] > 0 -> stands[0] = RUN }
    :: atomic { AT(1, h) && stands[1] == WAIT && grace[1] > 0 -> stands[1] = RUN }
#endif
#ifdef LEAVE
    :: atomic { AT(1, h) && !has_left && (stands[1] == RUN || stands[1] == WAIT) ->
                has_left = true; grace[1] = 0; stands[1] = NEW; leave(h) }
#endif
    od
}

/* wakeups/doorbell.py: Doorbell._run; Runtime._on_wake pokes every hub of the process */
proctype Doorbell(byte me) {
end:
    do
    :: bell[me] -> bell[me] = false;
poke:
#ifdef DRAIN_LATE
        poked[me] = true;
        bell[me] = false
#else
        atomic {
            bell[me] = false;                   /* take what else there is, then ...  */
            poked[me] = true;                   /* LoopHub.poke                       */
#ifdef TWOHUBS
            poked[1] = true
#endif
        }
#endif
#ifdef NET
    :: atomic { LOST(me) ->                     /* acquire(NET_S) ran out             */
                assert(owed[me] > 0);           /* THE NET: AT MOST ONCE PER KILL     */
                owed[me]-- };
        goto poke
#ifdef TWOHUBS
    :: atomic { LOST(1) -> assert(owed[0] > 0); owed[0]-- };
        goto poke
#endif
#endif
    od
}

#else

/* -- threads: wakeups/threads.py ------------------------------------------------------ */

bool lock, ticking;             /* ThreadHub._lock, _ticking                          */
bool tick_s;                    /* the doorbell thread waits TICK_S, not NET_S        */
bool self_ringing;              /* a thread is about to ring its own process          */
#define LOST(i)     (UNSEEN(i) && NO_NEWS && !bell[0] && !tick_s && !lock && !self_ringing)

proctype Thread(byte f) {       /* Follower.__next__                                  */
    HUB_LOCALS;
    atomic { !lock -> lock = true };
    join(0, f);
    lock = false;
end:
    do
    :: atomic { stands[f] == RUN -> SNAP1(seen_head, seen_state, seen_cancelled) };
        step(0, f);
        if
        :: none ->                              /* ThreadHub.wait                     */
            atomic { !lock -> lock = true };
            wait(0, f);
            d_step {
#ifndef NO_SELF_RING
                yes = busy[0] && !ticking;
#endif
                self_ringing = yes;
                ticking = busy[0];
                empty_buffer(of_hub[0]);
                lock = false
            };
            if
            :: yes -> d_step { yes = false; self_ringing = false; bell[0] = true }
            :: else
            fi
        :: else
        fi
#ifdef CANCEL
        /* waiter.event.wait(_CANCEL_LOOK_S), hub.forget */
    :: atomic { stands[f] == WAIT && grace[f] > 0 && !lock -> stands[f] = RUN }
#endif
    :: atomic { stands[f] == OVER && !lock -> leave(0) };       /* Follower.close     */
        break
    od
}

proctype Doorbell(byte me) {    /* Doorbell._run, Runtime._on_wake, ThreadHub.step    */
    HUB_LOCALS;
end:
    do
    :: bell[0] -> bell[0] = false;
#ifndef DRAIN_LATE
        bell[0] = false;                        /* take what else there is            */
#endif
on_wake:
        atomic { !lock -> lock = true; yes = asleep[0] };
        if
        :: yes -> yes = false; look(0)
        :: else
        fi;
        yes = busy[0];
        if
        :: yes ->
            yes = false;
            SNAP1(now_head, now_state, now_cancelled);
            tick(0)
        :: else
        fi;
        d_step {
            ticking = busy[0];
            tick_s = busy[0];
            empty_buffer(of_hub[0]);
            lock = false
        }
#ifdef DRAIN_LATE
        bell[0] = false
#endif
    :: tick_s && !bell[0] -> goto on_wake       /* acquire(TICK_S) ran out            */
#ifdef NET
    :: atomic { LOST(0) -> assert(owed[0] > 0); owed[0]-- };
        goto on_wake
#endif
    od
}

#endif

/* -- what must hold when nothing can happen any more ---------------------------------- */

#define FINE(f)     (stands[f] == OVER || \
                     (silent && !FINAL(state) && !cancelled && offset[f] == head))

proctype Monitor() {
    timeout ->
    assert(FINE(0) && FINE(1))  /* NO LOST WAKE-UP, AND EVERY FOLLOWER ENDS           */
}

init {
    atomic {
#ifndef BEGIN
        state = LIVE;
#endif
#ifdef ONE
        stands[1] = OVER;
#endif
        run Memory(); run Producer(); run Monitor();
#ifndef WORKERS
        run Doorbell(0);
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
