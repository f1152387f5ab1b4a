#!/bin/sh
# Check the models with spin: what must hold does, and every mutation is found wrong.
#
#   sh check.sh          about four minutes on a busy core, at most 4 GB
#   sh check.sh full     larger bounds as well, at most 10 GB
#
# Exit 0 only if every search was complete and came out as it must. Writes nothing here.

set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
how_much=${1:-}
case $how_much in full) limit=1200 memory=10000 ;; *) limit=120 memory=4000 ;; esac
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
safe 'exceptions in append'             ring -DINTERRUPT
safe 'one follower'                     wakeup -DONE
safe 'the first snapshot before entering: wait() looks again' wakeup -DONE -DSNAP_FIRST
safe 'one follower is pushed to'        wakeup -DONE -DTAKE -DENDLESS
safe 'two followers'                    wakeup -DAPPENDS=1
safe 'from pending on; snapshots the other way round' wakeup -DONE -DBEGIN -DSNAP_DESC -DAPPENDS=1
safe 'two hubs share a board'           wakeup -DTWOHUBS -DENDLESS -DAPPENDS=1
safe 'a thread'                         wakeup -DTHREADS -DONE -DENDLESS
safe 'a place changes hands'            wakeup -DHANDS -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
ends 'one follower'                     wakeup -DONE -DAPPENDS=1
safe 'SIGKILL: one net each at the most' wakeup -DONE -DNET -DKILL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
safe 'two workers'                      wakeup -DWORKERS -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
safe 'two segments'                     wakeup -DSEGMENTS -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
safe 'two threads'                      wakeup -DTHREADS -DENDLESS -DAPPENDS=1
safe 'two followers, one comes and goes' wakeup -DLEAVE -DENDLESS -DAPPENDS=1

if [ "$how_much" = full ]; then
    echo 'What holds, larger'
    safe 'the ring: more laps'          ring -DTOTAL=9
    safe 'the ring: four bytes'         ring -DTOTAL=6 -DCAP=4
    ends 'one follower, two appends'    wakeup -DONE
    safe 'a place changes hands, the hub awake' wakeup -DHANDS -DHUB_AWAKE -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
    safe 'two hubs, two appends'        wakeup -DTWOHUBS -DENDLESS
    safe 'cancel'                       wakeup -DONE -DCANCEL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC
fi

echo 'Mutations'
wrong "$TORN"  'validate against head'                  ring -DVALIDATE_HEAD
wrong "$TORN"  'do not validate'                        ring -DNO_VALIDATE
wrong "$TORN"  'publish the dropped prefix after the copy' ring -DPREFIX_LATE
wrong "$TORN"  'publish head before the copy'           ring -DHEAD_FIRST
wrong "$TORN"  'who takes over lowers the prefix (4634ba3)' ring -DPREFIX_LOWERED
wrong "$TORN"  'append compares with the prefix of __init__ (c080b55)' ring -DINTERRUPT -DFLOOR_OF_INIT
wrong "$SHORT" 'look at the state after head (ring)'    ring -DFINAL_LATE
wrong "$SHORT" 'look at the state after head'           wakeup -DONE -DFINAL_LATE
wrong "$LOST"  'no fence in Ringer.ring'                wakeup -DONE -DNO_FENCE_RING
wrong "$LOST"  'no fence in Ringer._learn'              wakeup -DSEGMENTS -DENDLESS -DAPPENDS=1 -DNO_FENCE_LEARN
wrong "$LOST"  'no mark in Ringer._learn'               wakeup -DONE -DNO_LEARN_MARK
wrong "$LOST"  'a Ringer learns the places once'        wakeup -DONE -DNO_LEARN
wrong "$TWICE" 'a Ringer forgets what it has rung for'  wakeup -DONE -DNO_RUNG
wrong "$LOST"  'segments mark alike'                    wakeup -DHANDS -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC -DNO_SALT
wrong "$LOST"  'no fence in Board.enter'                wakeup -DONE -DNO_FENCE_ENTER
wrong "$LOST"  'enter the board only once there is nothing to read' wakeup -DONE -DENTER_LATE
wrong "$LOST"  'no fence in Board._renew_nap'           wakeup -DONE -DNO_FENCE_NAP
wrong "$LOST"  'do not collect in Board._renew_nap'     wakeup -DONE -DNO_COLLECT_NAP
wrong "$LOST"  'a nap number is reused'                 wakeup -DONE -DNAP_REUSED
wrong "$LOST"  'rung() only collects'                   wakeup -DONE -DRUNG_COLLECTS_ONLY
wrong "$LOST"  'rung() does not renew the number'       wakeup -DONE -DNO_RENEW
wrong "$LOST"  'drain the doorbell after collecting'    wakeup -DONE -DDRAIN_LATE
wrong "$LOST"  'look() wakes the hub only if there is something new' wakeup -DONE -DWAKE_IF_NEW
wrong "$LOST"  'wait() does not compare with what was seen' wakeup -DONE -DNO_SEEN_CHECK
wrong "$LOST"  'the hub does not check _marked after napping' wakeup -DTWOHUBS -DENDLESS -DNO_MARKED_CHECK
wrong "$LOST"  'ThreadHub does not ring its own bell'   wakeup -DTHREADS -DONE -DENDLESS -DNO_SELF_RING
wrong "$CYCLE" 'an awake hub never naps'                wakeup -DONE -DNEVER_QUIET
wrong "$LOST"  'the supervisor counts no look'          wakeup -DONE -DCANCEL -DENDLESS -DAPPENDS=1 -DNO_LOOKS
wrong "$LOST"  'clear LoopHub._poked after the look'    wakeup -DONE -DCANCEL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC -DPOKED_LATE
wrong "$NET"   'the supervisor does not ring'           wakeup -DONE -DNET -DKILL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC -DNO_TAKEOVER_RING
wrong "$NET"   'the net is not needed after SIGKILL'    wakeup -DONE -DNET -DKILL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC -DNO_NET

echo 'Findings: the code as it is'
wrong "$LOST"  '1: Board.__init__ stores no nap number' wakeup -DONE -DNO_FIRST_NAP
wrong "$LOST"  '2: no fence in ring_everybody'          wakeup -DONE -DCANCEL -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC -DNO_FENCE_EVERYBODY
wrong "$LOST"  '3: Ringer._learn marks as Ringer.ring did' wakeup -DHANDS -DHUB_AWAKE -DENDLESS -DAPPENDS=1 -DSNAP_ATOMIC -DLEARN_SAME_MARK

echo "$(($(date +%s) - began)) s, $failed failed"
[ $failed -eq 0 ]
