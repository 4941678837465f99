// The verifier on real servers of different versions: equal data are equal, one planted difference
// of each kind is found and nothing else, running writes cause no false rows, a killed run goes on,
// and the re-check of answers agrees.
#include <atomic>
#include <doctest/doctest.h>
#include <thread>

#include "families/redis/movement.h"
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

    Result<VerifyResult> verify() {
        return redis::make_redis_verifier(migration.context, Direction::forward, {})->run({});
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

/// A real movement between the servers, as the verifier and the re-checker see it.
struct Followed {
    Followed()
        : migration(source.port(), target.port()),
          context{migration.settings, *migration.dialer, migration.journal, directory.path()} {
        fill(source);
        movement = redis::make_redis_movement(context, Direction::forward);
        REQUIRE(movement->set_mode(MovementMode::apply));
        REQUIRE(eventually(milliseconds(20'000),
                           [&] { return movement->status().stage == MovementStage::following; }));
    }
    ~Followed() { movement->stop(); }

    Following following() {
        return {[this](const Position& position) { return movement->applied_through(position); },
                [this](uint64_t ticket, const Position& position, milliseconds span) {
                    return movement->stand(ticket, position, span);
                },
                [this](uint64_t ticket) -> Result<bool> { return movement->go_on(ticket); }};
    }
    Result<VerifyResult> verify() {
        return redis::make_redis_verifier(context, Direction::forward, following())->run({});
    }

    RedisServer source{ServerOptions{Engine::redis, {}, {}}};
    RedisServer target{ServerOptions{Engine::valkey, {}, {}}};
    Migration migration;
    TempDir directory;
    FamilyContext context;
    std::unique_ptr<Movement> movement;
};

/// Threads that write until the end of the scope.
class Writers {
  public:
    void add(RedisServer& server, std::function<void(redisContext*, uint64_t)> write) {
        threads_.emplace_back([this, &server, write = std::move(write)] {
            auto context = server.connect();
            for (uint64_t i = 0; !stop_; ++i) {
                write(context.get(), i);
                ++rounds_;
            }
        });
    }
    ~Writers() {
        stop_ = true;
        for (auto& thread : threads_) thread.join();
    }
    [[nodiscard]] uint64_t rounds() const { return rounds_; }

  private:
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> rounds_{0};
    std::vector<std::thread> threads_;
};

/// Keys of every type that change thousands of times a second and never rest.
void write_hot(redisContext* context, uint64_t i) {
    const std::string n = std::to_string(i);
    const std::vector<Words> words{{"INCR", "hot:counter"},
                                   {"RPUSH", "hot:list", n},
                                   {"LPOP", "hot:list"},
                                   {"HINCRBY", "hot:hash", "f", "1"},
                                   {"ZINCRBY", "hot:zset", "1", "m"},
                                   {"SADD", "hot:set", n},
                                   {"SPOP", "hot:set"},
                                   {"XADD", "hot:stream", "MAXLEN", "20", "*", "n", n},
                                   {"SET", "hot:volatile", n, "PX", "60000"}};
    for (int round = 0; round < 4; ++round) {
        for (const auto& command : words) {
            std::vector<const char*> arguments;
            std::vector<std::size_t> sizes;
            for (const auto& word : command) {
                arguments.push_back(word.data());
                sizes.push_back(word.size());
            }
            redisAppendCommandArgv(context, static_cast<int>(command.size()), arguments.data(),
                                   sizes.data());
        }
    }
    for (std::size_t k = 0; k < 4 * words.size(); ++k) {
        void* reply = nullptr;
        if (redisGetReply(context, &reply) == REDIS_OK) freeReplyObject(reply);
    }
}

TEST_CASE("verify: running writes cause no false rows; a real difference beside them is found") {
    Followed pair;
    Writers writers;
    for (int w = 0; w < 3; ++w) {
        writers.add(pair.source, [w](redisContext* context, uint64_t i) {
            const std::string n = std::to_string(i % 97 + static_cast<uint64_t>(w) * 100);
            send_command(context, {"INCR", "hot:counter"});
            send_command(context, {"APPEND", "str:" + n, "x"});
            send_command(context, {"SADD", "set:" + n, std::to_string(i)});
            send_command(context, {"SPOP", "set:" + n});
            send_command(context, {"SET", "short:" + n, "1", "PX", "40"});
            send_command(context, {"XADD", "stream", "MAXLEN", "50", "*", "a", n});
            send_command(context, {"XREADGROUP", "GROUP", "g1", "carol", "COUNT", "1", "STREAMS",
                                   "stream", ">"});
            send_command(context, {"LPUSH", "list:same", "a"});
            send_command(context, {"RPOP", "list:same"});
            send_command(context, {"DEL", "hash:" + n});
            send_command(context, {"HSET", "hash:" + n, "f", std::to_string(i)});
        });
    }
    const auto undisturbed = value_of(pair.verify());
    CHECK_MESSAGE(undisturbed.clean(), rows(undisturbed));
    pair.target.command({"SET", "str:700", "planted"});
    pair.target.command({"SADD", "set:700", "planted"});
    const auto result = value_of(pair.verify());
    CHECK_MESSAGE(result.different == 2, rows(result));
    CHECK(result.missing + result.extra == 0);
    CHECK(result.unresolved == 0);
}

TEST_CASE(
    "verify and re-check: keys that never rest are proven equal, and different when they are") {
    Followed pair;
    Writers writers;
    for (int w = 0; w < 2; ++w) writers.add(pair.source, write_hot);
    REQUIRE(eventually(milliseconds(20'000), [&] { return writers.rounds() > 200; }));
    const auto equal = value_of(pair.verify());
    CHECK_MESSAGE(equal.clean(), rows(equal));
    auto rechecker = redis::make_redis_rechecker(pair.context, pair.following());
    const auto ask = [&](const Words& words) {
        ExchangePair exchange;
        exchange.request = "*" + std::to_string(words.size()) + "\r\n";
        for (const auto& word : words)
            exchange.request += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        exchange.left = ":1\r\n";
        exchange.right = ":2\r\n";
        return rechecker->recheck(exchange);
    };
    CHECK(ask({"GET", "hot:counter"}) == RecheckOutcome::equal);
    CHECK(ask({"LRANGE", "hot:list", "0", "-1"}) == RecheckOutcome::equal);
    CHECK(ask({"XLEN", "hot:stream"}) == RecheckOutcome::equal);
    CHECK(ask({"MGET", "hot:counter", "hot:volatile"}) == RecheckOutcome::equal);

    pair.target.command({"INCRBY", "hot:counter", "1000000"});
    pair.target.command({"HSET", "hot:hash", "planted", "1"});
    pair.target.command({"ZADD", "hot:zset", "5", "planted"});
    pair.target.command({"RPUSH", "hot:quiet", "extra"});
    CHECK(ask({"GET", "hot:counter"}) == RecheckOutcome::confirmed);
    CHECK(ask({"HGET", "hot:hash", "f"}) == RecheckOutcome::equal);
    CHECK(ask({"HGETALL", "hot:hash"}) == RecheckOutcome::confirmed);
    const auto planted = value_of(pair.verify());
    CHECK_MESSAGE(planted.different == 3, rows(planted));
    CHECK(planted.extra == 1);
    CHECK(planted.missing + planted.unresolved == 0);
    const auto end = pair.movement->end_position();
    REQUIRE(end);
    CHECK(eventually(milliseconds(10'000),
                     [&] { return pair.movement->applied_through(*end).value_or(false); }));
}

TEST_CASE("stand: one at a time, it ends by itself, and what was read too late does not count") {
    Followed pair;
    auto& movement = *pair.movement;
    const auto ticket = movement.stand(0, {}, milliseconds(5'000));
    REQUIRE(ticket);
    const auto second = movement.stand(0, {}, milliseconds(5'000));
    REQUIRE_FALSE(second);
    CHECK(second.error().code == ErrorCode::locked);
    // While it stands nothing is applied; up to the position everything is, and nothing more.
    pair.source.text({"SET", "stand", "1"});
    const auto first_end = movement.end_position();
    REQUIRE(first_end);
    pair.source.text({"SET", "stand", "2"});
    CHECK(pair.target.text({"GET", "stand"}) == "(nil)");
    const auto there = movement.stand(*ticket, *first_end, milliseconds(0));
    if (there) CHECK(pair.target.text({"GET", "stand"}) == "1");
    const bool stood = movement.go_on(*ticket);
    CHECK((stood || !there));  // the span is half a second at most: a slow machine may be too late
    CHECK(eventually(milliseconds(10'000), [&] {
        return pair.target.text({"GET", "stand"}) == "2";
    }));
    const auto forgotten = movement.stand(0, {}, milliseconds(50));
    REQUIRE(forgotten);
    pair.source.text({"SET", "stand", "3"});
    CHECK(eventually(milliseconds(10'000), [&] {
        return pair.target.text({"GET", "stand"}) == "3";
    }));
    CHECK_FALSE(movement.go_on(*forgotten));
    const auto late = movement.stand(0, {}, milliseconds(500));
    REQUIRE(late);
    const auto passed = movement.stand(*late, *first_end, milliseconds(0));
    REQUIRE_FALSE(passed);
    CHECK((passed.error().code == ErrorCode::gap || passed.error().code == ErrorCode::timeout));
    movement.go_on(*late);
}

TEST_CASE(
    "verify: gives up when the other side does not follow, and a stopped run goes on where it "
    "was") {
    Pair pair;
    fill(pair.source);
    fill(pair.target);
    pair.target.text({"DEL", "str:1"});
    int calls = 0;
    const auto dies = [&](const Position& position) -> Result<bool> {
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
    auto broken =
        redis::make_redis_verifier(pair.migration.context, Direction::forward, {dies, {}, {}});
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
