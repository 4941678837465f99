// Hazard: the interlay's process is killed (kill -9, out of memory) while it forwards, follows, or
// stands behind a switch; its mover dies with it. Started again it must go on without a new copy,
// and no acknowledged write may be lost or doubled.
#include <doctest/doctest.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("kill -9 of the interlay while following and after the switch") {
    Rig rig;
    fill_server(own(rig.source()).get(), 3'000, 5);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    for (int round = 0; round < 2; ++round) {
        CAPTURE(round);
        wait_for_load(ledger, 500);
        rig.kill_interlay();
        rig.start_interlay();
        wait_for_load(ledger, 500);
        rig.do_switch();
        wait_for_load(ledger, 500);
        rig.kill_interlay();
        rig.start_interlay();
        CHECK(rig.authority() == "target");
        wait_for_load(ledger, 500);
        check_equal(rig, ledger);
        rig.do_rollback();
        wait_for_load(ledger, 500);
        CHECK(rig.authority() == "source");
    }
    check_equal(rig, ledger);
    check_ledger(ledger, rig.source());
}
