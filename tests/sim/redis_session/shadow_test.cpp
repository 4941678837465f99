// The shadow's bounds, each reached alone: a target that hangs costs so many requests, so many
// bytes and so much time, what is beyond is dropped and counted, clients notice nothing, and what
// is compared behind it is compared with its own answer.
#include <doctest/doctest.h>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

constexpr std::size_t kTarget = static_cast<std::size_t>(Side::target);

std::string bulk(const std::string& text) {
    std::string out;
    resp::append_bulk(out, text);
    return out;
}

/// Every read is mirrored, and both servers hold the same.
struct Mirrored {
    World world;
    uint64_t client = 0;
    uint64_t dropped = 0;  ///< before

    Mirrored() {
        for (FakeServer& server : world.servers) {
            server.data.strings[0] = {
                {"a", "one"}, {"b", "two"}, {"large", std::string(100'000, 'l')}};
        }
        world.brain_route_.mirror_percent = 100;
        world.route(Side::source, false);
        client = world.connect();
        ask(world, client, command({"GET", "a"}));  // opens the shadow's connection
        dropped = traffic().shadow_dropped;
        check_compares(1);
    }
    TrafficStats traffic() {
        TrafficStats stats;
        world.brain->collect(stats);
        return stats;
    }
    CommandStats get() { return traffic().commands["GET"]; }
    /// What the shadow has dropped since.
    uint64_t lost() { return traffic().shadow_dropped - dropped; }
    /// The same read, again and again, in no time; the client gets every answer.
    void read(const std::string& key, const std::string& answer, std::size_t times) {
        world.received(client).clear();
        std::string requests;
        std::string answers;
        for (std::size_t i = 0; i < times; ++i) {
            requests += command({"GET", key});
            answers += answer;
        }
        world.write(client, requests);
        world.settle();
        CHECK(world.received(client) == answers);
    }
    /// The target goes on: what waited within the bounds is compared and equal, as is what comes.
    void check_compares(uint64_t more) {
        const uint64_t equal = get().equal;
        world.frozen[kTarget] = false;
        world.settle_for(100'000);
        CHECK(get().equal == equal + more - 1);
        read("b", bulk("two"), 1);
        CHECK(get().equal == equal + more);
        CHECK(traffic().shadow_queued == 0);
        CHECK(traffic().shadow_queued_bytes == 0);
        CHECK(world.compared.empty());  // nothing differed
        CHECK(get().mirrored == get().equal + get().not_comparable);
        CHECK(get().not_comparable == traffic().shadow_dropped);
    }
    /// Bytes for the target that it has not read.
    std::size_t unread() {
        std::size_t bytes = 0;
        for (const auto& [id, peer] : world.peers)
            if (!peer.client && peer.side == Side::target)
                bytes += peer.from_brain.size() + peer.taken.size();
        return bytes;
    }
};

}  // namespace

TEST_CASE("shadow: so many requests wait for a target that hangs, and no more") {
    Mirrored m;
    m.world.frozen[kTarget] = true;
    m.read("a", bulk("one"), limits::kShadowRequests_max + 2'000);
    CHECK(m.traffic().shadow_queued == limits::kShadowRequests_max);
    CHECK(m.traffic().shadow_queued_bytes < limits::kShadowQueue_bytes / 2);
    CHECK(m.lost() == 2'000);
    m.check_compares(limits::kShadowRequests_max + 1);
    CHECK(m.lost() == 2'000);
}

TEST_CASE("shadow: so many bytes wait for a target that hangs, of requests or of answers") {
    const std::string key(60'000, 'k');
    Mirrored m;
    m.world.frozen[kTarget] = true;
    m.read(key, "$-1\r\n", 400);
    const std::size_t queued = m.traffic().shadow_queued;
    CHECK(m.traffic().shadow_queued_bytes <= limits::kShadowQueue_bytes);
    CHECK(m.traffic().shadow_queued_bytes > limits::kShadowQueue_bytes - 2 * key.size());
    CHECK(m.unread() <= limits::kShadowQueue_bytes);
    CHECK(m.lost() == 400 - queued);
    m.check_compares(queued + 1);

    const uint64_t before = m.lost();
    m.world.frozen[kTarget] = true;
    m.read("large", bulk(std::string(100'000, 'l')), 400);
    CHECK(m.traffic().shadow_queued_bytes <= limits::kShadowQueue_bytes);
    CHECK(m.traffic().shadow_queued_bytes > limits::kShadowQueue_bytes - 2 * 100'000);
    CHECK(m.unread() < 100'000);
    // Those whose first half found no room are given up; their second half is still owed.
    m.world.frozen[kTarget] = false;
    m.world.settle();
    CHECK(m.lost() - before > 400 - limits::kShadowQueue_bytes / 100'000);
    CHECK(m.lost() - before < 400);
    m.check_compares(1);
}

TEST_CASE("shadow: a target that hangs for longer than its time gets nothing more") {
    Mirrored m;
    m.world.frozen[kTarget] = true;
    m.read("a", bulk("one"), 10);
    m.world.settle_for(limits::kShadowAge_us_max - 50'000);
    CHECK(m.traffic().shadow_queued == 10);
    CHECK(m.lost() == 0);
    m.world.settle_for(100'000);
    CHECK(m.traffic().shadow_queued == 0);
    CHECK(m.traffic().shadow_queued_bytes == 0);
    CHECK(m.lost() == 10);
    const std::size_t unread = m.unread();
    m.read("a", bulk("one"), 20);
    CHECK(m.lost() == 30);
    CHECK(m.unread() == unread);
    // The late answers to "a" are nobody's: they are not taken for those to "b".
    m.check_compares(1);
    CHECK(m.lost() == 30);
}
