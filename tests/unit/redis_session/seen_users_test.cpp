// Who came through the interlay, across its restarts: nothing is forgotten, nothing is made up.
#include "families/redis/seen_users.h"

#include <doctest/doctest.h>
#include <memory>

#include "base/limits.h"
#include "tests/sim/redis_session/world.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::redis;
using exodus::test::MemoryJournal;

namespace {

using Names = std::vector<std::string>;

const std::array<std::string, 2> kServers{"source:6379", "target:6379"};
constexpr int64_t kNow_ms = 1'700'000'000'000;
constexpr int64_t kDay_ms = 24LL * 3600 * 1000;

std::unique_ptr<SeenUsers> process(MemoryJournal& journal,
                                   const std::array<std::string, 2>& servers = kServers) {
    auto users = std::make_unique<SeenUsers>();
    users->keep_in(journal, servers);
    return users;
}

}  // namespace

TEST_CASE("what was seen and proven outlives the process, for a day") {
    MemoryJournal journal;
    auto users = process(journal);
    users->saw("ann", kNow_ms);
    users->saw("", kNow_ms);
    users->tried("ann", Side::target, true, kNow_ms);
    users->saw("bob", kNow_ms + kDay_ms / 2);
    users.reset();
    users = process(journal);
    CHECK(users->lately(kNow_ms + 1).value() == Names{"", "ann", "bob"});
    CHECK(users->enters("ann", Side::target, kNow_ms + 1));
    CHECK_FALSE(users->enters("ann", Side::source, kNow_ms + 1));
    CHECK_FALSE(users->enters("bob", Side::target, kNow_ms + 1));
    CHECK(users->lately(kNow_ms + kDay_ms).value() == Names{"bob"});
    CHECK_FALSE(users->enters("ann", Side::target, kNow_ms + kDay_ms));
}

TEST_CASE("a refused login ends the proof, also over a restart") {
    MemoryJournal journal;
    auto users = process(journal);
    users->saw("ann", kNow_ms);
    users->tried("ann", Side::target, true, kNow_ms);
    users.reset();
    users = process(journal);
    users->tried("ann", Side::target, false, kNow_ms + 10);
    CHECK_FALSE(users->enters("ann", Side::target, kNow_ms + 20));
    users.reset();
    users = process(journal);
    CHECK(users->lately(kNow_ms + 20).value() == Names{"ann"});
    CHECK_FALSE(users->enters("ann", Side::target, kNow_ms + 20));
}

TEST_CASE("what was proven of another server does not count, who was seen does") {
    MemoryJournal journal;
    auto users = process(journal);
    users->saw("ann", kNow_ms);
    for (const Side side : {Side::source, Side::target}) users->tried("ann", side, true, kNow_ms);
    users.reset();
    users = process(journal, {kServers[0], "elsewhere:6379"});
    CHECK(users->lately(kNow_ms + 1).value() == Names{"ann"});
    CHECK(users->enters("ann", Side::source, kNow_ms + 1));
    CHECK_FALSE(users->enters("ann", Side::target, kNow_ms + 1));
}

TEST_CASE("two processes during a takeover keep what both have seen") {
    MemoryJournal journal;
    auto first = process(journal);
    auto second = process(journal);
    second->saw("bob", kNow_ms);
    second.reset();
    first->saw("ann", kNow_ms);
    first.reset();
    CHECK(process(journal)->lately(kNow_ms).value() == Names{"ann", "bob"});
}

TEST_CASE("a journal that cannot be read is an error, not an empty list") {
    MemoryJournal journal;
    auto users = process(journal);
    users->saw("ann", kNow_ms);
    users.reset();
    journal.positions["sessions"]["users:0"] = "{}";
    CHECK_FALSE(process(journal)->lately(kNow_ms).has_value());
}

TEST_CASE("a session is seen at its first request, and as long as it is there") {
    using sim::ask;
    using sim::command;
    sim::World world;
    const auto now_ms = [&] { return world.wall_now_us() / 1000; };
    SeenUsers& users = world.state.seen;
    const uint64_t ann = world.connect();
    CHECK(ask(world, ann, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
    CHECK(users.lately(now_ms()).value().empty());
    CHECK(ask(world, ann, command({"GET", "k"})) == "$-1\r\n");
    const uint64_t nobody = world.connect();
    CHECK(ask(world, nobody, command({"GET", "k"})) == "$-1\r\n");
    CHECK(users.lately(now_ms()).value() == Names{"", "ann"});
    CHECK(users.enters("ann", Side::source, now_ms()));
    CHECK_FALSE(users.enters("ann", Side::target, now_ms()));
    world.hang_up(nobody);
    world.settle_for(20'000);
    world.advance(kDay_ms * 1000);
    world.settle_for(2'000'000);
    CHECK(users.lately(now_ms()).value() == Names{"ann"});
    // It was let in a day ago; that it is still there proves nothing new.
    CHECK_FALSE(users.enters("ann", Side::source, now_ms()));
}
