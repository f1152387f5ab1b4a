/*
 * slots.pml: which worker has a slot of the worker table (memory/slot_locks.py).
 *
 * One slot, two workers that want it, and a supervisor that may be killed at any step
 * and is then followed by another. Any worker may be killed at any step, too. The
 * kernel ends the connection and drops the lock of a dead process, in either order;
 * nothing else tells which processes live.
 *
 * Shown: a slot's words have one writer at a time; no worker loses the slot while it
 * uses it; a slot that a dead worker has held comes back: once nothing more can happen,
 * the slot is free or in use.
 *
 * Mutations, each to be found wrong: NO_LOCK (an absent worker's slot is freed without
 * its lock), CHECK_FIRST (a worker looks into the table before it has the lock),
 * NO_CHECK (a worker does not look), KEPT (a lock outlives its process, as if a fork
 * kept it).
 */

#define WORKERS  2
#define NOBODY   0
#define SUPERVISOR (WORKERS + 1)

#ifndef EPOCHS
#define EPOCHS   3          /* how often the slot may be given out                       */
#endif
#ifndef DEATHS
#define DEATHS   2          /* of supervisors                                            */
#endif

byte epoch;                 /* the table's word; 0 = free                                */
byte given;                 /* epochs that were ever given out: never one twice          */
byte lock = NOBODY;         /* the process that holds the lock of the slot's byte        */

/* One control connection each, and one request or reply on its way in it. */
byte asks[WORKERS + 1];     /* hello: the epoch that the worker says it has, plus 1      */
byte told[WORKERS + 1];     /* the reply: the epoch that it has now, plus 1; 1 = refused */
bool open[WORKERS + 1];
byte count[WORKERS + 1];    /* tells a connection from the one before it                 */
bool dead[WORKERS + 1];

byte deaths;
bool up = true;

/* Ghosts. */
byte using[WORKERS + 1];    /* the epoch under which a worker writes the slot's words    */
byte users;

inline use(e)    { using[me] = e; users++; assert(users == 1); assert(epoch == e) }
inline disuse()  { if :: using[me] -> using[me] = 0; users-- :: else fi }
inline unlock(p) { if :: lock == p -> lock = NOBODY :: else fi }
inline hang_up() { open[me] = false; asks[me] = 0; told[me] = 0 }

/* ControlClient._connected, MembershipHolder.take, SlotLock.__init__ (control/client.py,
 * process/membership.py, memory/slot_locks.py): connect, hello, take the lock, look into
 * the table, follow; again when the connection has ended. */
proctype Worker(byte me) {
    byte mine = 0;          /* the epoch that it has                                     */
    byte got;
    {
        skip;
again:
end_no_supervisor:
        atomic {
            up && !open[me] -> open[me] = true; count[me] = (count[me] + 1) % 3;
            asks[me] = mine + 1; told[me] = 0
        }
        do
        :: atomic { told[me] -> got = told[me] - 1; told[me] = 0; break }
        :: atomic { !open[me] -> goto again }            /* the supervisor died          */
        od;
        if
        :: got == 0 ->                                   /* NoRoom: it keeps what it has */
            atomic { hang_up() }
            /* Before this holds, the reply would be the same. */
end_refused:
            (epoch == 0 && given < EPOCHS && lock == NOBODY) || (mine && epoch == mine);
            goto again
        :: got && got == mine                            /* it keeps what it had         */
        :: got && got != mine ->
            assert(!mine);                               /* it was not taken back        */
#ifdef CHECK_FIRST
            if
            :: atomic { epoch != got -> hang_up() } goto again
            :: epoch == got
            fi;
#endif
            if
            :: atomic { lock == NOBODY -> lock = me }
            :: atomic { lock != NOBODY -> hang_up() }    /* BlockingIOError              */
               goto again
            fi;
#if !defined(CHECK_FIRST) && !defined(NO_CHECK)
            if
            :: atomic { epoch != got -> lock = NOBODY; hang_up() }
               goto again                                /* ConnectionResetError         */
            :: epoch == got
            fi;
#endif
            atomic { mine = got; use(mine) }
        fi;
end_following:
        (!open[me]);                                     /* SupervisorLink.look          */
        goto again
    } unless { dead[me] };
    /* The kernel. */
    atomic { disuse() }
#ifdef KEPT
    atomic { hang_up() }
#else
    if
    :: atomic { unlock(me) } atomic { hang_up() }
    :: atomic { hang_up() } atomic { unlock(me) }
    fi
#endif
}

/* Workers.hello, left, drop_absent (supervisor/workers.py); a life that begins frees the
 * slots in the same way (supervisor/life.py). */
proctype Supervisor() {
    byte w;
    byte connected = 0;     /* the worker whose slot this is, as the supervisor knows    */
    byte its;               /* and the count of that worker's connection                 */
end_succeeded:
    do
    :: {
end_serving:
        do
        :: atomic { asks[1] || asks[2] ->
                    if :: asks[1] -> w = 1 :: asks[2] -> w = 2 fi }
            if
            :: atomic {
                connected == 0 && asks[w] > 1 && epoch == asks[w] - 1 ->
                connected = w; its = count[w]; told[w] = epoch + 1; asks[w] = 0
               }
            :: else ->
                if
                :: atomic { epoch == 0 && given < EPOCHS && lock == NOBODY ->
                            lock = SUPERVISOR }
                    atomic { given++; epoch = given }
                    lock = NOBODY;
                    atomic {                           /* a worker that hung up has left */
                        if
                        :: open[w] && asks[w] ->
                            connected = w; its = count[w]; told[w] = epoch + 1;
                            asks[w] = 0
                        :: else
                        fi
                    }
                :: else ->
                    atomic { if :: open[w] && asks[w] -> told[w] = 1; asks[w] = 0
                                :: else fi }
                fi
            fi
        :: atomic { connected && (!open[connected] || count[connected] != its) ->
                    connected = 0 }
        /* The worker has not come back. While its lock is held, a look changes nothing. */
#ifdef NO_LOCK
        :: atomic { connected == 0 && epoch -> epoch = 0; assert(users == 0) }
#else
        :: atomic { connected == 0 && epoch && lock == NOBODY -> lock = SUPERVISOR }
            atomic { epoch = 0; assert(users == 0) }
            lock = NOBODY
#endif
        od
       } unless { !up };
       /* Killed; the kernel ends its connections and drops its lock. */
       atomic { connected = 0;
                unlock(SUPERVISOR);
                w = 1;
                do :: w <= WORKERS -> open[w] = false; asks[w] = 0; told[w] = 0; w++
                   :: else -> break od;
                up = true }
    od
}

/* SIGKILL of any process, at any step. */
active proctype Kill() {
    do
    :: atomic { deaths < DEATHS && up -> deaths++; up = false }
    :: atomic { !dead[1] -> dead[1] = true }
    :: atomic { !dead[2] -> dead[2] = true }
    :: break
    od
}

init {
    byte i = 1;
    atomic {
        run Supervisor();
        do :: i <= WORKERS -> run Worker(i); i++ :: else -> break od
    }
    /* Once nothing more can happen. */
    timeout -> assert(epoch == 0 || users == 1)
}
