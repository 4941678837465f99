#!/usr/bin/env bash
# Transparency, measured: the test suite that Redis itself ships (TCL, external mode) must pass and fail through the interlay exactly as it does
# directly. Takes about twelve minutes, so ctest runs it only with -DEXODUS_CONFORMANCE=ON.
#
#   tests/conformance/run.sh [--sharing on|off] [--only unit/type/list ...]
#
# The suite is the source package of the installed redis-server, fetched with apt into build/conformance; the direct run is cached there per version.
# Differences that are known, each with its reason, stand in expected-<sharing>.txt; anything else fails.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
sharing=off
only=()
while [ $# -gt 0 ]; do
    case $1 in
        --sharing) sharing=$2; shift 2 ;;
        --only) shift; while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do only+=("$1"); shift; done ;;
        *) echo "usage: $0 [--sharing on|off] [--only UNIT ...]" >&2; exit 64 ;;
    esac
done
exodus=${EXODUS_BINARY:-$root/build/dev/exodus}
cache=$root/build/conformance
mkdir -p "$cache"

version=$(dpkg-query -W -f '${Version}' redis-server)
suite=$cache/redis-$version
fetch_suite() {   # the Debian source package with its patches, from the mirror that apt already uses
    [ -d "$suite" ] && return
    local work=$cache/fetch
    rm -rf "$work"; mkdir -p "$work/lists/partial"
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        sed 's/^Types: .*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$work/src.sources"
    else
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$work/src.list"
    fi
    local apt=(-q -o "Dir::Etc::sourcelist=$(ls "$work"/src.*)" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$work/lists")
    apt-get "${apt[@]}" update >/dev/null
    (cd "$work" && apt-get "${apt[@]}" source --download-only "redis=$version" >/dev/null 2>&1)
    mkdir "$suite.part"
    tar -C "$suite.part" --strip-components=1 -xf "$work"/redis_*.orig.tar.gz
    tar -C "$suite.part" -xf "$work"/redis_*.debian.tar.xz
    (cd "$suite.part" && for patch in $(grep -v '^#' debian/patches/series); do patch -p1 -s <"debian/patches/$patch"; done)
    for program in redis-server redis-cli redis-benchmark redis-check-rdb redis-check-aof; do
        ln -sf "$(command -v $program)" "$suite.part/src/$program"
    done
    mv "$suite.part" "$suite"
}

pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done' EXIT
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 30000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
wait_port() {
    for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.05; done
    echo "nothing listens on port $1" >&2; return 1
}
start_server() {   # program port: always a fresh one, since the suite leaves settings behind
    local dir; dir=$(mktemp -d "$cache/server-XXXXXX")
    "$1" --port "$2" --bind 127.0.0.1 --dir "$dir" --save '' --enable-debug-command yes --logfile log --daemonize no </dev/null >/dev/null &
    pids+=($!); wait_port "$2"
}
run_suite() {   # port output
    local arguments=()
    for unit in "${only[@]}"; do arguments+=(--single "$unit"); done
    (cd "$suite" && timeout 2400 tclsh tests/test_helper.tcl --host 127.0.0.1 --port "$1" "${arguments[@]}" </dev/null >"$2.log" 2>&1) || true
    sed -E 's/\x1b\[[0-9;]*m//g' "$2.log" |
        sed -nE 's/^\[(ok|err|exception|ignore)\]: (.*)$/\1 \2/p' | sed -E 's/ \([0-9]+ ms\)$//; s/^(err|exception) (.* in tests\/[^ ]+).*/\1 \2/' >"$2"
    grep -c '^ok' "$2" || true
}

fetch_suite
name=$(printf '%s ' "${only[@]}" | cksum | cut -d' ' -f1)
direct=$cache/direct-$version-$name
if [ ! -s "$direct" ]; then
    port=$(free_port); start_server redis-server "$port"
    echo "direct: $(run_suite "$port" "$direct.part") ok"
    mv "$direct.part" "$direct"
fi

work=$(mktemp -d "$cache/interlay-XXXXXX")
source_port=$(free_port); target_port=$(free_port); port=$(free_port)
start_server redis-server "$source_port"
start_server valkey-server "$target_port"
cat >"$work/exodus.toml" <<TOML
migration = "conformance"
[source]
family = "redis"
uri = "redis://127.0.0.1:$source_port/0"
[target]
family = "redis"
uri = "valkey://127.0.0.1:$target_port/0"
[interlay]
listen = ["127.0.0.1:$port"]
threads = 1
[redis]
"interlay.sharing" = "$sharing"
TOML
(cd "$work" && "$exodus" --no-input init redis >/dev/null)
(cd "$work" && exec "$exodus" --no-input interlay >interlay.log 2>&1) &
pids+=($!); wait_port "$port"
through=$cache/through-$sharing-$name
echo "through the interlay, sharing=$sharing: $(run_suite "$port" "$through") ok"

expected=$here/expected-$sharing.txt
diff <(sort "$direct") <(sort "$through") | grep '^[<>]' | sed -E 's/^([<>]) /\1 /' >"$cache/differences-$sharing" || true
unexpected=$(grep -vFf <(sed -E '/^#|^$/d' "$expected") "$cache/differences-$sharing" || true)
if [ -n "$unexpected" ]; then
    echo "differences from the direct run (< direct, > interlay):"
    echo "$unexpected"
    echo "1 failed"; exit 2
fi
echo "the same passes and failures as direct"
