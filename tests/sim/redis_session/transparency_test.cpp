// What a client could see of shared connections, and must not: other clients' scripts before its
// own requests, ids and names of the server's connections, requests of the interlay's own. Each was
// found by the servers' own test suite (tests/conformance).
#include <algorithm>
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

std::string bulk(const std::string& text) {
    std::string out;
    resp::append_bulk(out, text);
    return out;
}

}  // namespace

TEST_CASE("a script that does not end holds up nobody else") {
    World world;
    const uint64_t first = world.connect();
    const uint64_t second = world.connect();
    CHECK(ask(world, first, command({"SET", "k", "v"})) == "+OK\r\n");
    CHECK(ask(world, second, command({"GET", "k"})) == bulk("v"));
    CHECK(ask(world, first, command({"EVAL", "loop", "0"})).empty());
    CHECK(ask(world, second, command({"GET", "k"})) == bulk("v"));
    CHECK(ask(world, second, command({"SCRIPT", "KILL"})) == "+OK\r\n");
    CHECK(ask(world, world.connect(), command({"GET", "k"})) == bulk("v"));
}

TEST_CASE("CLIENT LIST and INFO tell the ids that clients know") {
    World world;
    const uint64_t first = world.connect();
    const uint64_t second = world.connect();
    const std::string own = std::to_string(kFirstVirtualId);
    const std::string parked = std::to_string(kFirstVirtualId + 1);
    CHECK(ask(world, first, command({"CLIENT", "ID"})) == ":" + own + "\r\n");
    CHECK(ask(world, second, command({"CLIENT", "ID"})) == ":" + parked + "\r\n");
    CHECK(ask(world, second, command({"CLIENT", "SETNAME", "two"})) == "+OK\r\n");
    CHECK(ask(world, second, command({"BLPOP", "none", "0"})).empty());

    CHECK(ask(world, first, command({"CLIENT", "LIST", "ID", parked})) ==
          bulk("id=" + parked + " name=two db=0\n"));
    CHECK(ask(world, first, command({"CLIENT", "LIST", "ID", own})) ==
          bulk("id=" + own + " name= db=0\n"));
    CHECK(ask(world, first, command({"CLIENT", "LIST"})).find("id=" + parked + " name=two") !=
          std::string::npos);
    CHECK(ask(world, first, command({"CLIENT", "SETNAME", "one"})) == "+OK\r\n");
    CHECK(ask(world, first, command({"SELECT", "3"})) == "+OK\r\n");
    CHECK(ask(world, first, command({"CLIENT", "INFO"})) == bulk("id=" + own + " name=one db=3\n"));
    // An id of the server's own, or of nobody, is passed on as it is.
    CHECK(ask(world, first, command({"CLIENT", "LIST", "ID", "5"})) == bulk(""));
    CHECK(ask(world, first, command({"CLIENT", "UNBLOCK", parked})) == ":1\r\n");
    CHECK(ask(world, second, command({"CLIENT", "LIST", "ID", parked})) ==
          bulk("id=" + parked + " name=two db=0\n"));
}

TEST_CASE("CLIENT GETREDIR and TRACKINGINFO tell the id that the client redirects to") {
    World world;
    const uint64_t listener = world.connect();
    const uint64_t client = world.connect();
    const std::string id = std::to_string(kFirstVirtualId);
    const std::string info = "*2\r\n" + bulk("redirect");
    CHECK(ask(world, listener, command({"SUBSCRIBE", "__redis__:invalidate"})) != "");
    CHECK(ask(world, client, command({"CLIENT", "GETREDIR"})) == ":-1\r\n");
    CHECK(ask(world, client, command({"CLIENT", "TRACKING", "ON"})) == "+OK\r\n");
    CHECK(ask(world, client, command({"CLIENT", "GETREDIR"})) == ":0\r\n");
    CHECK(ask(world, client, command({"CLIENT", "TRACKING", "ON", "REDIRECT", id})) == "+OK\r\n");
    for (const bool gone : {false, true}) {  // the id stays what it was named
        if (gone) world.hang_up(listener);
        CHECK(ask(world, client, command({"CLIENT", "GETREDIR"})) == ":" + id + "\r\n");
        CHECK(ask(world, client, command({"CLIENT", "TRACKINGINFO"})) == info + ":" + id + "\r\n");
    }
    CHECK(ask(world, client, command({"CLIENT", "TRACKING", "OFF"})) == "+OK\r\n");
    CHECK(ask(world, client, command({"CLIENT", "TRACKINGINFO"})) == info + ":-1\r\n");
}

TEST_CASE("CLIENT UNBLOCK wakes a client that waits here for replicas") {
    World world;
    const uint64_t client = world.connect();
    int64_t id = kFirstVirtualId;
    const std::string by_error = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    const std::string wait = command({"WAIT", "1", "0"});
    const std::string wait_aof = command({"WAITAOF", "1", "1", "0"});
    for (const std::string& words : {wait, wait_aof}) {
        for (const std::string mode : {"TIMEOUT", "ERROR"}) {
            CAPTURE(words);
            CAPTURE(mode);
            const uint64_t waiting = world.connect();  // WAITAOF ends on a connection of its own
            const std::string unblock = command({"CLIENT", "UNBLOCK", std::to_string(++id), mode});
            const std::string reply = mode == "ERROR" ? by_error
                                      : words == wait ? ":0\r\n"
                                                      : "*2\r\n:0\r\n:0\r\n";
            for (int i = 0; i < (words == wait ? 3 : 1); ++i) {
                world.received(waiting).clear();
                CHECK(ask(world, client, unblock) == ":0\r\n");
                CHECK(ask(world, waiting, words + command({"PING"})).empty());
                CHECK(ask(world, client, unblock) == ":1\r\n");
                CHECK(world.received(waiting) == reply + "+PONG\r\n");
            }
        }
    }
}

