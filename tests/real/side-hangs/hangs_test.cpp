// Hazard: a server, or the process with the mover, hangs (it does not die) while writes are held.
// The cutover must end in a durable abort when its hold is over, the held writes must be executed
// where they always were, nothing may wait for ever, and the next try must succeed.
#include <doctest/doctest.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr int kAborted = 5;

struct Held {
    Rig rig;
    Ledger ledger;
    Process command;

    Held() : ledger(options(rig)) {
        fill_server(own(rig.source()).get(), 1'000, 7);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        ledger.start();
        wait_for_load(ledger, 500);
        rig.bring_to_ready();
    }
    static LedgerOptions options(const Rig& rig) {
        LedgerOptions options = load_through(rig);
        options.reconnect = false;
        return options;
    }
    /// Begins a switch and stops its command at `point`.
    void stop_at(const char* point) {
        rig.expect(0, {"migrate", "--until", "ready"});
        rig.expect(0, {"approve", "switch", "--reason", "hang test"});
        command = rig.begin({"migrate", "--switch", "--confirm", Rig::kName, "--reason", "hang"},
                            {{"EXODUS_STOP_AT", point}});
        REQUIRE(command.wait_stopped(milliseconds(30'000)));
    }
    /// The row of the state file does not hold any more.
    bool abort_is_durable() {
        return rig.expect(0, {"status", "--json"}).find("\"holding\"") == std::string::npos;
    }
    void expect_aborted() {
        const auto code = command.wait(milliseconds(60'000));
        INFO(read_file(rig.file("command.log")), "\n--- interlay\n", rig.interlay_log());
        REQUIRE(code.has_value());
        CHECK(*code == kAborted);
        CHECK(rig.authority() == "source");
    }
    /// Nothing is lost, and the way is free for the next try.
    void expect_unharmed() {
        wait_for_load(ledger, 500);
        require_no_violation(ledger);
        rig.do_switch();
        wait_for_load(ledger, 500);
        require_no_violation(ledger);
        check_equal(rig, ledger);
        CHECK(ledger.summary().connections_lost == 0);
        check_ledger(ledger, rig.target());
    }
};

}  // namespace

TEST_CASE("the target hangs while the rest of the stream is applied") {
    Held held;
    held.stop_at("C4.after-effect");
    held.rig.target().freeze(true);
    held.command.signal(SIGCONT);
    // The abort needs no target: writes go on at the source while it still hangs.
    REQUIRE(eventually(
        milliseconds(30'000), [&] { return held.abort_is_durable(); }, milliseconds(200)));
    wait_for_load(held.ledger, 500);
    held.expect_aborted();
    held.rig.target().freeze(false);
    held.expect_unharmed();
}

TEST_CASE("the source hangs while it is fenced") {
    Held held;
    held.stop_at("C3.before-effect");
    held.rig.source().freeze(true);
    held.command.signal(SIGCONT);
    REQUIRE(eventually(
        milliseconds(30'000), [&] { return held.abort_is_durable(); }, milliseconds(200)));
    held.rig.source().freeze(false);
    held.expect_aborted();
    held.expect_unharmed();
}

TEST_CASE("the interlay with its mover hangs before the end position is read") {
    Held held;
    held.stop_at("C3.after-effect");
    held.rig.freeze_interlay(true);
    held.command.signal(SIGCONT);
    REQUIRE(eventually(
        milliseconds(60'000), [&] { return held.abort_is_durable(); }, milliseconds(200)));
    held.rig.freeze_interlay(false);
    held.expect_aborted();
    held.expect_unharmed();
}
