#!/bin/sh
# Check the models with spin: what must hold does, and every mutation is found wrong.
#
#   sh check.sh          about two minutes on one core, at most 4 GB
#   sh check.sh full     larger bounds as well: about six minutes, at most 10 GB
#
# Exit 0 only if every search was complete and came out as it must. Writes nothing here.

set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
full=${1:-}
case $full in full) limit=1200 memory=10000 ;; *) limit=120 memory=4000 ;; esac
for tool in spin gcc timeout; do
    command -v $tool >/dev/null || { echo "check.sh needs $tool" >&2; exit 2; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work" || exit 1
failed=0 began=$(date +%s)

TORN='!(torn)'                          # wrong bytes were accepted
SHORT='(offset.*head)'                  # a follower ends before the end
LOST='stands.*silent'                   # a follower sleeps for ever, or never ends
TWICE='!(posted'                        # two posts for one arming
NET='(owed'                             # the net was needed more often than SIGKILL came
CYCLE='non-progress cycle'              # a run without end

# search KIND MODEL DEFINES...: leaves what spin, gcc and pan say in ./out
search() {
    kind=$1 model=$2
    shift 2
    rm -f pan* out ./*.trail
    case $kind in
        ends) how=-DNP run=-l ;;
        *) how=-DSAFETY run= ;;
    esac
    spin "$@" -a "$here/$model.pml" >out 2>&1 &&
        nice gcc -w "-O$optimize" $how -DMEMLIM=$memory -o pan pan.c >>out 2>&1 &&
        nice timeout $limit ./pan $run -m1000000 -w24 >>out 2>&1
}

fail() {
    printf '  FAIL  %s\n' "$*"
    grep -v Depth= out | sed 's/^/        /' | head -20
    failed=$((failed + 1))
}

# holds KIND WHAT MODEL DEFINES...
# KIND: safe (no assertion fails, nothing is stuck) or ends (no run goes on for ever)
holds() {
    kind=$1 what=$2 optimize=2
    shift 2
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
    expected=$1 what=$2 optimize=1
    shift 2
    kind=safe
    [ "$expected" = "$CYCLE" ] && kind=ends
    search $kind "$@"
    if grep '^pan:1:' out | grep -q "$expected" && grep -q 'errors: 1' out; then
        printf '  found %-58s%10s\n' "$what" "$(sed -n 's/.*at depth \([0-9]*\)).*/after \1 steps/p' out)"
    else
        fail "not found wrong: $what: $*"
    fi
}

echo 'What holds'
safe 'the ring: two writers killed anywhere, any reader' ring -DTOTAL=7
safe 'exceptions in append, with the mending of finding 2' ring -DINTERRUPT -DFLOOR_IS_WORD
safe 'two followers'                    wakeup
safe 'two followers, three appends'     wakeup -DENDLESS -DAPPENDS=3
safe 'two followers, one comes and goes' wakeup -DLEAVE -DAPPENDS=1
safe 'from pending on; snapshots the other way round' wakeup -DONE -DBEGIN -DSNAP_DESC
safe 'cancel'                           wakeup -DONE -DCANCEL -DAPPENDS=1
safe 'SIGKILL: one net each at the most' wakeup -DONE -DNET -DKILL -DAPPENDS=1
safe 'two workers'                      wakeup -DWORKERS -DENDLESS
safe 'a thread'                         wakeup -DTHREADS -DONE
safe 'two threads'                      wakeup -DTHREADS -DENDLESS
safe 'two hubs on a slot, with the mending of finding 1' wakeup -DTWOHUBS -DHUBFIX -DENDLESS
ends 'one follower'                     wakeup -DONE
ends 'cancel'                           wakeup -DONE -DCANCEL -DENDLESS -DAPPENDS=1
ends 'SIGKILL'                          wakeup -DONE -DNET -DKILL -DENDLESS -DAPPENDS=1
ends 'a thread'                         wakeup -DTHREADS -DONE -DAPPENDS=1

if [ "$full" = full ]; then
    echo 'What holds, larger'
    safe 'the ring: more laps'          ring -DTOTAL=9
    safe 'the ring: four bytes'         ring -DTOTAL=6 -DCAP=4
    safe 'two followers, SIGKILL'       wakeup -DNET -DKILL -DENDLESS -DAPPENDS=1
    safe 'SIGKILL, two appends'         wakeup -DONE -DNET -DKILL
    safe 'SIGKILL and cancel'           wakeup -DONE -DNET -DKILL -DCANCEL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
    safe 'cancel, two appends'          wakeup -DONE -DCANCEL
    safe 'two followers, cancel'        wakeup -DCANCEL -DENDLESS -DAPPENDS=1
    safe 'one comes and goes, two appends' wakeup -DLEAVE
    safe 'two threads, to the end'      wakeup -DTHREADS -DAPPENDS=1
    safe 'two threads, three appends'   wakeup -DTHREADS -DENDLESS -DAPPENDS=3
    safe 'two workers, to the end'      wakeup -DWORKERS -DAPPENDS=1 -DSNAP_ATOMIC
    safe 'two quiet ticks'              wakeup -DENDLESS -DQUIET=2
fi

echo 'Mutations'
wrong "$TORN"  'validate against head'                  ring -DVALIDATE_HEAD
wrong "$TORN"  'do not validate'                        ring -DNO_VALIDATE
wrong "$TORN"  'publish the dropped prefix after the copy' ring -DPREFIX_LATE
wrong "$TORN"  'publish head before the copy'           ring -DHEAD_FIRST
wrong "$TORN"  'who takes over lowers the prefix (4634ba3)' ring -DPREFIX_LOWERED
wrong "$SHORT" 'look at the state after head (ring)'    ring -DFINAL_LATE
wrong "$SHORT" 'look at the state after head'           wakeup -DONE -DFINAL_LATE
wrong "$LOST"  'no fence in ArmedSlots.ring'            wakeup -DONE -DNO_FENCE_RING
wrong "$LOST"  'no fence in ArmedSlots.ring_everybody'  wakeup -DONE -DNO_FENCE_EVERYBODY
wrong "$LOST"  'no fence in FollowHub._arm'             wakeup -DONE -DNO_FENCE_ARM
wrong "$LOST"  'no second look after arming'            wakeup -DONE -DNO_RECHECK
wrong "$LOST"  'armed is a sequence number'             wakeup -DENDLESS -DARMED_SEQUENCE
wrong "$LOST"  'post also for who has seen the bytes'   wakeup -DENDLESS -DNO_SEEN_CHECK
wrong "$TWICE" 'forget what has been posted for'        wakeup -DONE -DNO_RUNG
wrong "$LOST"  'drain the doorbell after the look'      wakeup -DENDLESS -DDRAIN_LATE
wrong "$LOST"  'clear LoopHub._poked after the look'    wakeup -DENDLESS -DPOKED_LATE
wrong "$LOST"  'ThreadHub.wait does not ring its own bell' wakeup -DTHREADS -DONE -DNO_SELF_RING
wrong "$NET"   'the supervisor does not ring'           wakeup -DONE -DNET -DKILL -DNO_TAKEOVER_RING
wrong "$NET"   'the net is not needed after SIGKILL'    wakeup -DONE -DNET -DKILL -DNO_NET
wrong "$CYCLE" 'a busy hub never goes quiet'            wakeup -DONE -DNEVER_QUIET

echo 'Findings: the code as it is'
wrong "$LOST"  '1: two hubs of a process share an armed word' wakeup -DTWOHUBS -DENDLESS
wrong "$TORN"  '2: an exception in append, then abort'  ring -DINTERRUPT

echo "$(($(date +%s) - began)) s, $failed failed"
[ $failed -eq 0 ]
