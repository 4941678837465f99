// Scores at the edge of their type. A copy by commands keeps every one of them; a server's own
// RESTORE turns -0 into 0 in a small sorted set, which verify must not take for a divergence, since
// copying the key again would never end it.
#include <cmath>
#include <doctest/doctest.h>

#include "families/redis/typed_copy.h"
#include "families/redis/verifier.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

const std::vector<std::pair<std::string, std::string>> kScores{
    {"minus", "-0"},    {"plus", "0"},       {"top", "inf"},
    {"bottom", "-inf"}, {"least", "5e-324"}, {"most", "1.7976931348623157e308"},
    {"tenth", "0.1"},   {"whole", "-3"}};

/// A small sorted set that holds -0: only a skip list can (t_zset.c, zzlInsertAt).
void fill(RedisServer& server, const std::string& key) {
    server.text({"ZADD", key, "0", std::string(100, 'x')});
    for (const auto& [member, score] : kScores) server.text({"ZADD", key, score, member});
    server.text({"ZREM", key, std::string(100, 'x')});
    REQUIRE(server.text({"ZSCORE", key, "minus"}) == "-0");
}

}  // namespace

TEST_CASE("scores: a copy by commands keeps -0, infinities and the smallest numbers") {
    for (const Engine engine : {Engine::redis, Engine::valkey}) {
        RedisServer source(ServerOptions{Engine::redis, {}, {}});
        RedisServer target(ServerOptions{engine, {}, {}});
        fill(source, "z");
        CHECK(source.text({"ZADD", "z", "nan", "x"}).find("not a valid float") !=
              std::string::npos);
        Migration migration(source.port(), target.port());
        auto from = redis::Client::connect(migration.context.dialer,
                                           endpoint_of(Side::source, source.port()));
        auto to = redis::Client::connect(migration.context.dialer,
                                         endpoint_of(Side::target, target.port()));
        REQUIRE(from);
        REQUIRE(to);
        auto read = (*from)->ask(redis::typed_read(redis::ValueKind::zset, "z"));
        REQUIRE(read);
        const auto value = redis::typed_write(redis::ValueKind::zset, "z", *read, -1);
        REQUIRE(value);
        (*to)->append_raw(value->bytes, static_cast<std::size_t>(value->commands));
        auto replies = (*to)->read_all();
        REQUIRE(replies);
        for (const auto& reply : *replies) CHECK_FALSE(reply.is_error());
        CHECK(target.text({"ZCARD", "z"}) == std::to_string(kScores.size()));
        for (const auto& entry : kScores) {
            INFO(entry.first);
            const std::string score = target.text({"ZSCORE", "z", entry.first});
            const double there = std::strtod(score.c_str(), nullptr);
            const double here = std::strtod(entry.second.c_str(), nullptr);
            CHECK(there == here);
            CHECK(std::signbit(there) == std::signbit(here));
        }
    }
}

TEST_CASE("scores: what RESTORE does to -0 is no divergence, any other difference is") {
    RedisServer source(ServerOptions{Engine::redis, {}, {}});
    RedisServer target(ServerOptions{Engine::valkey, {}, {}});
    fill(source, "z");
    const auto dump = source.command({"DUMP", "z"});
    const std::string payload(dump->str, dump->len);
    REQUIRE(target.text({"RESTORE", "z", "0", payload}) == "OK");
    CHECK(target.text({"ZSCORE", "z", "minus"}) == "0");
    Migration migration(source.port(), target.port());
    const auto differing = [&] {
        auto result =
            redis::make_redis_verifier(migration.context, Direction::forward, {})->run({});
        REQUIRE(result);
        CHECK(result->compared == 1);
        return result->different;
    };
    CHECK(differing() == 0);
    for (const char* score : {"5e-324", "-5e-324", "1e-300"}) {
        target.text({"ZADD", "z", score, "minus"});
        CHECK(differing() == 1);
    }
}
