// A canary's reads: sticky by session, never behind the session's own writes, at the source while
// the target is not current, and asked there again when the target goes away or hangs.
#include <doctest/doctest.h>
#include <set>

#include "families/redis/canary_limits.h"
#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

constexpr std::size_t kTarget = static_cast<std::size_t>(Side::target);
constexpr int64_t kLag_us = 200'000;  // cutover.max_lag
const std::string kSource = "$6\r\nsource\r\n";
const std::string kFromTarget = "$6\r\ntarget\r\n";

/// "who" says which side answers.
struct Canary {
    World world;
    std::shared_ptr<Freshness> fresh = std::make_shared<Freshness>();

    explicit Canary(double percent) {
        world.state.fresh = fresh;
        world.server(Side::source).data.strings[0]["who"] = "source";
        world.server(Side::target).data.strings[0]["who"] = "target";
        share(percent);
    }
    void share(double percent) {
        world.brain_route_.canary_percent = percent;
        world.route(Side::source, false);
    }
    /// Time passes, and the target keeps up.
    void follow(int64_t us) {
        for (int64_t spent = 0; spent < us; spent += 20'000) {
            fresh->current_us = world.now_us();
            world.settle_for(20'000);
        }
        fresh->current_us = world.now_us();
    }
    std::string who(uint64_t client) {
        fresh->current_us = world.now_us();
        return ask(world, client, command({"GET", "who"}));
    }
    /// A client that the target has answered.
    uint64_t client() {
        const uint64_t id = world.connect();
        who(id);  // opens the connection
        CHECK(who(id) == kFromTarget);
        return id;
    }
    uint64_t counter(const std::string& name) {
        TrafficStats stats;
        world.brain->collect(stats);
        return stats.counters[name];
    }
    std::string repeated(const std::string& text, int times) {
        std::string out;
        for (int i = 0; i < times; ++i) out += text;
        return out;
    }
    std::vector<uint64_t> links() {
        std::vector<uint64_t> out;
        for (const auto& [id, peer] : world.peers)
            if (!peer.client && peer.side == Side::target && !peer.closed) out.push_back(id);
        return out;
    }
};

}  // namespace

TEST_CASE("canary: a share of the sessions, the same ones, and more of them at a larger share") {
    Canary c(0);
    std::vector<uint64_t> clients;
    for (int i = 0; i < 64; ++i) clients.push_back(c.world.connect());
    const auto at_target = [&] {
        std::set<uint64_t> out;
        for (int round = 0; round < 3; ++round) {
            out.clear();
            for (const uint64_t client : clients) {
                if (c.who(client) == kFromTarget) out.insert(client);
            }
        }
        return out;
    };
    CHECK(at_target().empty());
    c.share(25);
    const auto few = at_target();
    CHECK(few.size() >= 8);
    CHECK(few.size() <= 24);
    CHECK(at_target() == few);
    c.share(50);
    const auto more = at_target();
    CHECK(more.size() > few.size());
    CHECK(std::includes(more.begin(), more.end(), few.begin(), few.end()));
    c.share(100);
    CHECK(at_target().size() == 64);
    c.share(0);
    CHECK(at_target().empty());
    for (const uint64_t client : clients) CHECK_FALSE(c.world.is_closed(client));
}

TEST_CASE("canary: a session reads at the source behind its own write, however long that took") {
    Canary c(100);
    const uint64_t client = c.client();
    CHECK(ask(c.world, client, command({"SET", "k", "v"})) == "+OK\r\n");
    CHECK(c.who(client) == kSource);
    c.follow(2 * kLag_us + 20'000);
    CHECK(c.who(client) == kFromTarget);
    // What counts is when it was answered.
    c.world.write(client, command({"BLPOP", "queue", "0"}) + command({"GET", "who"}));
    c.follow(5 * kLag_us);
    const uint64_t other = c.world.connect();
    c.world.received(client).clear();
    ask(c.world, other, command({"RPUSH", "queue", "x"}));
    CHECK(c.world.received(client) == "*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n" + kSource);
    CHECK(c.counter("canary_deferred") > 0);
}

TEST_CASE("canary: while the target is not current the source answers") {
    Canary c(100);
    const uint64_t client = c.client();
    c.world.settle_for(kLag_us + 20'000);
    const uint64_t before = c.counter("canary_deferred");
    CHECK(ask(c.world, client, command({"GET", "who"})) == kSource);
    CHECK(c.counter("canary_deferred") == before + 1);
    CHECK(c.who(client) == kFromTarget);
}

TEST_CASE("canary: reads that a lost target owes are answered by the source, in their order") {
    Canary c(100);
    const uint64_t client = c.client();
    c.world.received(client).clear();
    c.world.frozen[kTarget] = true;
    c.world.write(client, c.repeated(command({"GET", "who"}), 50) + command({"SET", "k", "v"}) +
                              command({"GET", "k"}));
    c.world.settle_for(50'000);
    CHECK(c.world.received(client).empty());
    c.world.down[kTarget] = true;
    for (const uint64_t id : c.links()) c.world.lose(id, CloseReason::peer);
    c.world.settle_for(50'000);
    CHECK(c.world.received(client) == c.repeated(kSource, 50) + "+OK\r\n$1\r\nv\r\n");
    // It may come back without its data: not before the lane has had a look.
    c.world.down[kTarget] = c.world.frozen[kTarget] = false;
    c.world.server(Side::target).data = {};
    c.follow(limits::kCanaryDoubt_us - 500'000);
    for (int i = 0; i < 3; ++i) CHECK(c.who(client) == kSource);
    c.world.server(Side::target).data.strings[0]["who"] = "target";
    c.follow(600'000);
    c.who(client);
    CHECK(c.who(client) == kFromTarget);
    CHECK(c.counter("canary_asked_again") == 50);
}

TEST_CASE("canary: reads that wait for a target that hangs are taken back, once answered") {
    Canary c(100);
    const uint64_t client = c.client();
    const uint64_t other = c.client();
    c.world.received(client).clear();
    c.world.frozen[kTarget] = true;
    // More than are kept: the rest waits where it is.
    const std::string key(60'000, 'k');
    c.world.write(client, c.repeated(command({"GET", key}), 40) + command({"GET", "who"}));
    c.follow(limits::kCanaryAnswer_us_max - 100'000);
    CHECK(c.world.received(client).empty());
    std::size_t sent = 0;
    for (const uint64_t id : c.links()) {
        const World::Peer& peer = c.world.peers.at(id);
        sent += peer.from_brain.size() + peer.taken.size();
    }
    CHECK(sent <= limits::kCanaryAsked_bytes_max + 2 * key.size());
    c.follow(200'000);
    CHECK(c.world.received(client) == c.repeated("$-1\r\n", 40) + kSource);
    // Nobody waits for it a second time.
    const uint64_t again = c.counter("canary_asked_again");
    CHECK(again > 0);
    CHECK(c.who(other) == kSource);
    CHECK(c.counter("canary_asked_again") == again);
    c.world.frozen[kTarget] = false;
    c.world.settle_for(50'000);
    CHECK(c.world.received(client) == c.repeated("$-1\r\n", 40) + kSource);  // no late answer
    CHECK(c.who(client) == kFromTarget);
    CHECK(c.who(other) == kFromTarget);
}
