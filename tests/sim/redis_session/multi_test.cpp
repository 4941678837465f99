// Transactions around a cutover: each request of a MULTI sent at each moment of a hold, with the
// switch done and with it aborted. Nothing of a transaction that writes may meet a fence, neither
// that of the losing side nor one that still stands on the gaining side, and the client must not
// notice anything.
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

/// before C1, in the hold, fenced, authority moved (or still fenced, when it aborts), released
constexpr int kMoments = 5;

struct Script {
    std::vector<std::string> requests;
    std::string answer;
};

void no_strays(World& world) {
    for (const FakeServer& server : world.servers) {
        for (const std::string& stray : server.strays) FAIL("met a fence: ", stray);
    }
}

/// Sends request i at moment `at[i]`; then all answers must be there.
void play(World& world, const Script& script, const std::vector<int>& at, bool aborts) {
    const uint64_t client = world.connect();
    SimCutover cutover(world);
    std::size_t next = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
        if (moment == 1) cutover.hold();
        if (moment == 2) {
            REQUIRE(cutover.quiet());
            cutover.fence();
        }
        if (moment == 3 && !aborts) cutover.move();
        if (moment == 4) cutover.release();
        for (; next < at.size() && at[next] == moment; ++next)
            world.write(client, script.requests[next]);
        world.settle_for(30'000);
    }
    world.settle_for(100'000);
    no_strays(world);
    CHECK(world.received(client) == script.answer);
    CHECK(world.brain->quiescence().writes_in_flight == 0);
    CHECK(world.brain->quiescence().held == 0);
}

/// Every way to spread the requests over the moments.
template <class Each>
void each_spread(std::size_t requests, const Each& each) {
    std::vector<int> at(requests, 0);
    for (;;) {
        each(at);
        std::size_t i = requests;
        while (i > 0 && at[i - 1] == kMoments - 1) --i;
        if (i == 0) return;
        const int moment = at[i - 1] + 1;
        for (; i <= requests; ++i) at[i - 1] = moment;
    }
}

void set_fence(World& world, Side side) { world.server(side).fenced = true; }

std::string text(const std::vector<int>& at) {
    std::string out;
    for (const int moment : at) out += std::to_string(moment);
    return out;
}

void at_every_moment(const Script& script) {
    for (const bool sharing : {true, false}) {
        for (const bool aborts : {false, true}) {
            each_spread(script.requests.size(), [&](const std::vector<int>& at) {
                CAPTURE(sharing);
                CAPTURE(aborts);
                CAPTURE(text(at));
                World world(sharing);
                set_fence(world, Side::target);  // of an earlier rollback
                play(world, script, at, aborts);
            });
        }
    }
}

}  // namespace

TEST_CASE("MULTI that writes, each request at each moment of a hold") {
    at_every_moment({{command({"MULTI"}), command({"GET", "n"}), command({"INCR", "n"}),
                      command({"APPEND", "a", "x"}), command({"EXEC"}), command({"INCR", "n"})},
                     "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:1\r\n:1\r\n:2\r\n"});
}

TEST_CASE("MULTI with SELECT and a script inside, and one that is discarded") {
    at_every_moment({{command({"MULTI"}), command({"SELECT", "2"}),
                      command({"EVAL", "return redis.call('incr', KEYS[1])", "1", "n"}),
                      command({"EXEC"}), command({"INCR", "n"})},
                     "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:1\r\n:2\r\n"});
    at_every_moment(
        {{command({"MULTI"}), command({"INCR", "n"}), command({"DISCARD"}), command({"INCR", "n"})},
         "+OK\r\n+QUEUED\r\n+OK\r\n:1\r\n"});
}

