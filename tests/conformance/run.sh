#!/usr/bin/env bash
# Transparency, measured: the test suite that Redis itself ships (TCL, external mode) must pass and fail through the interlay exactly as it does
# directly. Takes about 5 minutes directly (cached) and 6 through the interlay on an idle machine, so ctest runs it only with
# -DEXODUS_CONFORMANCE=ON. Needs: tcl, patch, xz-utils, redis-server, valkey-server, and a mirror that has the source package.
#
#   tests/conformance/run.sh [--sharing on|off] [--only unit/type/list ...]
#
# The suite is the source package of the installed redis-server, fetched with apt into build/conformance; what it does directly is kept there per
# version and unit. Each unit gets a fresh server, since the suite leaves settings behind (one unit leaves a BGSAVE that sleeps for ever); the interlay
# in front of it is one and the same for all units.
#
# Many of its tests measure time and fail now and then on a busy machine, directly too. So a unit that differs runs once more, directly and through
# the interlay, and only a test that never had the same result on both ways counts. Differences that follow from sharing connections, each with its
# reason, stand in expected-<sharing>.txt; anything else fails. So does a unit that never ends (in the same test), or an interlay that dies.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
usage() { echo "usage: $0 [--sharing on|off] [--only UNIT ...]" >&2; exit 64; }
sharing=off
only=()
while [ $# -gt 0 ]; do
    case $1 in
        --sharing) sharing=${2:-}; shift 2 || usage ;;
        --only) shift; while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do only+=("$1"); shift; done ;;
        *) usage ;;
    esac
done
case $sharing in on | off) ;; *) usage ;; esac
exodus=${EXODUS_BINARY:-$root/build/dev/exodus}
cache=${EXODUS_CONFORMANCE_DIR:-$root/build/conformance}
unit_seconds=${EXODUS_UNIT_SECONDS:-600}   # the longest unit takes 100 s directly
for tool in tclsh patch xz redis-server valkey-server; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install tcl patch xz-utils redis-server valkey-server" >&2; exit 69; }
done
mkdir -p "$cache"

