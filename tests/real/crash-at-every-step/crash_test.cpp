// Hazard: the phase command dies (kill -9) somewhere in the cutover journal. Run again, the same
// command must bring the migration to a state that is right, with no write lost or doubled and no
// side left fenced. Every point of the journal, both directions, under load.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/scenario.h"
#include "workflow/cutover.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr int kKilled = 128 + 9;

/// Runs a command that is to die at `point`, then again without. Only a hold that is too short
/// leads to the points of an abort.
void crash_and_repeat(Rig& rig, const std::vector<std::string>& words, const std::string& point) {
    std::vector<std::string> first_words = words;
    if (point.starts_with("abort."))
        first_words.insert(first_words.end(), {"--hold-timeout", "1ms"});
    const RunResult first = rig.exodus(first_words, {{"EXODUS_CRASH_AT", point}});
    INFO("first run at ", point, "\n", first.out, first.err);
    REQUIRE(first.code == kKilled);
    INFO("again after ", point);
    rig.repeat_until_done(words);
}

}  // namespace

TEST_CASE("kill -9 of the command at every point of the journal, switch and rollback, under load") {
    Rig rig;
    fill_server(own(rig.source()).get(), 1'000, 11);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    LedgerOptions options = load_through(rig);
    options.reconnect = false;
    Ledger ledger(options);
    ledger.start();
    wait_for_load(ledger, 500);
    rig.bring_to_ready();
    for (const std::string& point : cutover_points()) {
        CAPTURE(point);
        rig.expect(0, {"migrate", "--until", "ready"});
        rig.expect(0, {"approve", "switch", "--reason", "crash test"});
        crash_and_repeat(
            rig, {"migrate", "--switch", "--confirm", Rig::kName, "--reason", "crash test"}, point);
        REQUIRE(rig.authority() == "target");
        wait_for_load(ledger, 100);
        crash_and_repeat(rig, {"rollback", "--confirm", Rig::kName, "--reason", "crash test"},
                         point);
        REQUIRE(rig.authority() == "source");
        wait_for_load(ledger, 100);
        require_no_violation(ledger);
    }
    check_equal(rig, ledger);
    CHECK(ledger.summary().connections_lost == 0);
    check_ledger(ledger, rig.source());
}
