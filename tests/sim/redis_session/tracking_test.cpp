// CLIENT TRACKING with REDIRECT: the id that the client names is ours, the one that a server is
// told is its own, inside MULTI and on the other side too.
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

constexpr const char* kNobody = "-ERR The client ID you want redirect to does not exist\r\n";

/// A listener for invalidations, its id as clients know it, and a client that tracks.
struct Tracking {
    World world;
    uint64_t listener = world.connect();
    uint64_t client = world.connect();
    std::string id = std::to_string(kFirstVirtualId);

    Tracking() {
        CHECK(ask(world, listener, command({"CLIENT", "ID"})) == ":" + id + "\r\n");
        CHECK(ask(world, listener, command({"SUBSCRIBE", "__redis__:invalidate"})) != "");
    }
    std::string redirect() const { return command({"CLIENT", "TRACKING", "ON", "REDIRECT", id}); }

    /// What the one connection that tracks on a side redirects to; -1: none does.
    int64_t redirected(Side side) {
        int64_t found = -1;
        for (const auto& [key, conn] : world.server(side).conns) {
            (void)key;
            if (conn.redirect < 0) continue;
            CHECK(found == -1);
            found = conn.redirect;
        }
        return found;
    }
    int64_t listens(Side side) {
        for (const auto& [key, conn] : world.server(side).conns) {
            (void)key;
            if (!conn.channels.empty()) return conn.id;
        }
        return 0;
    }
    void move_to_target() {
        SimCutover cutover(world);
        cutover.hold();
        world.settle_for(100'000);
        cutover.fence();
        cutover.move();
        cutover.release();
        world.settle_for(100'000);
    }
};

}  // namespace

TEST_CASE("REDIRECT inside MULTI names the listener as the server knows it") {
    Tracking the;
    CHECK(ask(the.world, the.client, command({"MULTI"}) + the.redirect() + command({"EXEC"})) ==
          "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    CHECK(the.redirected(Side::source) == the.listens(Side::source));
    // It is known afterwards as if it had been said outside.
    CHECK(ask(the.world, the.client, command({"CLIENT", "GETREDIR"})) == ":" + the.id + "\r\n");
    the.move_to_target();
    CHECK(the.redirected(Side::target) == the.listens(Side::target));
    CHECK(ask(the.world, the.client, command({"CLIENT", "GETREDIR"})) == ":" + the.id + "\r\n");
    CHECK(ask(the.world, the.client,
              command({"MULTI"}) + command({"CLIENT", "TRACKING", "OFF"}) + command({"EXEC"})) ==
          "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    CHECK(the.redirected(Side::target) == -1);
    CHECK(ask(the.world, the.client, command({"CLIENT", "GETREDIR"})) == ":-1\r\n");
}

TEST_CASE("REDIRECT that was queued before a switch names the listener of the other side") {
    Tracking the;
    CHECK(ask(the.world, the.client, command({"MULTI"}) + command({"GET", "k"}) + the.redirect()) ==
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    the.move_to_target();
    CHECK(ask(the.world, the.client, command({"EXEC"})) == "*2\r\n$-1\r\n+OK\r\n");
    CHECK(the.redirected(Side::source) == -1);
    CHECK(the.redirected(Side::target) == the.listens(Side::target));
}

TEST_CASE("a queued REDIRECT that does not run changes nothing") {
    Tracking the;
    CHECK(ask(the.world, the.client, command({"MULTI"}) + the.redirect() + command({"DISCARD"})) ==
          "+OK\r\n+QUEUED\r\n+OK\r\n");
    CHECK(the.redirected(Side::source) == -1);
    // To a client that is gone, or has no connection that could be told.
    the.world.hang_up(the.listener);
    CHECK(ask(the.world, the.client, command({"MULTI"}) + the.redirect() + command({"EXEC"})) ==
          "+OK\r\n+QUEUED\r\n*1\r\n" + std::string(kNobody));
    CHECK(ask(the.world, the.client, command({"CLIENT", "GETREDIR"})) == ":-1\r\n");
    the.world.settle_for(100'000);
    // Nothing lives on its connection any more: it works on a shared one, and follows a switch.
    the.move_to_target();
    CHECK(ask(the.world, the.client, command({"SET", "k", "v"})) == "+OK\r\n");
    CHECK(the.world.server(Side::target).data.strings[0]["k"] == "v");
}
