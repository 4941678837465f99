// How fast the copy and the apply are; prints, asserts nothing about time. Run: real_stream-exact
// --test-case="rates*" --no-skip
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/clock.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

void pipeline(redisContext* context, int count, const std::function<void(int)>& append) {
    for (int done = 0; done < count;) {
        const int part = std::min(1000, count - done);
        for (int i = 0; i < part; ++i) append(done + i);
        for (int i = 0; i < part; ++i) {
            void* reply = nullptr;
            REQUIRE(redisGetReply(context, &reply) == REDIS_OK);
            freeReplyObject(reply);
        }
        done += part;
    }
}

TEST_CASE("rates of copy and apply" * doctest::skip()) {
    RedisServer source({.engine = Engine::redis, .config = {"repl-backlog-size 512mb"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    const auto context = source.connect();
    constexpr int kKeys = 300'000;
    const std::string value(64, 'v');
    pipeline(context.get(), kKeys,
             [&](int i) { redisAppendCommand(context.get(), "SET key:%d %s", i, value.c_str()); });
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    int64_t began = steady_us();
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(60'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    REQUIRE(mover.caught_up(*mover.forward, milliseconds(30'000)));
    fmt::print("copy: {:.0f} keys/s\n", kKeys / (static_cast<double>(steady_us() - began) * 1e-6));
    mover.forward->stop();
    constexpr int kWrites = 600'000;
    pipeline(context.get(), kWrites, [&](int i) {
        redisAppendCommand(context.get(), i % 2 == 0 ? "SET key:%d %s" : "APPEND key:%d %s",
                           i * 7919 % kKeys, "0123456789");
    });
    Mover again(settings_between(source.port(), target.port()), directory.path());
    began = steady_us();
    REQUIRE(again.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(again.caught_up(*again.forward, milliseconds(90'000)));
    fmt::print("apply behind a restart (doubt: keys are copied again): {:.0f} ops/s\n",
               kWrites / (static_cast<double>(steady_us() - began) * 1e-6));
    began = steady_us();
    pipeline(context.get(), kWrites, [&](int i) {
        redisAppendCommand(context.get(), i % 2 == 0 ? "SET key:%d %s" : "APPEND key:%d %s",
                           i * 7919 % kKeys, "0123456789");
    });
    const double written = static_cast<double>(steady_us() - began) * 1e-6;
    REQUIRE(again.caught_up(*again.forward, milliseconds(90'000)));
    fmt::print("apply while written: {:.0f} ops/s (the load alone took {:.1f} s)\n",
               kWrites / (static_cast<double>(steady_us() - began) * 1e-6), written);
}

}  // namespace
}  // namespace exodus::test
