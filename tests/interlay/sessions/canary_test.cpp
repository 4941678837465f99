// Reads of a share of the sessions answered by the target, on real servers and a real movement: who
// answers, what a session sees of its own writes, and what it sees when the target lags, goes away,
// hangs, or comes back without its data.
#include <doctest/doctest.h>
#include <set>

#include "session_rig.h"
#include "tests/support/following.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// "who" is "source" there and "target" here.
struct Canary {
    Rig rig;
    std::vector<ContextPtr> apps;
    std::set<std::string> ids;

    Canary()
        : rig([] {
              RigOptions options;
              options.config = {{"migrate", "canary = { hold = \"100ms\" }"},
                                {"cutover", "max_lag = \"300ms\""}};
              return options;
          }()) {
        send_command(own(rig.source()).get(), {"SET", "who", "source"});
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        bring_to_ready(rig);
        rig.target().command({"SET", "who", "target"});
        for (int i = 0; i < 40; ++i) {
            apps.push_back(connect_to(rig.port(), milliseconds(30'000)));
            ask(apps.back(), {"AUTH", Rig::kUser, Rig::kPassword});
            ids.insert(ask(apps.back(), {"CLIENT", "ID"}));
        }
    }
    static std::string ask(const ContextPtr& app, const std::vector<std::string>& words) {
        return to_text(send_command(app.get(), words).get());
    }
    void share(const char* percent) {
        rig.expect(0, {"migrate", "--canary-reads", percent, "--reason", "test"});
    }
    /// Those whom the target answers now.
    std::set<std::size_t> at_target() {
        std::set<std::size_t> out;
        for (std::size_t i = 0; i < apps.size(); ++i) {
            const std::string who = ask(apps[i], {"GET", "who"});
            if (who == "target") out.insert(i);
            if (who != "target") REQUIRE(who == "source");
        }
        return out;
    }
    bool all_at_target() {
        return eventually(milliseconds(30'000), [&] { return at_target().size() == apps.size(); });
    }
    uint64_t counter(const char* name) {
        return traffic_of(rig).at("counters").value(name, uint64_t{0});
    }
};

/// Many reads at once that a frozen target will owe.
std::string many() {
    std::string out;
    for (int i = 0; i < 200; ++i) out += request({"GET", "who"});
    return out;
}

/// Their answers: which of the two does not matter, only that there is nothing else.
void check_answers(RawClient& client) {
    for (int i = 0; i < 200; ++i) {
        CHECK(client.line() == "$6");
        const std::string who = client.line();
        CHECK((who == "source" || who == "target"));
    }
}

}  // namespace

TEST_CASE("canary reads on real servers: shares, own writes, a target that lags, dies, hangs") {
    Canary c;
    Rig& rig = c.rig;
    CHECK(c.at_target().empty());
    c.share("25");
    std::set<std::size_t> few;
    REQUIRE(eventually(milliseconds(30'000), [&] {
        few = c.at_target();
        return few.size() >= 3 && few.size() <= 20 && c.at_target() == few;
    }));
    c.share("100");
    REQUIRE(c.all_at_target());

    // A session's own write: from its answer on, and that came late.
    RawClient app(rig.port());
    app.send(login() + request({"SET", "mine", "1"}) + request({"GET", "mine"}) +
             request({"GET", "who"}));
    CHECK(app.read_until("source\r\n") == "+OK\r\n+OK\r\n$1\r\n1\r\n$6\r\nsource\r\n");
    const auto answered_by_target = [&] {
        app.send(request({"GET", "who"}));
        CHECK(app.line() == "$6");
        return app.line() == "target";
    };
    REQUIRE(eventually(milliseconds(30'000), answered_by_target));
    CHECK(eventually(milliseconds(30'000), [&] {
        rig.source().command({"CLIENT", "PAUSE", "1000", "WRITE"});
        app.send(request({"SET", "mine", "2"}));
        CHECK(app.read(5) == "+OK\r\n");
        return !answered_by_target();
    }));
    REQUIRE(eventually(milliseconds(30'000), answered_by_target));

    // The target answers reads, and what the lane writes to it waits.
    rig.target().command({"CLIENT", "PAUSE", "1500", "WRITE"});
    app.send(request({"SET", "mine", "3"}));
    CHECK(app.read(5) == "+OK\r\n");
    REQUIRE(eventually(milliseconds(30'000), [&] {
        app.send(request({"GET", "mine"}));
        CHECK(app.read(7) == "$1\r\n3\r\n");
        return answered_by_target();
    }));
    REQUIRE(c.all_at_target());

    // It hangs: nobody waits for longer than a second, and its late answers are nobody's.
    rig.target().freeze(true);
    app.send(many());
    check_answers(app);
    CHECK(c.at_target().empty());
    CHECK(c.counter("canary_asked_again") > 0);
    rig.target().freeze(false);
    REQUIRE(c.all_at_target());
    REQUIRE(eventually(milliseconds(30'000), answered_by_target));

    // Gone with reads that it owes, and back without its data: it answers nothing any more.
    rig.target().freeze(true);
    app.send(many());
    rig.target().kill();
    check_answers(app);
    CHECK(c.at_target().empty());
    rig.target().start();
    CHECK(eventually(milliseconds(30'000), [&] {
        CHECK(c.at_target().empty());
        return movement_field(rig, "forward", "blocked").find("lost its data") != std::string::npos;
    }));
    CHECK(c.at_target().empty());
    c.share("0");
    const uint64_t deferred = c.counter("canary_deferred");
    CHECK(deferred > 0);
    CHECK(c.at_target().empty());
    CHECK(c.counter("canary_deferred") == deferred);
    // On the connections of the beginning.
    std::set<std::string> ids;
    for (const ContextPtr& each : c.apps) ids.insert(Canary::ask(each, {"CLIENT", "ID"}));
    CHECK(ids == c.ids);
    CHECK_FALSE(app.ended());
}
