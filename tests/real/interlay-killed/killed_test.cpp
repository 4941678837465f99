// Hazard: the interlay's process is killed (kill -9, out of memory) while it forwards, follows,
// stands in a hold or behind a switch; its mover dies with it, sometimes together with the command.
// Started again it must go on without a new copy, the same command must end where it was to go, no
// side may stay fenced, and no acknowledged write may be lost or doubled.
#include <doctest/doctest.h>
#include <random>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

const std::vector<std::string> kSwitch{"migrate",  "--switch", "--confirm",
                                       Rig::kName, "--reason", "kill test"};
const std::vector<std::string> kRollback{"rollback", "--confirm", Rig::kName, "--reason",
                                         "kill test"};

struct Loaded {
    Rig rig;
    Ledger ledger;

    Loaded() : ledger(load_through(rig)) {
        fill_server(own(rig.source()).get(), 2'000, 5);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        ledger.start();
        wait_for_load(ledger, 500);
        rig.bring_to_ready();
    }

    const std::vector<std::string>& words(bool forward) const {
        return forward ? kSwitch : kRollback;
    }
    void approve() {
        rig.repeat_until_done({"migrate", "--until", "ready"});
        rig.expect(0, {"approve", "switch", "--reason", "kill test"});
    }
    void revive() {
        rig.kill_interlay();
        rig.start_interlay();
    }
    /// The same command again, until it is where it was to go, and clients are served there.
    void finish(bool forward) {
        rig.repeat_until_done(words(forward));
        // A command that found none running had one of its own, which ends with it; the one started
        // beside it found the port taken.
        if (!rig.interlay_running()) rig.start_interlay();
        REQUIRE(rig.authority() == (forward ? "target" : "source"));
        wait_for_load(ledger, 200);
        require_no_violation(ledger);
    }
    void end() {
        check_equal(rig, ledger);
        check_ledger(ledger, rig.source());
    }
};

}  // namespace

TEST_CASE("kill -9 of the interlay while following and after the switch") {
    Loaded loaded;
    for (int round = 0; round < 2; ++round) {
        CAPTURE(round);
        loaded.revive();
        wait_for_load(loaded.ledger, 500);
        loaded.rig.do_switch();
        wait_for_load(loaded.ledger, 500);
        loaded.revive();
        CHECK(loaded.rig.authority() == "target");
        wait_for_load(loaded.ledger, 500);
        check_equal(loaded.rig, loaded.ledger);
        loaded.rig.do_rollback();
        wait_for_load(loaded.ledger, 500);
        CHECK(loaded.rig.authority() == "source");
    }
    loaded.end();
}

TEST_CASE("kill -9 of the interlay inside the hold of a switch and of a rollback, at every step") {
    const std::vector<std::string> points{
        "C1.after-done",        "C2.after-effect", "C3.after-raise", "C4.after-effect",
        "C5.after-final-check", "C5.after-effect", "C6.after-arm",   "C6.after-done",
        "C7.after-done",        "C8.after-adopt",  "C8.after-open",  "C8.after-release"};
    Loaded loaded;
    bool both = false;  // every second time the command dies with it
    for (const std::string& point : points) {
        for (const bool forward : {true, false}) {
            CAPTURE(point);
            CAPTURE(forward);
            CAPTURE(both);
            if (forward) loaded.approve();
            Process command = loaded.rig.begin(loaded.words(forward), {{"EXODUS_STOP_AT", point}});
            REQUIRE(command.wait_stopped(milliseconds(30'000)));
            if (both) command.kill();
            loaded.revive();
            command.signal(SIGCONT);
            INFO(read_file(loaded.rig.file("command.log")));
            REQUIRE(command.wait(milliseconds(60'000)).has_value());
            loaded.finish(forward);
        }
        both = !both;
    }
    loaded.end();
}

TEST_CASE("kill -9 of the interlay at random moments of a switch and of a rollback") {
    std::mt19937 random(20'261'125);
    Loaded loaded;
    for (int round = 0; round < 6; ++round) {
        for (const bool forward : {true, false}) {
            CAPTURE(round);
            CAPTURE(forward);
            if (forward) loaded.approve();
            Process command = loaded.rig.begin(loaded.words(forward));
            const auto moment = milliseconds(random() % 1'500);
            CAPTURE(moment.count());
            command.wait(moment);
            const bool both = random() % 3 == 0;
            if (both) command.kill();
            loaded.revive();
            INFO(read_file(loaded.rig.file("command.log")));
            REQUIRE(command.wait(milliseconds(60'000)).has_value());
            loaded.finish(forward);
        }
    }
    loaded.end();
}
