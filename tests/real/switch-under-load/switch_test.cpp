// Hazard: a switch or a rollback loses, doubles or reorders a write, answers from the wrong side,
// or drops a client. Ten switches and rollbacks in turn while twelve connections write with unique
// ids; then the ledger reads the authority.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("ten switches and rollbacks under load: every acknowledged write exactly once") {
    Rig rig;
    fill_server(own(rig.source()).get(), 5'000, 3);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    LedgerOptions options = load_through(rig);
    options.reconnect = false;
    Ledger ledger(options);
    ledger.start();
    wait_for_load(ledger, 2'000);
    rig.bring_to_ready();
    Histogram longest;
    for (int round = 0; round < 5; ++round) {
        for (const bool forward : {true, false}) {
            CAPTURE(round);
            CAPTURE(forward);
            ledger.take_latency();
            if (forward) {
                rig.do_switch();
            } else {
                rig.do_rollback();
            }
            wait_for_load(ledger, 1'000);
            longest.record(ledger.take_latency().max());
            CHECK(rig.authority() == (forward ? "target" : "source"));
            check_equal(rig, ledger);
            require_no_violation(ledger);
        }
    }
    fmt::print("longest request around each of ten switches: p50 {} ms, max {} ms\n",
               longest.percentile(0.5) / 1000, longest.max() / 1000);
    CHECK(ledger.summary().connections_lost == 0);
    check_ledger(ledger, rig.source());
    CHECK(rig.stop_interlay() == 0);
}
