// A real target that hangs while every read is mirrored to it, with more on its way than the shadow
// may keep, of requests or of bytes (tests/sim/redis_session reaches each bound exactly). The
// application gets every answer, all that is given up is counted, and reads are compared again
// behind it, each with its own answer.
#include <doctest/doctest.h>
#include <optional>

#include "base/limits.h"
#include "session_rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Counts {
    uint64_t mirrored, equal, candidates, not_comparable, dropped, queued, queued_bytes;
    explicit Counts(Rig& rig) {
        const auto stats = traffic_of(rig);
        const auto& get = stats.at("commands").at("GET");
        mirrored = get.at("mirrored");
        equal = get.at("equal");
        candidates = get.at("candidates");
        not_comparable = get.at("not_comparable");
        dropped = stats.at("shadow_dropped");
        queued = stats.at("shadow_queued");
        queued_bytes = stats.at("shadow_queued_bytes");
    }
};

}  // namespace

TEST_CASE("a target that hangs costs mirrored reads their comparison, and nobody an answer") {
    Rig rig;
    const std::string large = random_text(100'000);
    send_command(own(rig.source()).get(), {"SET", "small", "v"});
    send_command(own(rig.source()).get(), {"SET", "large", large});
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    bring_to_ready(rig);
    rig.expect(0, {"ctl", "mirror=100"});
    RawClient app(rig.port());
    app.send(login());
    REQUIRE(app.read(5) == "+OK\r\n");
    /// Until reads are compared again; what was counted then.
    const auto compared = [&](uint64_t equal) {
        std::optional<Counts> now;
        REQUIRE(eventually(milliseconds(30'000), [&] {
            app.send(request({"GET", "small"}) + request({"GET", "large"}));
            CHECK(app.read(7 + 9 + large.size() + 2).size() == 7 + 9 + large.size() + 2);
            return now.emplace(rig).equal > equal + 1;
        }));
        return *now;
    };
    Counts before = compared(0);

    struct Load {
        std::string key, answer;
        uint64_t times;
    };
    const std::string whole = "$100000\r\n" + large + "\r\n";
    for (const Load& load : {Load{"small", "$1\r\nv\r\n", 20'000}, Load{"large", whole, 250}}) {
        CAPTURE(load.key);
        // All of it is compared or given up: only what comes now is counted below.
        REQUIRE(eventually(milliseconds(20'000), [&] {
            before = Counts(rig);
            return before.queued == 0;
        }));
        rig.target().freeze(true);
        std::string requests;
        std::string answers;
        for (uint64_t i = 0; i < load.times; ++i) {
            requests += request({"GET", load.key});
            answers += load.answer;
        }
        app.send_and_listen(requests);
        CHECK((app.read(answers.size()) == answers));
        const Counts during(rig);
        CHECK(during.queued <= limits::kShadowRequests_max);
        CHECK(during.queued_bytes <= limits::kShadowQueue_bytes);
        // Given up by their age, although it still hangs.
        Counts after = during;
        CHECK(eventually(milliseconds(20'000), [&] {
            after = Counts(rig);
            return after.queued == 0;
        }));
        CHECK(after.queued_bytes == 0);
        CHECK(after.mirrored - before.mirrored == load.times);
        CHECK(after.not_comparable - before.not_comparable == load.times);
        CHECK(after.dropped - before.dropped == load.times);
        rig.target().freeze(false);
        CHECK(compared(after.equal).candidates == before.candidates);
    }
    CHECK(eventually(milliseconds(20'000), [&] {
        return rig.expect(0, {"events"}).find("mirrored requests were dropped") !=
               std::string::npos;
    }));
}