version=$(dpkg-query -W -f '${Version}' redis-server)
suite=$cache/redis-$version
fetch_suite() {   # the Debian source package with its patches, from the mirror that apt already uses
    [ -d "$suite" ] && return
    local work=$cache/fetch
    rm -rf "$work" "$suite.part"; mkdir -p "$work/lists/partial"
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        sed 's/^Types: .*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$work/src.sources"
    else
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$work/src.list"
    fi
    local apt=(-q -o "Dir::Etc::sourcelist=$(ls "$work"/src.*)" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$work/lists")
    (cd "$work" && apt-get "${apt[@]}" update && apt-get "${apt[@]}" source --download-only "redis=$version") >"$work/log" 2>&1 ||
        { echo "the source package redis=$version cannot be fetched: $work/log" >&2; exit 69; }
    mkdir "$suite.part"
    tar -C "$suite.part" --strip-components=1 -xf "$work"/redis_*.orig.tar.gz
    tar -C "$suite.part" -xf "$work"/redis_*.debian.tar.xz
    (cd "$suite.part" && while read -r patch; do patch -p1 -s <"debian/patches/$patch"; done < <(grep -v '^#' debian/patches/series))
    for program in redis-server redis-cli redis-benchmark redis-check-rdb redis-check-aof; do
        ln -sf "$(command -v $program)" "$suite.part/src/$program"
    done
    mv "$suite.part" "$suite"
    rm -rf "$work"
}

declare -A groups   # each process of ours leads a process group, so that what it forked (a BGSAVE that sleeps) ends with it
run=$(mktemp -d "$cache/run-XXXXXX")
finish() {
    for group in "${!groups[@]}"; do stop "$group"; done
    [ -n "${keep:-}" ] || rm -rf "$run"
}
trap finish EXIT
stop() { kill -KILL -- "-$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; unset "groups[$1]"; }
free_port() {
    local port
    while :; do
        port=$((10000 + RANDOM % 22000))   # below the ports that outgoing connections take
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
wait_port() {
    for _ in $(seq 600); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.1; done
    echo "nothing listens on port $1" >&2; return 1
}
start_server() {   # program port: sets `started`
    local dir=$run/$1-$2
    rm -rf "$dir"; mkdir "$dir"
    setsid "$1" --port "$2" --bind 127.0.0.1 --dir "$dir" --save '' --enable-debug-command yes --logfile log --daemonize no </dev/null >/dev/null 2>&1 &
    started=$!
    groups[$started]=1; wait_port "$2"
}
declare -A server_of
fresh_server() {   # port
    [ -z "${server_of[$1]:-}" ] || stop "${server_of[$1]}"
    start_server redis-server "$1"
    server_of[$1]=$started
}

run_suite() {   # port unit
    # timeout ends its whole process group, so also the client process of the suite.
    (cd "$suite" && exec timeout -k 5 "$unit_seconds" tclsh tests/test_helper.tcl --durable --dont-clean --baseport "$(($(free_port) + 32))" \
        --host 127.0.0.1 --port "$1" --single "$2" </dev/null)
}
run_unit() {   # port unit output: one line per test, "unit: result test"
    local log=$3.log
    # The suite has a listener of its own, whose port may be taken in between.
    for _ in 1 2 3; do
        run_suite "$@" >"$log" 2>&1 || true
        grep -q "couldn't open socket: address already in use" "$log" || break
    done
    sed -E 's/\x1b\[[0-9;]*m//g' "$log" |
        awk -v unit="$2" '
            /^\[(ok|ignore)\]: / { result = $1 == "[ok]:" ? "ok" : "ignore" }
            /^\[(err|exception|skip)\]: / { result = "err" }
            /^\[[0-9]+\/[0-9]+ done\]: / { ended = 1 }
            /^\[(ok|ignore|err|exception|skip)\]: / {
                sub(/^\[[a-z]+\]: /, "")
                sub(/ \([0-9]+ ms\)$/, "")
                sub(/ in tests\/[^ ]+$/, "")
                print unit ": " result " " $0
                last = $0
            }
            END { if (!ended) print unit ": err does not end after: " last }' >"$3.part"
    mv "$3.part" "$3"
}
file_of() { echo "${1//\//_}"; }

fetch_suite
if [ ${#only[@]} -gt 0 ]; then units=("${only[@]}"); else mapfile -t units < <(cd "$suite" && tclsh tests/test_helper.tcl --list-tests); fi

direct_port=$(free_port)
directly() {   # unit output
    fresh_server "$direct_port"
    run_unit "$direct_port" "$1" "$2"
}
direct=$cache/direct-$version
mkdir -p "$direct"
for unit in "${units[@]}"; do
    name=$(file_of "$unit")
    [ -e "$direct/$name" ] && continue
    directly "$unit" "$run/$name"
    mv "$run/$name.log" "$direct/$name.log"; mv "$run/$name" "$direct/$name"
done

work=$run/interlay
mkdir "$work"
source_port=$(free_port); target_port=$(free_port); port=$(free_port)
fresh_server "$source_port"
start_server valkey-server "$target_port"
cat >"$work/exodus.toml" <<TOML
migration = "conformance"
[source]
family = "redis"
uri = "redis://127.0.0.1:$source_port/0"
[target]
family = "redis"
uri = "redis://127.0.0.1:$target_port/0"
[interlay]
listen = ["127.0.0.1:$port"]
threads = 1
[redis]
"interlay.sharing" = "$sharing"
TOML
(cd "$work" && "$exodus" --no-input init redis >/dev/null)
(cd "$work" && exec setsid "$exodus" --no-input interlay >interlay.log 2>&1) &
interlay=$!
groups[$interlay]=1; wait_port "$port"
through_interlay() {   # unit output
    fresh_server "$source_port"
    run_unit "$port" "$1" "$2"
}
through=$cache/through-$sharing
rm -rf "$through"; mkdir -p "$through"
expected=$here/expected-$sharing.txt
grep -vE '^(#|$)' "$expected" >"$run/expected" || true

# The tests of a unit whose result is not the same on both ways.
differences() { diff <(sort "$1") <(sort "$2") | grep '^[<>]' | sed -E 's/^[<>] ([^ ]+: )(ok|ignore|err) /\1/' | sort -u || true; }
passed=0
failed=0
for unit in "${units[@]}"; do
    name=$(file_of "$unit")
    through_interlay "$unit" "$through/$name"
    if ! kill -0 "$interlay" 2>/dev/null; then
        keep=1
        echo "the interlay died in $unit: $work/interlay.log"
        tail -n 40 "$work/interlay.log"
        echo "$passed passed, 1 failed"
        exit 2
    fi
    differences "$direct/$name" "$through/$name" >"$run/differ"
    if [ -s "$run/differ" ] && [ -n "$(grep -vxFf "$run/expected" "$run/differ" || true)" ]; then
        directly "$unit" "$run/direct-again"
        through_interlay "$unit" "$through/$name.again"
        for first in "$direct/$name" "$run/direct-again"; do
            for second in "$through/$name" "$through/$name.again"; do differences "$first" "$second"; done
        done | sort | uniq -c | sed -nE 's/^ *4 //p' >"$run/differ-again"
        while read -r test; do echo "differed once:  $test"; done < <(comm -23 "$run/differ" "$run/differ-again")
        mv "$run/differ-again" "$run/differ"
    fi
    count=$(wc -l <"$direct/$name")
    while read -r test; do
        if grep -qxF "$test" "$run/expected"; then
            echo "differs, known:  $test"
        else
            echo "DIFFERS:  $test"
            failed=$((failed + 1)); count=$((count - 1))
        fi
    done <"$run/differ"
    passed=$((passed + count))
done
kill "$interlay"
if ! wait "$interlay"; then
    keep=1
    echo "the interlay did not end cleanly: $work/interlay.log"
    failed=$((failed + 1))
fi
echo "sharing $sharing: the tests of redis $version with the same result through the interlay as directly"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
