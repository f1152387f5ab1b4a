#!/bin/sh
# Check the models with spin: what must hold holds, and every mutation is found wrong.
#
#   sh check.sh          about three minutes, at most 3 GB
#   sh check.sh quick    all mutations but two, some searches: about two minutes
#   sh check.sh brief    the ring and the slots, of the wake-ups a sample: half a minute
#   sh check.sh full     larger bounds as well: six to seven minutes, at most 5 GB
#
# Exits with 0 only if every search was complete and came out as it must. Writes nothing
# into this directory.

set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
how_much=${1:-}
case $how_much in
    full) limit=1800 memory=5000 ;;
    brief | quick | '') limit=900 memory=3000 ;;
    *) echo 'usage: check.sh [brief | quick | full]' >&2; exit 2 ;;
esac
for tool in spin gcc timeout; do
    command -v $tool >/dev/null || { echo "check.sh needs $tool" >&2; exit 2; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work" || exit 1
failed=0 began=$(date +%s)

TORN='!(torn)'                          # wrong bytes were accepted
SHORT='(offset.*head'                   # a follower ends before the end
LOST='stands.*silent'                   # a follower sleeps for ever, or never ends
TWICE='!(posted'                        # two posts for one nap
NET='(owed'                             # the net was needed more often than once per SIGKILL
CYCLE='non-progress cycle'              # a run without end
TAKEN='users==0\|epoch==mine'           # a slot is taken from its user, or has two users
KEPT='(epoch==0)||(users==1)'           # a slot of the dead does not come back

# search KIND MODEL DEFINES...: leaves the output of spin, gcc and pan in ./out
search() {
    kind=$1 model=$2        # gcc takes most of the time, so mutations are built by -O0
    shift 2
    rm -f pan* out ./*.trail
    case $kind in
        ends) how=-DNP run=-l ;;
        *) how=-DSAFETY run= ;;
    esac
    spin "$@" -a "$here/$model.pml" >out 2>&1 &&
        gcc -w "-O$optimize" $how -DMEMLIM=$memory -o pan pan.c >>out 2>&1 &&
        timeout $limit ./pan $run -m1000000 -w24 >>out 2>&1
}

# left_out WHAT MODEL: whether this search is left out; wakeup.pml takes most of the time
left_out() {
    [ "$how_much" = brief ] && [ "$2" = wakeup ] || return 1
    case $1 in
        'one follower takes the bytes' | 'no fence in Marker.ring') return 1 ;;
    esac
}

fail() {
    printf '  FAIL  %s\n' "$*"
    grep -v Depth= out | sed 's/^/        /' | head -20
    failed=$((failed + 1))
}

# holds KIND WHAT MODEL DEFINES...
# KIND: safe (no assertion fails, nothing is stuck) or ends (no run goes on for ever)
holds() {
    kind=$1 what=$2 optimize=1
    shift 2
    left_out "$what" "$1" && return
    at=$(date +%s)
    if search "$kind" "$@" && grep -q 'errors: 0' out && ! grep -Eiq \
        'not completed|too small|memlim|out of memory|truncated|error:|aborting' out; then
        states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
        printf '  ok    %-58s%10s states%4ss\n' "$what" "$states" $(($(date +%s) - at))
    else
        fail "$what: $*"
    fi
}
safe() { holds safe "$@"; }
ends() {
    what=$1
    shift
    holds ends "every run ends: $what" "$@"
}

# wrong EXPECTED WHAT MODEL DEFINES...
wrong() {
    expected=$1 what=$2 optimize=0
    shift 2
    left_out "$what" "$1" && return
    kind=safe at=$(date +%s)
    [ "$expected" = "$CYCLE" ] && kind=ends
    search $kind "$@"
    if grep '^pan:1:' out | grep -q "$expected" && grep -q 'errors: 1' out; then
        steps=$(sed -n 's/.*at depth \([0-9]*\)).*/\1/p' out)
        printf '  found %-58s%10s steps %4ss\n' "$what" "$steps" $(($(date +%s) - at))
    else
        fail "not found wrong: $what: $*"
    fi
}

LESS='-DENDLESS -DAPPENDS=1'
ATOMIC="$LESS -DSNAP_ATOMIC"

echo 'What holds'
safe 'exceptions in append'             ring -DINTERRUPT
safe 'one follower takes the bytes'     wakeup -DONE -DTAKE -DENDLESS
safe 'a thread'                         wakeup -DTHREADS -DONE -DENDLESS
safe 'a thread, and the producer in its process' wakeup -DTHREADS -DONE -DOWN -DENDLESS
safe 'two tasks write, and follow in their process' wakeup -DTASKS -DSEGMENTS -DOWN $LESS
safe 'one follower, rung by the pipe'   wakeup -DONE -DPIPE
safe 'one follower, and the producer in its process' wakeup -DONE -DOWN -DENDLESS
safe 'two hubs, and the producer in their process' wakeup -DTWOHUBS -DOWN $LESS
safe 'one producer in the process, one not' wakeup -DHALF -DSEGMENTS $ATOMIC
safe 'two threads write with one producer' wakeup -DTHREADED -DONE $LESS
safe 'a loop that ends'                 wakeup -DLEAVE -DCLOSES -DTWOHUBS $LESS
safe 'a slot: anybody killed anywhere'  slots -DDEATHS=1

if [ "$how_much" = full ] || [ -z "$how_much" ]; then
    safe 'the ring: two writers killed anywhere, any reader' ring -DTOTAL=6
    safe 'one follower'                 wakeup -DONE
    ends 'one follower'                 wakeup -DONE -DAPPENDS=1
    safe 'two hubs share a board'       wakeup -DTWOHUBS $LESS
    safe 'a place changes hands'        wakeup -DHANDS $ATOMIC
    safe 'SIGKILL: one net each at the most' wakeup -DONE -DNET -DKILL $ATOMIC
    safe 'two workers'                  wakeup -DWORKERS $ATOMIC
    safe 'two tasks write'              wakeup -DTASKS -DSEGMENTS $ATOMIC
    safe 'one follower comes and goes'  wakeup -DLEAVE -DALONE -DENDLESS
fi

if [ "$how_much" = full ]; then
    echo 'What holds, larger'
    safe 'the ring: more laps'          ring -DTOTAL=9
    safe 'the ring: four bytes'         ring -DTOTAL=6 -DCAP=4
    ends 'one follower, two appends'    wakeup -DONE
    safe 'two followers'                wakeup -DAPPENDS=1
    safe 'the first snapshot before entering: wait() looks again' wakeup -DONE -DSNAP_FIRST
    safe 'from pending on; snapshots the other way round' wakeup -DONE -DBEGIN -DSNAP_DESC -DAPPENDS=1
    safe 'two segments'                 wakeup -DSEGMENTS $ATOMIC
    safe 'two threads'                  wakeup -DTHREADS $LESS
    safe 'two followers, one comes and goes' wakeup -DLEAVE $LESS
    safe 'a place changes hands, the hub awake' wakeup -DHANDS -DHUB_AWAKE $ATOMIC
    safe 'cancel'                       wakeup -DONE -DCANCEL $ATOMIC
    safe 'two threads write'            wakeup -DTOGETHER -DSEGMENTS $LESS
    safe 'two threads write, and follow in their process' wakeup -DTOGETHER -DSEGMENTS -DOWN $LESS
    safe 'two threads with one producer; one comes and goes' wakeup -DTHREADED -DLEAVE -DALONE -DENDLESS
    safe 'one follower comes and goes, three appends' wakeup -DLEAVE -DALONE -DENDLESS -DAPPENDS=3
    safe 'a slot: two supervisors are killed' slots -DDEATHS=2
fi

echo 'Mutations'
wrong "$TORN"  'validate against head'                  ring -DVALIDATE_HEAD
wrong "$TORN"  'do not validate'                        ring -DNO_VALIDATE
wrong "$TORN"  'publish the dropped prefix after the copy' ring -DPREFIX_LATE
wrong "$TORN"  'publish head before the copy'           ring -DHEAD_FIRST
wrong "$TORN"  'the supervisor lowers the prefix (4634ba3)' ring -DPREFIX_LOWERED
wrong "$TORN"  'append compares with the prefix of __init__ (c080b55)' ring -DINTERRUPT -DFLOOR_OF_INIT
wrong "$SHORT" 'look at the state after head (ring)'    ring -DFINAL_LATE
wrong "$SHORT" 'look at the state after head'           wakeup -DONE -DFINAL_LATE
wrong "$LOST"  'no fence in Marker.ring'                wakeup -DONE -DNO_FENCE_RING
wrong "$LOST"  'no fence in Marker._learn'              wakeup -DSEGMENTS $LESS -DNO_FENCE_LEARN
wrong "$LOST"  'no mark in Marker._learn'               wakeup -DONE -DNO_LEARN_MARK
wrong "$LOST"  'a Marker learns the places once'        wakeup -DONE -DNO_LEARN
wrong "$TWICE" 'a Marker forgets what it has rung for'  wakeup -DONE -DNO_RUNG
wrong "$LOST"  'segments mark alike'                    wakeup -DHANDS -DHUB_AWAKE $ATOMIC -DNO_SALT
wrong "$LOST"  'no fence in Board.enter'                wakeup -DONE -DNO_FENCE_ENTER
wrong "$LOST"  'enter the board only once there is nothing to read' wakeup -DONE $LESS -DENTER_LATE
wrong "$LOST"  'no fence in Board._renew_nap'           wakeup -DONE -DNO_FENCE_NAP
wrong "$LOST"  'do not collect in Board._renew_nap'     wakeup -DONE -DNO_COLLECT_NAP
wrong "$LOST"  'a nap number is reused'                 wakeup -DONE -DNAP_REUSED
wrong "$LOST"  'collect_on_ring() only collects'        wakeup -DONE -DRUNG_COLLECTS_ONLY
wrong "$LOST"  'collect_on_ring() does not renew it'    wakeup -DONE -DNO_RENEW
wrong "$LOST"  'drain the doorbell after collecting'    wakeup -DONE -DDRAIN_LATE
wrong "$LOST"  'look() wakes the hub only if there is something new' wakeup -DONE -DWAKE_IF_NEW
wrong "$LOST"  'wait() does not compare with what was seen' wakeup -DONE -DNO_SEEN_CHECK
wrong "$LOST"  'drain the pipe after collecting'        wakeup -DONE -DPIPE -DPIPE_LATE
wrong "$LOST"  'own producers mark nothing'             wakeup -DONE -DOWN -DENDLESS -DNO_TELL
wrong "$LOST"  'ThreadHub waits with something marked'  wakeup -DTHREADS -DONE -DENDLESS -DNO_PENDING
wrong "$LOST"  'look() naps again only if rung before it looks' wakeup -DHALF -DSEGMENTS -DENDLESS -DSNAP_ATOMIC -DNAP_IF_ASKED
wrong "$LOST"  'ThreadHub does not ring its own bell'   wakeup -DTHREADS -DONE -DOWN -DENDLESS -DNO_SELF_RING
wrong "$LOST"  'the lock of a producer is no fence'     wakeup -DTHREADED -DONE $LESS -DNO_FENCE_RELEASE
wrong "$TWICE" 'each producer has its own rung_naps'    wakeup -DTASKS -DSEGMENTS $LESS -DRUNG_EACH
wrong "$LOST"  'FollowHub.leave does not nap'           wakeup -DLEAVE -DCLOSES -DTWOHUBS -DENDLESS -DLEAVE_NO_NAP
wrong "$LOST"  'Board.__init__ stores no nap number'    wakeup -DONE -DNO_FIRST_NAP
wrong "$LOST"  'no fence in ring_everybody'             wakeup -DONE -DCANCEL -DENDLESS -DAPPENDS=0 -DSNAP_ATOMIC -DNO_FENCE_EVERYBODY
wrong "$LOST"  '_learn leaves the mark that ring left'  wakeup -DHANDS -DHUB_AWAKE $ATOMIC -DLEARN_SAME_MARK
wrong "$CYCLE" 'an awake hub never naps'                wakeup -DONE -DNEVER_QUIET
wrong "$LOST"  'the supervisor counts no look'          wakeup -DONE -DCANCEL $LESS -DNO_LOOKS
wrong "$NET"   'the supervisor does not ring'           wakeup -DONE -DNET -DKILL $ATOMIC -DNO_TAKEOVER_RING
wrong "$NET"   'the net is not needed after SIGKILL'    wakeup -DONE -DNET -DKILL $ATOMIC -DNO_NET
wrong "$LOST"  'a tick left over takes marks in a hub that naps' wakeup -DLEAVE -DALONE -DENDLESS -DAPPENDS=3 -DSNAP_ATOMIC -DSTALE_TICK
wrong "$LOST"  'a hub that is marked leaves, its loop ends' wakeup -DLEAVE -DCLOSES -DTWOHUBS -DENDLESS -DLEAVE_AWAKE
wrong "$LOST"  'two threads are in _learn at once'      wakeup -DTHREADED -DLEAVE -DALONE -DENDLESS -DLEARN_TOGETHER
wrong "$TAKEN" 'an absent worker is freed without its lock' slots -DNO_LOCK
wrong "$TAKEN" 'a worker looks at the epoch before it locks' slots -DCHECK_FIRST
wrong "$TAKEN" 'a worker does not look at the epoch'    slots -DNO_CHECK
wrong "$KEPT"  'a lock outlives its process'            slots -DKEPT
if [ "$how_much" = full ] || [ -z "$how_much" ]; then
    # Rare: millions of states come first.
    wrong "$LOST"  'the hub does not check _marked after napping' wakeup -DTWOHUBS -DENDLESS -DNO_MARKED_CHECK
    wrong "$LOST"  'clear LoopHub._look_is_due after the look' wakeup -DONE -DCANCEL $ATOMIC -DDUE_LATE
fi

echo "$(($(date +%s) - began)) s, $failed failed"
[ $failed -eq 0 ]
