#!/usr/bin/env bash
# A whole migration with live traffic, start to finish: installs the packages, builds exodus, starts a Redis and a Valkey server of its own,
# loads them through the interlay, and goes through all seven phases, a rollback included. Ends with a ledger check.
#
#   examples/redis-to-valkey/run.sh [--keys N] [--keep]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
keys=100000
keep=
while [ $# -gt 0 ]; do
    case $1 in
        --keys) keys=$2; shift 2 ;;
        --keep) keep=1; shift ;;
        *) echo "usage: $0 [--keys N] [--keep]" >&2; exit 64 ;;
    esac
done

if [ -z "${EXODUS_BINARY:-}" ]; then
    "$root/.ci/install-packages" build
    (cd "$root" && cmake --preset release >/dev/null && cmake --build --preset release --target exodus exodus-ledger)
    EXODUS_BINARY=$root/build/release/exodus
fi
bin=$(dirname "$EXODUS_BINARY")
export PATH=$bin:$PATH

dir=$(mktemp -d "${TMPDIR:-/tmp}/exodus-demo-XXXXXX")
pids=()
stop_all() {
    status=$?
    trap - EXIT
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ $status -ne 0 ]; then
        printf '\nThe demonstration ended with exit code %s at: %s\n' "$status" "${doing:-preparing}"
        [ ! -s "$dir/load.log" ] || { echo "The load said:"; tail -n 5 "$dir/load.log"; }
        [ ! -s "$dir/interlay.log" ] || { echo "The interlay said:"; tail -n 5 "$dir/interlay.log"; }
    fi
    if [ -n "$keep" ] || [ $status -ne 0 ]; then echo "files kept in $dir"; else rm -rf "$dir"; fi
    exit $status
}
trap stop_all EXIT
trap 'exit 130' INT TERM

say() {
    doing=$*
    if [ -t 1 ]; then printf '\n\033[1m== %s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi
}
free_port() {   # a loopback port that nobody listens on, below those that the system gives to clients
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
wait_port() {
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        sleep 0.05
    done
    echo "nothing listens on port $1" >&2
    return 1
}

cd "$dir"
umask 077
openssl rand -hex 16 >exodus.secret
openssl rand -hex 16 >app.secret
start_server() {   # engine; sets server_port
    local pid
    mkdir -p "$1"
    {
        echo "user default off"
        echo "user exodus on >$(cat exodus.secret) ~* &* +@all"
        echo "user app on >$(cat app.secret) ~* &* +@all -@admin -@dangerous +keys +info"
    } >"$1/users.acl"
    for _ in 1 2 3 4 5; do   # somebody else may take the port first
        server_port=$(free_port)
        "$1-server" --port "$server_port" --bind 127.0.0.1 --dir "$dir/$1" --aclfile "$dir/$1/users.acl" --save '' --appendonly no \
            --enable-debug-command local --repl-backlog-size 256mb --logfile "$dir/$1/log" --daemonize no </dev/null &
        pid=$!
        pids+=("$pid")
        for _ in $(seq 200); do
            kill -0 "$pid" 2>/dev/null || break
            [ "$(redis_cli "$server_port" PING 2>/dev/null)" = PONG ] && return 0
            sleep 0.05
        done
    done
    echo "$1-server does not start:" >&2
    tail -n 5 "$dir/$1/log" >&2
    return 1
}
redis_cli() { REDISCLI_AUTH=$(cat exodus.secret) redis-cli --no-auth-warning --user exodus -p "$@"; }
about() { redis_cli "$1" INFO server | sed -n "s/^$2_version:\(.*\)\r/$2 \1/p"; }

# Each command as an operator would type it; what it printed is kept for the summary.
summary=()
run() {
    local began=$EPOCHREALTIME shown
    printf -v shown ' %q' "$@"
    printf '\n$ exodus%s\n' "${shown//$here/.}"
    exodus --no-input "$@" | tee last.out
    local ms=$(((${EPOCHREALTIME/[.,]/} - ${began/[.,]/}) / 1000))
    case $1 in pretest | analyze | compare | test | migrate | rollback | commit)
        local held
        held=$(sed -n 's/^pause .*held for \(.*\)/\1/p; s/^rehearsal .*pause p99 \([0-9.]* ms\) .*/\1/p' last.out | head -n 1)
        summary+=("$(printf '%-28s %7d.%d s   %s' "$doing" $((ms / 1000)) $((ms % 1000 / 100)) "${held:--}")")
        ;;
    esac
}
# Both servers at rest must hold the same data: checked by a tool that shares no code with exodus' own verify.
equal_checks=0
hand_over_check() {
    kill -USR1 "$load"
    exodus-ledger equal --port "$source_port" --with "$target_port" --user exodus --password-file exodus.secret --timeout-ms 60000
    kill -USR2 "$load"
    equal_checks=$((equal_checks + 1))
}

