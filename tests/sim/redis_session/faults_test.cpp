// Directed runs of the Redis brain: lost connections, refused dials, clients that hang up or do not
// read, and what lives on a connection carried over a switch (redis.md 3.1, 3.3, 9).
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

/// C3 to C8 of a standing hold.
void cut_over(World& world) {
    SimCutover cutover(world);
    cutover.fence();
    cutover.move();
    world.settle_for(20'000);
    cutover.release();
}

void hold(World& world, int64_t deadline_ms = 0) {
    SimCutover(world).hold(deadline_ms);
    world.settle_for(200'000);
}

void switch_to(World& world, Side to) {
    REQUIRE(world.brain_route_.writes != to);
    hold(world);
    REQUIRE(world.brain->quiescence().writes_in_flight == 0);
    cut_over(world);
    world.settle_for(200'000);
}

std::vector<uint64_t> backends(World& world) {
    std::vector<uint64_t> out;
    for (const auto& [id, peer] : world.peers) {
        if (!peer.client && !peer.closed && peer.connected) out.push_back(id);
    }
    return out;
}

void quiet(World& world) {
    CHECK(world.brain->quiescence().writes_in_flight == 0);
    CHECK(world.brain->quiescence().held == 0);
    for (const FakeServer& server : world.servers) CHECK(server.strays.empty());
}

std::string message(const std::string& text, const std::string& channel = "news") {
    std::string out = "*3\r\n";
    resp::append_bulk(out, "message");
    resp::append_bulk(out, channel);
    resp::append_bulk(out, text);
    return out;
}

constexpr const char* kLost = "-ERR exodus: connection to source lost, outcome unknown\r\n";
const std::string kSubscribed = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";

}  // namespace

TEST_CASE(
    "a lost backend: what was written is unknown, what was not is sent again, nothing twice") {
    for (const bool delivered : {false, true}) {
        CAPTURE(delivered);
        World world;
        const uint64_t client = world.connect();
        CHECK(ask(world, client, command({"INCR", "n"})) == ":1\r\n");
        world.write(client, command({"INCR", "n"}));
        world.move(client, 1 << 20);
        const auto links = backends(world);
        REQUIRE(links.size() == 1);
        if (delivered) {
            auto& peer = world.peers.at(links[0]);
            world.server(Side::source).feed(links[0], peer.from_brain);
        }
        world.lose(links[0], CloseReason::error);
        world.write(client, command({"GET", "n"}));
        world.settle_for(500'000);
        CHECK(world.received(client) ==
              ":1\r\n" + std::string(kLost) + "$1\r\n" + (delivered ? "2" : "1") + "\r\n");
        quiet(world);
    }
}

TEST_CASE("a lost connection with WATCH, MULTI or subscriptions is never hidden") {
    World world;
    const uint64_t multi = world.connect();
    CHECK(ask(world, multi, command({"MULTI"}) + command({"INCR", "n"})) == "+OK\r\n+QUEUED\r\n");
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    world.settle_for(100'000);
    CHECK(ask(world, multi, command({"INCR", "n"}) + command({"EXEC"})) ==
          "+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n");
    CHECK(ask(world, multi, command({"INCR", "n"})) == ":1\r\n");
    const uint64_t watcher = world.connect();
    CHECK(ask(world, watcher, command({"WATCH", "n"})) == "+OK\r\n");
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    CHECK(ask(world, watcher, command({"MULTI"}) + command({"INCR", "n"}) + command({"EXEC"})) ==
          "+OK\r\n+QUEUED\r\n*-1\r\n");
    const uint64_t listener = world.connect();
    CHECK(ask(world, listener, command({"SUBSCRIBE", "news"})) == kSubscribed);
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    world.settle_for(100'000);
    CHECK(world.is_closed(listener));
    quiet(world);
}

TEST_CASE("a watch that was lost ends with the transaction that is aborted for another loss") {
    World world;
    const uint64_t client = world.connect();
    CHECK(ask(world, client, command({"WATCH", "n"})) == "+OK\r\n");
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    CHECK(ask(world, client, command({"MULTI"})) == "+OK\r\n");
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    CHECK(ask(world, client, command({"EXEC"})) ==
          "-EXECABORT Transaction discarded because of previous errors.\r\n");
    CHECK(ask(world, client, command({"MULTI"}) + command({"INCR", "n"}) + command({"EXEC"})) ==
          "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    quiet(world);
}

TEST_CASE("nothing behind a QUIT runs, also when it had to wait for earlier answers") {
    for (const bool sharing : {true, false}) {
        for (const auto& before : {command({"SUBSCRIBE", "news"}), command({"INCR", "other"}),
                                   command({"BLPOP", "empty", "0.01"})}) {
            CAPTURE(before);
            World world(sharing);
            const uint64_t client = world.connect();
            world.write(client, before + command({"QUIT"}) + command({"INCR", "n"}) +
                                    command({"INCR", "n"}));
            world.settle_for(200'000);
            CHECK(world.received(client).ends_with("+OK\r\n"));
            CHECK(world.is_closed(client));
            CHECK(world.server(Side::source).data.strings[0]["n"].empty());
            quiet(world);
        }
    }
}

TEST_CASE("clients that hang up anywhere in a request leave nothing behind") {
    const std::string all = command({"INCR", "n"}) + command({"MULTI"}) + command({"INCR", "n"}) +
                            command({"EXEC"}) + command({"BLPOP", "empty", "0"});
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
        CAPTURE(cut);
        World world;
        const uint64_t client = world.connect();
        world.write(client, all.substr(0, cut));
        for (std::size_t i = 0; i < cut % 7; ++i) {
            for (const auto& [id, peer] : std::map(world.peers)) world.move(id, 20);
        }
        world.hang_up(client);
        world.settle_for(200'000);
        quiet(world);
        const uint64_t next = world.connect();
        CHECK(ask(world, next, command({"GET", "other"})) == "$-1\r\n");
        // A parked connection is closed and not reused: nobody pops for the client that is gone.
        CHECK(ask(world, next, command({"RPUSH", "empty", "x"})) == ":1\r\n");
        CHECK(world.server(Side::source).data.lists[0]["empty"].size() == 1);
    }
}

TEST_CASE("refused dials are tried again, then told to the client") {
    World world;
    world.down[0] = true;
    const uint64_t client = world.connect();
    world.write(client, command({"INCR", "n"}));
    world.settle_for(300'000);
    CHECK(world.received(client).empty());
    world.down[0] = false;
    world.settle_for(3'000'000);
    CHECK(world.received(client) == ":1\r\n");
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    world.down[0] = true;
    world.write(client, command({"INCR", "n"}));
    world.settle_for(30'000'000);
    CHECK(world.received(client) == ":1\r\n-ERR exodus: source is unreachable\r\n");
    world.down[0] = false;
    world.settle_for(3'000'000);
    CHECK(ask(world, client, command({"INCR", "n"})) == ":2\r\n");
    quiet(world);
}

TEST_CASE("a hold that runs over refuses its writes with TRYAGAIN; reads went on") {
    World world;
    const uint64_t client = world.connect();
    CHECK(ask(world, client, command({"INCR", "n"})) == ":1\r\n");
    hold(world, world.wall_now_us() / 1000 + 400);
    world.write(client, command({"GET", "n"}) + command({"INCR", "n"}) + command({"GET", "n"}));
    world.settle_for(50'000);
    CHECK(world.received(client) == ":1\r\n$1\r\n1\r\n");
    CHECK(world.brain->quiescence().held == 1);
    world.settle_for(500'000);
    CHECK(world.received(client) ==
          ":1\r\n$1\r\n1\r\n-TRYAGAIN exodus: writes are paused for a switch\r\n$1\r\n1\r\n");
    world.route(Side::source, false);
    CHECK(ask(world, client, command({"INCR", "n"})) == ":2\r\n");
    quiet(world);
}

TEST_CASE(
    "a parked BLPOP is taken over a switch: value once, timeout kept, order of pipeline kept") {
    for (const bool sharing : {true}) {
        World world(sharing);
        const uint64_t parked = world.connect();
        world.write(parked, command({"BLPOP", "jobs", "0"}) + command({"INCR", "after"}));
        const uint64_t timed = world.connect();
        world.write(timed, command({"BLPOP", "never", "3"}));
        world.settle_for(100'000);
        switch_to(world, Side::target);
        CHECK(world.received(parked).empty());
        const uint64_t pusher = world.connect();
        CHECK(ask(world, pusher, command({"RPUSH", "jobs", "a"})) == ":1\r\n");
        CHECK(world.received(parked) == "*2\r\n$4\r\njobs\r\n$1\r\na\r\n:1\r\n");
        CHECK(world.received(timed).empty());
        world.settle_for(3'200'000);
        CHECK(world.received(timed) == "*-1\r\n");
        CHECK(world.server(Side::target).data.lists[0].empty());
        quiet(world);
    }
}

TEST_CASE("a push that wins against the unblocking is delivered") {
    World world;
    const uint64_t parked = world.connect();
    const uint64_t pusher = world.connect();
    world.write(parked, command({"BLPOP", "jobs", "0"}));
    world.settle_for(100'000);
    world.write(pusher, command({"RPUSH", "jobs", "a"}));
    world.move(pusher, 1 << 20);  // on its way when the hold begins
    switch_to(world, Side::target);
    CHECK(world.received(parked) == "*2\r\n$4\r\njobs\r\n$1\r\na\r\n");
    CHECK(world.received(pusher) == ":1\r\n");
    quiet(world);
}

TEST_CASE("messages cross a switch once each, confirmations are neither lost nor doubled") {
    World world;
    const uint64_t listener = world.connect();
    const uint64_t speaker = world.connect();
    CHECK(ask(world, listener, command({"SUBSCRIBE", "news"})) == kSubscribed);
    std::string expected = kSubscribed;
    int number = 0;
    const auto speak = [&] {
        const std::string text = "m" + std::to_string(++number);
        world.write(speaker, command({"PUBLISH", "news", text}));
        expected += message(text);
    };
    speak();
    world.settle_for(50'000);
    for (int round = 0; round < 3; ++round) {
        hold(world);
        speak();  // held, then published where the authority then is
        world.settle_for(50'000);
        cut_over(world);
        world.settle_for(200'000);
        speak();
        world.settle_for(50'000);
        CHECK(world.received(listener) == expected);
    }
    const std::string more = "*3\r\n$9\r\nsubscribe\r\n$3\r\ntwo\r\n:2\r\n";
    CHECK(ask(world, listener, command({"SUBSCRIBE", "two"})) == more);
    CHECK(ask(world, listener, command({"UNSUBSCRIBE"})).size() > 2 * more.size());
    CHECK(ask(world, listener, command({"INCR", "n"})) == ":1\r\n");
    quiet(world);
}

TEST_CASE("WATCH across a switch: EXEC answers nil; MULTI is replayed") {
    World world;
    const uint64_t watcher = world.connect();
    const uint64_t multi = world.connect();
    CHECK(ask(world, watcher, command({"WATCH", "k"}) + command({"GET", "k"})) == "+OK\r\n$-1\r\n");
    CHECK(ask(world, multi, command({"MULTI"}) + command({"INCR", "n"})) == "+OK\r\n+QUEUED\r\n");
    switch_to(world, Side::target);
    CHECK(
        ask(world, watcher, command({"MULTI"}) + command({"SET", "k", "1"}) + command({"EXEC"})) ==
        "+OK\r\n+QUEUED\r\n*-1\r\n");
    CHECK(ask(world, watcher, command({"GET", "k"})) == "$-1\r\n");
    CHECK(ask(world, multi, command({"EXEC"})) == "*1\r\n:1\r\n");
    quiet(world);
}

TEST_CASE("CLIENT REPLY OFF and SKIP across a switch: silent, executed once, then audible again") {
    World world;
    const uint64_t client = world.connect();
    world.write(client, command({"CLIENT", "REPLY", "OFF"}) + command({"INCR", "n"}));
    world.settle_for(50'000);
    switch_to(world, Side::target);
    CHECK(ask(world, client, command({"INCR", "n"})).empty());
    CHECK(ask(world, client, command({"CLIENT", "REPLY", "ON"}) + command({"INCR", "n"})) ==
          "+OK\r\n:3\r\n");
    CHECK(ask(world, client,
              command({"CLIENT", "REPLY", "SKIP"}) + command({"INCR", "n"}) +
                  command({"GET", "n"})) == "$1\r\n4\r\n");
    CHECK(ask(world, client, command({"CLIENT", "REPLY", "SKIP"})).empty());
    switch_to(world, Side::source);
    CHECK(ask(world, client, command({"INCR", "n"}) + command({"GET", "n"})) == "$1\r\n5\r\n");
    // SKIP before MULTI: only the +OK of MULTI is not said.
    CHECK(ask(world, client,
              command({"CLIENT", "REPLY", "SKIP"}) + command({"MULTI"}) + command({"INCR", "n"}) +
                  command({"EXEC"})) == "+QUEUED\r\n*1\r\n:6\r\n");
    quiet(world);
}

TEST_CASE("large requests and replies stream; a reader that stops holds up only itself") {
    for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{7'001}}) {
        World world;
        const uint64_t client = world.connect();
        const uint64_t quick = world.connect();
        const std::string value(3 << 20, 'v');
        world.write(client, command({"SET", "big", value}) + command({"GET", "big"}) +
                                command({"INCR", "n"}));
        world.lazy.insert(client);
        world.settle(piece);
        CHECK(ask(world, quick, command({"INCR", "m"})) == ":1\r\n");
        CHECK(world.peers.at(client).from_brain.size() < (4 << 20));
        world.lazy.clear();
        world.settle(piece);
        world.settle_for(100'000);
        std::string expected = "+OK\r\n";
        resp::append_bulk(expected, value);
        expected += ":1\r\n";
        CHECK((world.received(client) == expected));
        TrafficStats stats;
        world.brain->collect(stats);
        CHECK(stats.commands["GET"].bytes_out == expected.size() - 9);
        quiet(world);
    }
}

TEST_CASE("a large write that begins in a hold waits for its switch whole") {
    World world;
    const uint64_t client = world.connect();
    const std::string value(600'000, 'v');
    hold(world);
    world.write(client, command({"SET", "big", value}) + command({"INCR", "n"}));
    world.settle(10'000);
    CHECK(world.received(client).empty());
    cut_over(world);
    world.settle_for(200'000, 10'000);
    CHECK(world.received(client) == "+OK\r\n:1\r\n");
    CHECK(world.server(Side::target).data.strings[0]["big"] == value);
    quiet(world);
}

TEST_CASE("identities: who writes is noted with a key, with shared and with own connections") {
    for (const bool sharing : {true, false}) {
        CAPTURE(sharing);
        World world(sharing);
        const uint64_t client = world.connect();
        CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
        CHECK_FALSE(world.state.identities.get(kAnonymous).used);
        CHECK(ask(world, client, command({"INCR", "n"})) == ":1\r\n");
        CHECK(
            world.state.identities.get(*world.state.identities.find("ann", "secret")).sample_key ==
            "n");
        const uint64_t nobody = world.connect();
        CHECK(ask(world, nobody, command({"MULTI"}) + command({"INCR", "m"}) + command({"EXEC"})) ==
              "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
        CHECK(world.state.identities.get(kAnonymous).used);
        CHECK(world.state.identities.get(kAnonymous).sample_key == "m");
        CHECK(ask(world, client, command({"AUTH", "ann", "wrong"})).starts_with("-WRONGPASS"));
    }
}

TEST_CASE("target.auth = service: logins are judged by memory or the source, never sent there") {
    for (const bool sharing : {true, false}) {
        CAPTURE(sharing);
        World world(sharing, true);
        world.server(Side::target).users = {{"svc", "own"}, {"apps", "shared"}};
        for (FakeServer& server : world.servers) server.need_auth = true;
        const uint64_t client = world.connect();
        CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
        CHECK(ask(world, client, command({"INCR", "n"})) == ":1\r\n");
        switch_to(world, Side::target);
        CHECK(ask(world, client, command({"INCR", "n"})) == ":2\r\n");
        CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
        const uint64_t known = world.connect();
        CHECK(ask(world, known, command({"GET", "n"})).starts_with("-NOAUTH"));
        CHECK(ask(world, known, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
        CHECK(ask(world, known, command({"INCR", "n"})) == ":3\r\n");
        const uint64_t other_user = world.connect();
        CHECK(ask(world, other_user, command({"AUTH", "bob", "pass"})) == "+OK\r\n");
        world.settle_for(100'000);
        CHECK(ask(world, other_user, command({"INCR", "n"})) == ":4\r\n");
        const uint64_t stranger = world.connect();
        CHECK(ask(world, stranger, command({"AUTH", "ann", "wrong"})).starts_with("-WRONGPASS"));
        CHECK(ask(world, stranger, command({"INCR", "n"})).starts_with("-NOAUTH"));
        const uint64_t three = world.connect();
        CHECK(
            ask(world, three, command({"HELLO", "3", "AUTH", "ann", "secret"})).starts_with("%2"));
        CHECK(ask(world, three, command({"INCR", "n"})) == ":5\r\n");
        // No client is our own user there, whom no fence could stop.
        int applications = 0;
        for (const auto& [id, conn] : world.server(Side::target).conns) {
            (void)id;
            applications += conn.user == "apps" ? 1 : 0;
            CHECK((conn.user == "apps" || conn.user.empty() || conn.user == "svc"));
        }
        CHECK(applications > 0);
        CHECK(world.state.login_for(Side::target, kService)->user == "svc");
        CHECK(world.state.login_for(Side::target, *world.state.identities.find("ann", "secret"))
                  ->user == "apps");
        quiet(world);
    }
}

TEST_CASE("a user that the target lacks: mirrored reads fail there, its clients go on") {
    World world;
    world.server(Side::target).users.clear();
    world.brain_route_.mirror_percent = 100;
    world.route(Side::source, false);
    const uint64_t client = world.connect();
    CHECK(ask(world, client, command({"AUTH", "ann", "secret"})) == "+OK\r\n");
    for (int i = 0; i < 5; ++i) CHECK(ask(world, client, command({"GET", "n"})) == "$-1\r\n");
    for (const uint64_t id : backends(world)) world.lose(id, CloseReason::error);
    world.settle_for(500'000);
    CHECK(ask(world, client, command({"INCR", "n"})) == ":1\r\n");
}

TEST_CASE("a full comparator: what differs is counted, and was never a candidate") {
    World world;
    world.brain_route_.mirror_percent = 100;
    world.route(Side::source, false);
    const uint64_t client = world.connect();
    const auto get = [&] {
        ask(world, client, command({"GET", "n"}));
        world.settle_for(500'000);
        TrafficStats stats;
        world.brain->collect(stats);
        CHECK(stats.comparator_dropped == stats.commands["GET"].comparator_dropped);
        return stats.commands["GET"];
    };
    ask(world, client, command({"INCR", "n"}));  // the target does not follow here
    static_cast<void>(get());                    // opens the shadow connection
    const CommandStats before = get();
    CHECK(before.candidates > 0);
    CHECK(before.comparator_dropped == 0);
    world.comparator_full = true;
    const CommandStats after = get();
    CHECK(after.candidates == before.candidates);
    CHECK(after.comparator_dropped == 1);
    CHECK(after.not_comparable == before.not_comparable + 1);
}

TEST_CASE("logins, versions, RESET and QUIT in the middle of a pipeline") {
    World world;
    const uint64_t client = world.connect();
    const std::string got =
        ask(world, client,
            command({"INCR", "n"}) + command({"AUTH", "ann", "secret"}) + command({"INCR", "n"}) +
                command({"HELLO", "3"}) + command({"GET", "none"}) + command({"MULTI"}) +
                command({"INCR", "n"}) + command({"RESET"}) + command({"GET", "none"}) +
                command({"INCR", "n"}));
    const std::string id = std::to_string(kFirstVirtualId);
    CHECK(got == ":1\r\n+OK\r\n:2\r\n%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:" + id +
                     "\r\n_\r\n+OK\r\n+QUEUED\r\n+RESET\r\n$-1\r\n:3\r\n");
    CHECK(ask(world, client, command({"SUBSCRIBE", "news"}) + command({"QUIT"})) ==
          kSubscribed + "+OK\r\n");
    CHECK(world.is_closed(client));
    const uint64_t brief = world.connect();
    CHECK(ask(world, brief, command({"BLPOP", "none", "0.001"}) + command({"INCR", "n"})) ==
          "*-1\r\n:4\r\n");
    quiet(world);
}

TEST_CASE(
    "malformed requests close their client with the server's words; the backend is untouched") {
    World world;
    const uint64_t good = world.connect();
    CHECK(ask(world, good, command({"INCR", "n"})) == ":1\r\n");
    const auto before = backends(world);
    const uint64_t bad = world.connect();
    CHECK(ask(world, bad, command({"GET", "n"}) + "*1\r\n+x\r\n")
              .starts_with("$1\r\n1\r\n-ERR Protocol error"));
    CHECK(world.is_closed(bad));
    CHECK(backends(world) == before);
    CHECK(ask(world, good, command({"INCR", "n"})) == ":2\r\n");
}
