// The verifier on real servers of different versions: equal data are equal, one planted difference
// of each kind is found and nothing else, running writes cause no false rows, a killed run goes on,
// and the re-check of answers agrees.
#include <atomic>
#include <doctest/doctest.h>
#include <thread>

#include "families/redis/rechecker.h"
#include "families/redis/verifier.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

Deadline soon() { return Deadline::in(milliseconds(10'000)); }

using Words = std::vector<std::string>;

/// The same data on both servers, built by commands, with encodings that differ between the
/// versions.
void fill(RedisServer& server) {
    const auto run = [&](const Words& words) {
        const auto text = server.text(words);
        REQUIRE_MESSAGE(text.find("(error)") == std::string::npos, words[0] << ": " << text);
    };
    for (int i = 0; i < 800; ++i) {
        const std::string n = std::to_string(i);
        run({"SET", "str:" + n, "value " + n});
        if (i % 4 == 0) run({"PEXPIREAT", "str:" + n, std::to_string(4'000'000'000'000 + i)});
        run({"SADD", "set:" + n, "a" + n, "b", "c", std::string("\x00\xff", 2)});
        run({"HSET", "hash:" + n, "f", n, "g", "2"});
    }
    for (int i = 0; i < 300; ++i) {
        const std::string n = std::to_string(i);
        run({"RPUSH", "list:big", n});
        run({"SADD", "set:int", n});
        run({"SADD", "set:big", "member with a longer name " + n});
        run({"HSET", "hash:big", n, std::string(100, 'x') + n});
        run({"ZADD", "zset:big", "0." + n, n});
    }
    run({"ZADD", "zset:odd", "-inf", "a", "inf", "b", "-0", "c", "1e300", "d", "0.1", "e"});
    run({"RPUSH", "list:same", "a", "a", "b"});
    for (int i = 1; i <= 20; ++i)
        run({"XADD", "stream", std::to_string(i) + "-1", "k", "v", "n", "1"});
    run({"XGROUP", "CREATE", "stream", "g1", "0"});
    run({"XGROUP", "CREATE", "stream", "g2", "5-1"});
    for (int i = 1; i <= 8; ++i) {
        run({"XCLAIM", "stream", "g1", i % 2 == 0 ? "alice" : "bob", "0", std::to_string(i) + "-1",
             "TIME", "1600000000000", "RETRYCOUNT", "3", "FORCE", "JUSTID"});
    }
    run({"XADD", "stream:empty", "1-1", "a", "b"});
    run({"XDEL", "stream:empty", "1-1"});
    run({"XGROUP", "CREATE", "stream:empty", "g", "$"});
    run({"PFADD", "hll", "a", "b", "c"});
    run({"SETBIT", "bits", "1000", "1"});
    run({"SET", std::string("odd\r\n\x00 {}key", 12), ""});
    run({"SELECT", "3"});
    run({"SET", "other:db", "1"});
    run({"SELECT", "0"});
}

struct Pair {
    explicit Pair(Engine left = Engine::redis, Engine right = Engine::valkey)
        : source(ServerOptions{left, {}, {}}),
          target(ServerOptions{right, {}, {}}),
          migration(source.port(), target.port()) {}

    Result<VerifyResult> verify(AppliedThrough applied = {}) {
        return redis::make_redis_verifier(migration.context, Direction::forward, applied)->run({});
    }

    RedisServer source;
    RedisServer target;
    Migration migration;
};

VerifyResult value_of(Result<VerifyResult> result) {
    if (!result) FAIL(result.error().message);
    return std::move(*result);
}

std::string rows(const VerifyResult& result) {
    std::string text;
    for (const auto& row : result.samples) {
        text += row.location + " " + row.key + " " + row.kind + "\n";
    }
    return text;
}

}  // namespace

TEST_CASE("verify: equal data on different versions are equal, exodus' own keys do not count") {
    for (const auto& [left, right] :
         {std::pair{Engine::redis, Engine::valkey}, std::pair{Engine::valkey, Engine::redis},
          std::pair{Engine::valkey, Engine::valkey}}) {
        Pair pair(left, right);
        fill(pair.source);
        fill(pair.target);
        pair.target.text({"SET", "exodus:cp:1:forward:0", "1"});
        const auto result = value_of(pair.verify());
        CHECK_MESSAGE(result.clean(), rows(result));
        CHECK(result.source_keys == 2413);
        CHECK(result.target_keys == 2413);
        CHECK(result.compared == 2413);
    }
}

TEST_CASE("verify: finds one planted difference of each kind and nothing else") {
    struct Plant {
        std::string kind;
        std::string key;
        Words on_target;
    };
    const std::vector<Plant> plants = {
        {"value", "str:17", {"SETRANGE", "str:17", "0", "V"}},
        {"missing", "hash:5", {"DEL", "hash:5"}},
        {"extra", "surplus", {"SET", "surplus", "1"}},
        {"expiry", "str:8", {"PEXPIREAT", "str:8", "4000000000009"}},
        {"expiry", "str:12", {"PERSIST", "str:12"}},
        {"expiry", "str:13", {"PEXPIREAT", "str:13", "4000000000009"}},
        {"order", "list:same", {"LMOVE", "list:same", "list:same", "RIGHT", "LEFT"}},
        {"value", "list:big", {"LSET", "list:big", "150", "x"}},
        {"value", "set:7", {"SADD", "set:7", "one more"}},
        {"value", "set:int", {"SREM", "set:int", "299"}},
        {"value", "hash:big", {"HSET", "hash:big", "299", "other"}},
        {"value", "zset:odd", {"ZADD", "zset:odd", "0.10000000000000002", "e"}},
        {"value", "zset:odd", {"ZADD", "zset:odd", "-1", "c"}},
        {"type", "bits", {"RENAME", "hll", "bits"}},
        {"groups", "stream", {"XACK", "stream", "g1", "3-1"}},
        {"groups",
         "stream",
         {"XCLAIM", "stream", "g1", "carol", "0", "3-1", "RETRYCOUNT", "3", "JUSTID"}},
        {"groups",
         "stream",
         {"XCLAIM", "stream", "g1", "bob", "0", "3-1", "RETRYCOUNT", "4", "JUSTID"}},
        {"groups", "stream", {"XGROUP", "SETID", "stream", "g2", "6-1"}},
        {"groups", "stream:empty", {"XGROUP", "DESTROY", "stream:empty", "g"}},
        {"value", "stream", {"XDEL", "stream", "20-1"}},
        {"value", "stream:empty", {"XSETID", "stream:empty", "9-9"}},
    };
    Pair pair;
    fill(pair.source);
    for (const auto& plant : plants) {
        CAPTURE(plant.key);
        CAPTURE(plant.kind);
        CAPTURE(plant.on_target.front());
        CAPTURE(plant.on_target.back());
        pair.target.text({"FLUSHALL"});
        fill(pair.target);
        const bool type_change = plant.kind == "type";
        if (type_change) {
            pair.target.text({"DEL", "bits"});
            pair.target.text({"RPUSH", "bits", "1"});
        } else {
            const auto reply = pair.target.text(plant.on_target);
            REQUIRE(reply.find("(error)") == std::string::npos);
        }
        const auto result = value_of(pair.verify());
        REQUIRE_MESSAGE(result.samples.size() == 1, rows(result));
        CHECK(result.samples[0].key == plant.key);
        CHECK(result.samples[0].kind == plant.kind);
        CHECK(result.missing + result.extra + result.different == 1);
        CHECK(result.unresolved == 0);
        // The open row is read again in the hold: still different, then repaired and clean.
        auto verifier = redis::make_redis_verifier(pair.migration.context, Direction::forward, {});
        CHECK(!value_of(verifier->final_check({}, soon())).clean());
    }
    pair.target.text({"FLUSHALL"});
    fill(pair.target);
    auto verifier = redis::make_redis_verifier(pair.migration.context, Direction::forward, {});
    CHECK(
        value_of(verifier->final_check({"0:stream", "0:str:1", "3:other:db", "0:nowhere"}, soon()))
            .clean());
    pair.target.text({"APPEND", "str:1", "x"});
    CHECK(value_of(verifier->final_check({"0:str:1"}, soon())).different == 1);
    CHECK(value_of(verifier->final_check({"0:exodus:x"}, soon())).compared <= 1);
    CHECK(!verifier->final_check({"nonsense"}, soon()));
}

TEST_CASE("verify: big keys are read in pages and still compared element by element") {
    Pair pair;
    for (RedisServer* server : {&pair.source, &pair.target}) {
        const std::string blob(60'000, 'b');
        for (int i = 0; i < 200; ++i) {
            const std::string n = std::to_string(i);
            server->command({"HSET", "hash", n, blob + n});
            server->command({"SADD", "set", n + blob});
            server->command({"ZADD", "zset", n, n + blob});
            server->command({"RPUSH", "list", blob + n});
            server->command({"XADD", "stream", n + "-1", "f", blob});
            server->command({"APPEND", "string", blob});
        }
        server->command({"XGROUP", "CREATE", "stream", "g", "0"});
        server->command({"XCLAIM", "stream", "g", "c", "0", "5-1", "RETRYCOUNT", "2", "TIME",
                         "1600000000000", "FORCE", "JUSTID"});
    }
    CHECK(value_of(pair.verify()).clean());
    pair.target.command({"HSET", "hash", "100", "x"});
    pair.target.command({"SREM", "set", "100" + std::string(60'000, 'b')});
    pair.target.command({"ZINCRBY", "zset", "0.5", "100" + std::string(60'000, 'b')});
    pair.target.command({"LSET", "list", "100", "x"});
    pair.target.command({"XACK", "stream", "g", "5-1"});
    pair.target.command({"SETRANGE", "string", "5000000", "x"});
    const auto result = value_of(pair.verify());
    CHECK(result.different == 6);
    CHECK(result.samples.size() == 6);
}

TEST_CASE("verify: running writes cause no false rows; a real difference beside them is found") {
    // The target is a real replica: its own offset says what is applied.
    RedisServer source;
    RedisServer target(ServerOptions{Engine::redis,
                                     {"replicaof 127.0.0.1 " + std::to_string(source.port()),
                                      "replica-read-only no", "repl-diskless-sync-delay 0"},
                                     {}});
    REQUIRE(
        eventually(milliseconds(20000), [&] { return target.info("master_link_status") == "up"; }));
    fill(source);
    Migration migration(source.port(), target.port());
    auto probe = target.connect();
    const AppliedThrough applied = [&](const Position& position) -> Result<bool> {
        const auto reply = send_command(probe.get(), {"INFO", "replication"});
        const std::string text(reply->str, reply->len);
        const auto at = text.find("slave_repl_offset:");
        REQUIRE(at != std::string::npos);
        const auto wanted = std::stoll(position.text.substr(position.text.find(':') + 1));
        return std::stoll(text.substr(at + 18)) >= wanted;
    };
    std::atomic<bool> stop = false;
    std::vector<std::thread> writers;
    for (int w = 0; w < 3; ++w) {
        writers.emplace_back([&, w] {
            auto context = source.connect();
            for (uint64_t i = 0; !stop; ++i) {
                const std::string n = std::to_string(i % 97 + static_cast<uint64_t>(w) * 100);
                send_command(context.get(), {"INCR", "hot:counter"});
                send_command(context.get(), {"APPEND", "str:" + n, "x"});
                send_command(context.get(), {"SADD", "set:" + n, std::to_string(i)});
                send_command(context.get(), {"SPOP", "set:" + n});
                send_command(context.get(), {"SET", "short:" + n, "1", "PX", "40"});
                send_command(context.get(), {"XADD", "stream", "MAXLEN", "50", "*", "a", n});
                send_command(context.get(), {"XREADGROUP", "GROUP", "g1", "carol", "COUNT", "1",
                                             "STREAMS", "stream", ">"});
                send_command(context.get(), {"LPUSH", "list:same", "a"});
                send_command(context.get(), {"RPOP", "list:same"});
                send_command(context.get(), {"DEL", "hash:" + n});
                send_command(context.get(), {"HSET", "hash:" + n, "f", std::to_string(i)});
            }
        });
    }
    const auto run = [&] {
        return redis::make_redis_verifier(migration.context, Direction::forward, applied)->run({});
    };
    auto clean = run();
    target.command({"SET", "str:700", "planted"});
    target.command({"SADD", "set:700", "planted"});
    auto planted = run();
    stop = true;
    for (auto& writer : writers) writer.join();
    if (clean) MESSAGE(rows(*clean));
    const auto undisturbed = value_of(std::move(clean));
    CHECK_MESSAGE(undisturbed.clean(), rows(undisturbed));
    const auto result = value_of(std::move(planted));
    CHECK_MESSAGE(result.different == 2, rows(result));
    CHECK(result.missing + result.extra == 0);
    CHECK(result.unresolved == 0);
}

TEST_CASE(
    "verify: gives up when the other side does not follow, and a stopped run goes on where it "
    "was") {
    Pair pair;
    fill(pair.source);
    fill(pair.target);
    pair.target.text({"DEL", "str:1"});
    int calls = 0;
    const AppliedThrough dies = [&](const Position& position) -> Result<bool> {
        CHECK(position.text.find(':') == 40);
        if (++calls > 3) return fail(ErrorCode::unreachable, "the mover died");
        return true;
    };
    // Offsets stand still on idle servers; a writer moves them so that every chunk asks.
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        auto context = pair.source.connect();
        while (!stop) send_command(context.get(), {"PUBLISH", "c", "m"});
    });
    auto replica_feed = pair.source.text({"CONFIG", "SET", "repl-diskless-sync-delay", "0"});
    auto broken = redis::make_redis_verifier(pair.migration.context, Direction::forward, dies);
    uint64_t seen = 0;
    auto result = broken->run([&](const VerifyProgress& progress) { seen = progress.done; });
    stop = true;
    writer.join();
    if (!result) CHECK(result.error().code == ErrorCode::unreachable);

    // A run that is cut after the first database's scan: take its cursor, as a kill would leave it.
    MemoryJournal& journal = pair.migration.journal;
    journal.positions.clear();
    struct Stop {};
    auto first = redis::make_redis_verifier(pair.migration.context, Direction::forward, {});
    uint64_t done_before = 0;
    std::map<std::string, std::map<std::string, std::string>> kept;
    const auto whole = first->run([&](const VerifyProgress& progress) {
        if (kept.empty() && !journal.positions["verify:forward"].empty()) {
            kept = journal.positions;
            done_before = progress.done;
        }
    });
    REQUIRE(whole);
    REQUIRE(!kept.empty());
    journal.positions = kept;
    auto second = redis::make_redis_verifier(pair.migration.context, Direction::forward, {});
    uint64_t first_done = 0;
    const auto resumed = value_of(second->run([&](const VerifyProgress& progress) {
        if (first_done == 0) first_done = progress.done;
    }));
    CHECK(first_done >= done_before);
    CHECK(resumed.source_keys == whole->source_keys);
    CHECK(resumed.target_keys == whole->target_keys);
    CHECK(resumed.missing == 1);
    CHECK(rows(resumed) == rows(*whole));
    // Of other servers or another configuration nothing is taken over.
    journal.positions = kept;
    pair.migration.settings.config_hash = "changed";
    auto third = redis::make_redis_verifier(pair.migration.context, Direction::forward, {});
    CHECK(value_of(third->run({})).source_keys == whole->source_keys);
}

TEST_CASE("recheck: equal data are a matter of timing, different ones are confirmed") {
    Pair pair;
    fill(pair.source);
    fill(pair.target);
    const auto pair_of = [](const std::string& request) {
        ExchangePair exchange;
        exchange.request = request;
        exchange.left = "$1\r\na\r\n";
        exchange.right = "$1\r\nb\r\n";
        return exchange;
    };
    auto rechecker = redis::make_redis_rechecker(pair.migration.context, {});
    const auto get = pair_of("*2\r\n$3\r\nGET\r\n$5\r\nstr:1\r\n");
    CHECK(rechecker->recheck(get) == RecheckOutcome::equal);
    pair.target.command({"SET", "str:1", "other"});
    CHECK(rechecker->recheck(get) == RecheckOutcome::confirmed);
    pair.source.command({"SET", "str:1", "other"});
    CHECK(rechecker->recheck(get) == RecheckOutcome::equal);
    // Not a read, no keys, not a request.
    CHECK(rechecker->recheck(pair_of("*2\r\n$3\r\nDEL\r\n$5\r\nstr:1\r\n")) ==
          RecheckOutcome::not_comparable);
    CHECK(rechecker->recheck(pair_of("*1\r\n$6\r\nDBSIZE\r\n")) == RecheckOutcome::not_comparable);
    CHECK(rechecker->recheck(pair_of("nonsense")) == RecheckOutcome::not_comparable);
    // The same data, answered differently: OBJECT ENCODING of the two versions.
    CHECK(rechecker->recheck(pair_of("*3\r\n$6\r\nOBJECT\r\n$8\r\nENCODING\r\n$5\r\nset:3\r\n")) ==
          RecheckOutcome::confirmed);
    auto noise = get;
    noise.aa = true;
    CHECK(rechecker->recheck(noise) == RecheckOutcome::equal);
    // Another database, and after the server closed our connections.
    auto elsewhere = pair_of("*2\r\n$3\r\nGET\r\n$8\r\nother:db\r\n");
    elsewhere.database = 3;
    pair.source.command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
    auto lost = rechecker->recheck(elsewhere);
    if (!lost) lost = rechecker->recheck(elsewhere);
    CHECK(lost == RecheckOutcome::equal);
}