began=$SECONDS

say "a source with data, an empty target"
start_server redis; source_port=$server_port
start_server valkey; target_port=$server_port
port=$(free_port)
http=127.0.0.1:$(free_port)
sed -e "s|@SOURCE_PORT@|$source_port|; s|@TARGET_PORT@|$target_port|; s|@PORT@|$port|; s|@DIR@|$dir|" "$here/exodus.toml.in" >exodus.toml
exodus-ledger fill --port "$source_port" --user exodus --password-file exodus.secret --keys "$keys" --big-fields 150000
echo "source: $(about "$source_port" redis), $keys keys and more: all types, TTLs, a hash above 8 MiB, streams with groups, a function"
echo "target: $(about "$target_port" valkey), empty"

say "state file and interlay; applications move to port $port"
run init redis
exodus --no-input interlay --http "$http" >interlay.log 2>&1 &
pids+=($!)
wait_port "$port"
echo "the interlay listens on port $port; its output goes to interlay.log"
echo "dashboard, while this runs: http://$http/"
echo "$source_port" >authority
exodus-ledger run --port "$port" --user app --password-file app.secret --authority-file authority --pause-us 4000 >load.log 2>&1 &
load=$!
pids+=("$load")
echo "a load of mixed reads and writes runs through it: 8 writers (4 of them pipeline), 2 queues with blocking consumers"

say "pretest"; run pretest --tap monitor --accept-monitor-cost --duration 3s --ack redis.backlog,redis.spool-room --reason "a demonstration of minutes"
say "analyze"; run analyze
say "compare"; run compare
say "test";    run test --smoke "$here/smoke.txt"
say "migrate: copy and follow"; run migrate --until ready
run approve switch --reason "demonstration: first switch"
say "migrate: switch"; run migrate --switch --confirm shop --reason "demonstration: first switch"
echo "$target_port" >authority; hand_over_check
run status
say "rollback: nothing is lost"; run rollback --confirm shop --reason "demonstration: the way back"
echo "$source_port" >authority; hand_over_check
say "migrate again: follow"; run migrate --until ready
run approve switch --reason "demonstration: second switch"
say "migrate: switch again"; run migrate --switch --confirm shop --reason "demonstration: second switch"
echo "$target_port" >authority; hand_over_check
say "commit"; run commit --confirm shop --reason "demonstration: done"
run status

say "the ledger: is every acknowledged write there, exactly once?"
kill -TERM "$load"
wait "$load" && ledger=0 || ledger=$?
cat load.log
[ "$ledger" -eq 0 ] || exit "$ledger"

say "summary"
printf '%-28s %11s   %s\n' "phase" "took" "writes held for"
printf '%s\n' "${summary[@]}"
sed -n 's/^load: \([0-9]*\) writes acknowledged, \([0-9]*\) reads, \(.*\)/\nwrites     \1 acknowledged, each present exactly once; \2 reads; \3/p; s/^latency: \(.*\)/requests   \1/p' load.log
echo "hand-overs 2 switches and 1 rollback (and those of the rehearsal); both servers equal at each of $equal_checks checks"
echo "time       $((SECONDS - began)) s; the workload now lives on the target, $(about "$target_port" valkey)"
