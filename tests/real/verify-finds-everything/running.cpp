// The verifier beside a stream that runs: writes cause no false rows, a killed run goes on, the
// stream stands when asked, and the re-check of answers agrees.
#include <atomic>
#include <thread>

#include "families/redis/rechecker.h"
#include "pair.h"

using namespace exodus;
using namespace exodus::test;

namespace {

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

}  // namespace

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