TEST_CASE("who may not ask a server for it kills and wakes nobody here") {
    World world;
    const uint64_t victim = world.connect();
    const std::string id = std::to_string(kFirstVirtualId);
    CHECK(ask(world, victim, command({"WAIT", "1", "0"})).empty());
    const uint64_t stranger = world.connect();
    world.server(Side::source).need_auth = true;
    const std::string refused = "-NOAUTH Authentication required.\r\n";
    CHECK(ask(world, stranger, command({"CLIENT", "UNBLOCK", id})) == refused);
    CHECK(ask(world, stranger, command({"CLIENT", "KILL", "ID", id})) == refused);
    CHECK_FALSE(world.is_closed(victim));
    CHECK(world.received(victim).empty());
    world.server(Side::source).need_auth = false;
    CHECK(ask(world, stranger, command({"CLIENT", "KILL", "ID", id})) == ":1\r\n");
    CHECK(world.is_closed(victim));
    // SKIPME is the servers' default.
    const std::string own = std::to_string(kFirstVirtualId + 1);
    CHECK(ask(world, stranger, command({"CLIENT", "KILL", "ID", own})) == ":0\r\n");
    CHECK(ask(world, stranger, command({"PING"})) == "+PONG\r\n");
}

TEST_CASE("a name goes with a client's own connection, never to a shared one") {
    World world;
    const uint64_t named = world.connect();
    const uint64_t other = world.connect();
    CHECK(ask(world, named, command({"CLIENT", "SETNAME", "me"})) == "+OK\r\n");
    CHECK(ask(world, named, command({"CLIENT", "GETNAME"})) == bulk("me"));
    CHECK(ask(world, other, command({"CLIENT", "GETNAME"})) == "$-1\r\n");
    auto& log = world.server(Side::source).slow_log;
    log.clear();
    ask(world, named, command({"GET", "k"}));
    ask(world, other, command({"GET", "k"}));
    CHECK(log == std::vector<std::string>{": GET", ": GET"});
    log.clear();
    ask(world, named, command({"DEBUG", "SLEEP", "0"}));
    CHECK(std::find(log.begin(), log.end(), "me: DEBUG") != log.end());
}

TEST_CASE("CLIENT PAUSE WRITE holds up nobody who reads, and can be ended") {
    World world;
    const uint64_t admin = world.connect();
    const uint64_t writer = world.connect();
    const uint64_t reader = world.connect();
    CHECK(ask(world, writer, command({"SET", "k", "v"})) == "+OK\r\n");
    CHECK(ask(world, admin, command({"CLIENT", "PAUSE", "60000", "WRITE"})) == "+OK\r\n");
    CHECK(ask(world, writer, command({"SET", "k", "w"})).empty());
    CHECK(ask(world, reader, command({"GET", "k"})) == bulk("v"));
    CHECK(ask(world, admin, command({"GET", "k"})) == bulk("v"));
    CHECK(ask(world, admin, command({"CLIENT", "UNPAUSE"})) == "+OK\r\n");
    CHECK(world.received(writer) == "+OK\r\n+OK\r\n");
    CHECK(ask(world, reader, command({"GET", "k"})) == bulk("w"));
}

TEST_CASE("a connection that tracked keys is nobody else's afterwards") {
    World world;
    const uint64_t client = world.connect();
    ask(world, client, command({"CONFIG", "SET", "a", "b"}));
    const auto& conns = world.server(Side::source).conns;
    const std::size_t before = conns.size();
    CHECK(ask(world, client, command({"CLIENT", "TRACKING", "ON"})) == "+OK\r\n");
    CHECK(conns.size() == before);  // the kept one is taken
    CHECK(ask(world, client, command({"CLIENT", "TRACKING", "OFF"})) == "+OK\r\n");
    CHECK(conns.size() == before - 1);
}

TEST_CASE("a MULTI that gets no connection is a transaction that is aborted") {
    World world;
    const uint64_t client = world.connect();
    world.down[0] = true;
    world.write(client, command({"MULTI"}));
    world.settle_for(20'000'000);
    world.down[0] = false;
    world.write(client, command({"INCR", "n"}) + command({"EXEC"}));
    world.settle_for(5'000'000);
    CHECK(world.received(client) ==
          "+OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n");
    CHECK(world.server(Side::source).log.empty());
}

TEST_CASE("what operates the server is followed by no request of the interlay") {
    World world;
    const uint64_t client = world.connect();
    ask(world, client, command({"CONFIG", "SET", "a", "b"}));  // its connection is made and kept
    auto& log = world.server(Side::source).slow_log;
    log.clear();
    ask(world, client, command({"CONFIG", "RESETSTAT"}));
    ask(world, client, command({"ACL", "SETUSER", "x"}));
    ask(world, client, command({"EVAL", "return 1", "1", "k"}));
    CHECK(log.size() >= 3);
    for (const std::string& entry : log)
        CHECK_MESSAGE(entry.find("RESET") == std::string::npos, entry);
}
