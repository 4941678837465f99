// The verifier on real servers of different versions that nothing writes to: equal data are equal,
// one planted difference of each kind is found and nothing else.
#include "pair.h"

using namespace exodus;
using namespace exodus::test;

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
