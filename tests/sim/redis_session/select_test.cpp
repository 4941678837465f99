// SELECT as the client's own right, and connections that the interlay opens in a database for a
// client that has none: it may have selected before it logged in (redis.md 3.1, 3.2).
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

constexpr const char* kRefused = "-NOPERM this user has no permissions to run the command\r\n";

}  // namespace

TEST_CASE("a client that selected before it logged in needs no right to SELECT") {
    for (const bool own_user : {false, true}) {
        CAPTURE(own_user);
        World world(true, false, own_user);
        FakeServer& server = world.server(Side::source);
        server.no_select = {"ann"};
        server.users["svc"] = "own";
        const uint64_t client = world.connect();
        CHECK(ask(world, client, command({"SELECT", "3"})) == "+OK\r\n");
        CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
        if (own_user) server.need_auth = true;  // the default user selects nothing any more
        server.log.clear();
        CHECK(ask(world, client, command({"SET", "k", "v"})) == "+OK\r\n");
        CHECK(ask(world, client, command({"MULTI"}) + command({"INCR", "n"}) + command({"EXEC"})) ==
              "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
        CHECK(server.data.strings[3]["k"] == "v");
        CHECK(server.data.strings[3]["n"] == "1");
        // Who asks is the client: never the user that selected for it.
        for (const auto& [key, conn] : server.conns) {
            (void)key;
            if (conn.db == 3) CHECK((conn.user == "ann" || conn.user.empty()));
        }
        // Its own SELECT is its own right, and one that is refused changes nothing.
        CHECK(ask(world, client, command({"SELECT", "4"}) + command({"SET", "after", "1"})) ==
              std::string(kRefused) + "+OK\r\n");
        CHECK(server.data.strings[3]["after"] == "1");
        CHECK(server.data.strings[4].empty());
    }
}

TEST_CASE("where nobody may select for it, the client gets the server's refusal") {
    World world;
    FakeServer& server = world.server(Side::source);
    server.no_select = {"ann"};
    const uint64_t client = world.connect();
    CHECK(ask(world, client, command({"SELECT", "3"})) == "+OK\r\n");
    CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
    server.no_select = {"ann", "", "default"};
    CHECK(ask(world, client, command({"GET", "k"})) == kRefused);
    // The login is good all the same.
    server.no_select = {"ann"};
    CHECK(ask(world, client, command({"GET", "k"})) == "$-1\r\n");
}

TEST_CASE("a right to SELECT that is lost while connections stand is lost at once") {
    World world;
    FakeServer& server = world.server(Side::source);
    const uint64_t first = world.connect();
    const uint64_t second = world.connect();
    for (const uint64_t client : {first, second})
        CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
    CHECK(ask(world, first, command({"SELECT", "3"}) + command({"SET", "k", "3"})) ==
          "+OK\r\n+OK\r\n");
    server.no_select = {"ann"};
    CHECK(ask(world, second, command({"SELECT", "3"}) + command({"SET", "k", "0"})) ==
          std::string(kRefused) + "+OK\r\n");
    CHECK(server.data.strings[3]["k"] == "3");
    CHECK(server.data.strings[0]["k"] == "0");
}

TEST_CASE("a SELECT without reply goes with its client over a switch") {
    World world;
    const uint64_t client = world.connect();
    world.write(client, command({"CLIENT", "REPLY", "OFF"}) + command({"SELECT", "3"}) +
                            command({"SET", "k", "1"}));
    world.settle_for(50'000);
    SimCutover cutover(world);
    cutover.hold();
    world.settle_for(200'000);
    REQUIRE(cutover.quiet());
    cutover.fence();
    cutover.move();
    cutover.release();
    world.settle_for(200'000);
    world.write(client, command({"SET", "k", "2"}));
    world.settle_for(200'000);
    CHECK(world.server(Side::target).data.strings[3]["k"] == "2");
    CHECK(world.server(Side::target).data.strings[0].empty());
}
