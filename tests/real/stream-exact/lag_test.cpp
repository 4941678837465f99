// The lag that status tells: never less than the truth.
#include <doctest/doctest.h>

#include "families/redis/client.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

int64_t applied_offset(const MovementStatus& status) {
    const auto at = redis::StreamPosition::parse(status.applied.text);
    return at ? at->offset : -1;
}

TEST_CASE("the lag is not known before what was written meanwhile is applied") {
    RedisServer source({.engine = Engine::redis, .config = {"repl-backlog-size 64mb"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 1, 50);
    const TempDir directory;
    {
        Mover mover(settings_between(source.port(), target.port()), directory.path());
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
    }
    // So much that the lane is there before all of it was read.
    const std::string large(1 << 20, 'x');
    for (int i = 0; i < 40; ++i) source.text({"SET", "large:" + std::to_string(i), large});
    const int64_t end = std::stoll(source.info("master_repl_offset"));
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.lane_stall_ms = 300});
    CHECK_FALSE(mover.forward->status().lag_ms);
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    MovementStatus status;
    bool behind = false;
    REQUIRE(eventually(milliseconds(20'000), [&] {
        status = mover.forward->status();
        behind = behind || status.lag_bytes > 0;
        return status.lag_ms.has_value();
    }));
    CHECK(behind);
    CHECK(applied_offset(status) >= end);
}

TEST_CASE("a source that is not heard is not one without lag") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 1, 50);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    const auto lag = [&] { return mover.forward->status().lag_ms.value_or(-1); };
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
    REQUIRE(eventually(milliseconds(20'000), [&] { return lag() == 0; }));
    REQUIRE(source.text({"SAVE"}) == "OK");
    source.shutdown();
    CHECK(eventually(milliseconds(20'000), [&] { return lag() > 1'000; }));
    source.start();
    CHECK(eventually(milliseconds(20'000), [&] { return lag() == 0; }));
}

}  // namespace
}  // namespace exodus::test
