// Shared connections of clients that went away: each is a login on a server, so none stays for
// ever.
#include <algorithm>
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

constexpr int64_t kSecond_us = 1'000'000;

/// Connections that a server has of a user, in a database.
std::ptrdiff_t connections(World& world, Side side, const std::string& user, int database) {
    const auto& conns = world.server(side).conns;
    return std::count_if(conns.begin(), conns.end(), [&](const auto& entry) {
        return entry.second.user == user && entry.second.db == database;
    });
}

uint64_t logged_in(World& world, const std::string& user, const std::string& password) {
    const uint64_t client = world.connect();
    CHECK(ask(world, client, command({"AUTH", user, password}) + command({"GET", "k"})) ==
          "+OK\r\n$-1\r\n");
    return client;
}

}  // namespace

TEST_CASE("the shared connections of a user without clients are closed after a minute") {
    World world;
    const uint64_t ann = logged_in(world, "ann", "secret");
    const uint64_t bob = logged_in(world, "bob", "pass");
    world.hang_up(ann);
    world.settle_for(limits::kRedisUnusedShared_us - 2 * kSecond_us);
    CHECK(connections(world, Side::source, "ann", 0) >= 1);
    world.settle_for(4 * kSecond_us);
    CHECK(connections(world, Side::source, "ann", 0) == 0);
    // A client that is there and silent keeps its own.
    CHECK(connections(world, Side::source, "bob", 0) == 1);
    CHECK(ask(world, bob, command({"SET", "k", "v"})) == "+OK\r\n");
    const uint64_t again = world.connect();
    CHECK(ask(world, again, command({"AUTH", "ann", "secret"}) + command({"GET", "k"})) ==
          "+OK\r\n$1\r\nv\r\n");
}

TEST_CASE("a database that its client has left counts as unused, and can be selected again") {
    World world;
    const uint64_t client = logged_in(world, "ann", "secret");
    CHECK(ask(world, client, command({"SELECT", "3"}) + command({"SET", "k", "three"})) ==
          "+OK\r\n+OK\r\n");
    CHECK(ask(world, client, command({"SELECT", "0"}) + command({"GET", "k"})) == "+OK\r\n$-1\r\n");
    world.settle_for(limits::kRedisUnusedShared_us + 2 * kSecond_us);
    CHECK(connections(world, Side::source, "ann", 3) == 0);
    CHECK(connections(world, Side::source, "ann", 0) == 1);
    CHECK(ask(world, client, command({"SELECT", "3"}) + command({"GET", "k"})) ==
          "+OK\r\n$5\r\nthree\r\n");
}

TEST_CASE("the shadow's connections go like those that they follow; our own stay") {
    World world;
    Route route = world.brain->route();
    route.epoch = 2;
    route.mirror_percent = 100;
    world.brain->adopt(route);
    world.brain->open_service(Side::target);
    const uint64_t ann = logged_in(world, "ann", "secret");
    for (int i = 0; i < 70; ++i) {
        CHECK(ask(world, ann, command({"GET", "k"})) == "$-1\r\n");
        world.settle_for(kSecond_us);
    }
    CHECK(connections(world, Side::target, "ann", 0) == 1);
    world.hang_up(ann);
    world.settle_for(limits::kRedisUnusedShared_us + 2 * kSecond_us);
    CHECK(connections(world, Side::source, "ann", 0) == 0);
    CHECK(connections(world, Side::target, "ann", 0) == 0);
    CHECK(connections(world, Side::target, "", 0) == 1);
}

TEST_CASE("a connection that still owes an answer is closed behind it") {
    World world;
    const uint64_t ann = logged_in(world, "ann", "secret");
    world.server(Side::source).paused = true;  // SET waits for the end of a CLIENT PAUSE
    world.write(ann, command({"SET", "k", "v"}));
    world.settle_for(50'000);
    REQUIRE(world.received(ann) == "+OK\r\n$-1\r\n");
    world.hang_up(ann);
    world.settle_for(limits::kRedisUnusedShared_us + 2 * kSecond_us);
    CHECK(connections(world, Side::source, "ann", 0) == 1);
    CHECK(world.brain->quiescence().writes_in_flight == 1);
    const uint64_t other = world.connect();
    CHECK(ask(world, other, command({"CLIENT", "UNPAUSE"})) == "+OK\r\n");
    world.settle_for(kSecond_us);
    CHECK(world.server(Side::source).data.strings[0]["k"] == "v");
    CHECK(world.brain->quiescence().writes_in_flight == 0);
    CHECK(connections(world, Side::source, "ann", 0) == 0);
}