TEST_CASE("MULTI that only reads goes on in a hold") {
    World world;
    set_fence(world, Side::target);
    SimCutover cutover(world);
    cutover.hold();
    const uint64_t client = world.connect();
    world.write(client, command({"MULTI"}) + command({"GET", "n"}) + command({"EXEC"}));
    world.settle_for(50'000);
    CHECK(world.received(client) == "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    CHECK(world.brain->quiescence().held == 0);
}

TEST_CASE(
    "WATCH, MULTI, EXEC at each moment: run once or answered nil, never run against the watch") {
    const std::vector<std::string> requests{command({"WATCH", "n"}), command({"MULTI"}),
                                            command({"INCR", "n"}), command({"EXEC"})};
    for (const bool aborts : {false, true}) {
        each_spread(requests.size(), [&](const std::vector<int>& at) {
            CAPTURE(aborts);
            CAPTURE(text(at));
            World world;
            set_fence(world, Side::target);
            // Watched on one side and run on the other: the watch is broken, and EXEC says so.
            const int moved_at = 3;
            const bool crossed = !aborts && at[0] < moved_at && at[3] >= 1;
            const std::string before = "+OK\r\n+OK\r\n+QUEUED\r\n";
            play(world, {requests, before + (crossed ? "*-1\r\n" : "*1\r\n:1\r\n")}, at, aborts);
            auto& strings = world.server(world.brain_route_.writes).data.strings[0];
            CHECK(strings["n"] == (crossed ? "" : "1"));
        });
    }
}

TEST_CASE("a hold that runs over refuses a queued write; EXEC then answers EXECABORT, once") {
    World world;
    const uint64_t client = world.connect();
    world.write(client, command({"MULTI"}) + command({"GET", "n"}));
    world.settle_for(50'000);
    SimCutover cutover(world);
    cutover.hold(world.wall_now_us() / 1000 + 300);
    world.write(client, command({"INCR", "n"}) + command({"INCR", "n"}) + command({"EXEC"}) +
                            command({"GET", "n"}));
    world.settle_for(100'000);
    CHECK(world.received(client) == "+OK\r\n+QUEUED\r\n");
    cutover.fence();
    world.settle_for(500'000);
    const std::string aborted =
        "+OK\r\n+QUEUED\r\n-TRYAGAIN exodus: writes are paused for a switch\r\n+QUEUED\r\n"
        "-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n";
    CHECK(world.received(client) == aborted);
    cutover.release();
    world.write(client, command({"MULTI"}) + command({"INCR", "n"}) + command({"EXEC"}));
    world.settle_for(50'000);
    CHECK(world.received(client) == aborted + "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    no_strays(world);
}

TEST_CASE("MULTI under CLIENT REPLY OFF: what the fence may have refused is queued again") {
    for (const bool aborts : {false, true}) {
        CAPTURE(aborts);
        World world;
        set_fence(world, Side::target);
        const uint64_t client = world.connect();
        world.write(client, command({"CLIENT", "REPLY", "OFF"}) + command({"MULTI"}) +
                                command({"INCR", "n"}));
        SimCutover cutover(world);
        // The queued write is still on its way when the fence rises: nothing can prove it.
        world.settle_for(10'000);
        cutover.hold();
        REQUIRE(cutover.quiet());
        for (auto& [id, conn] : world.server(Side::source).conns) {
            conn.abort_multi = conn.in_multi;
            (void)id;
        }
        cutover.fence();
        if (!aborts) cutover.move();
        world.settle_for(50'000);
        cutover.release();
        world.settle_for(50'000);
        world.write(client,
                    command({"EXEC"}) + command({"CLIENT", "REPLY", "ON"}) + command({"GET", "n"}));
        world.settle_for(50'000);
        CHECK(world.received(client) == "+OK\r\n$1\r\n1\r\n");
        no_strays(world);
    }
}

TEST_CASE(
    "a MULTI too long to be queued again ends with EXECABORT after a switch, runs without one") {
    for (const bool aborts : {false, true}) {
        CAPTURE(aborts);
        World world;
        const uint64_t client = world.connect();
        world.write(client, command({"MULTI"}));
        std::string queued;
        for (std::size_t i = 0; i <= limits::kRedisMultiQueue_max; ++i) {
            world.write(client, command({"INCR", "n"}));
            queued += "+QUEUED\r\n";
        }
        world.settle_for(100'000);
        CHECK((world.received(client) == "+OK\r\n" + queued));
        world.received(client).clear();
        SimCutover cutover(world);
        cutover.hold();
        cutover.fence();
        if (!aborts) cutover.move();
        cutover.release();
        world.settle_for(50'000);
        world.write(client, command({"EXEC"}));
        world.settle_for(100'000);
        CHECK(world.received(client).starts_with(aborts ? "*1001\r\n:1\r\n" : "-EXECABORT "));
        no_strays(world);
    }
}
