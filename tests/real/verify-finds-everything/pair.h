// What the tests of the verifier share: two servers of different versions with the same data.
#pragma once

#include <doctest/doctest.h>

#include "families/redis/movement.h"
#include "families/redis/verifier.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

namespace exodus::test {

inline Deadline soon() { return Deadline::in(milliseconds(10'000)); }

using Words = std::vector<std::string>;

/// The same data on both servers, built by commands, with encodings that differ between the
/// versions.
inline void fill(RedisServer& server) {
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

inline VerifyResult value_of(Result<VerifyResult> result) {
    if (!result) FAIL(result.error().message);
    return std::move(*result);
}

inline std::string rows(const VerifyResult& result) {
    std::string text;
    for (const auto& row : result.samples) {
        text += row.location + " " + row.key + " " + row.kind + "\n";
    }
    return text;
}

}  // namespace exodus::test
