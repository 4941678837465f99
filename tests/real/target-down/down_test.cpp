// Hazard: the target hangs, dies or runs out of memory while it is followed (mirroring is off
// here). Applications must notice nothing, and when it is back the stream goes on to an exact copy.
#include <doctest/doctest.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Following {
    Rig rig;
    Ledger ledger;
    explicit Following(RigOptions options) : rig(std::move(options)), ledger(ledger_options(rig)) {
        fill_server(own(rig.source()).get(), 2'000, 9);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        ledger.start();
        wait_for_load(ledger, 500);
        rig.bring_to_ready();
    }
    static LedgerOptions ledger_options(const Rig& rig) {
        LedgerOptions options = load_through(rig);
        options.reconnect = false;
        return options;
    }
    /// The load must go on as if nothing had happened: no error, no lost connection.
    void check_unaffected() {
        wait_for_load(ledger, 2'000);
        CHECK(ledger.violations() == std::vector<std::string>{});
        CHECK(ledger.summary().errors.empty());
        CHECK(ledger.summary().connections_lost == 0);
    }
};

}  // namespace

TEST_CASE("a target that hangs, and one that is killed and comes back with its data") {
    RigOptions options;
    options.target_config = {"appendonly yes", "appendfsync always"};
    Following f(options);
    f.rig.target().freeze(true);
    f.check_unaffected();
    f.rig.target().freeze(false);
    check_equal(f.rig, f.ledger);

    f.rig.target().kill();
    f.check_unaffected();
    f.rig.target().start();
    f.rig.target().login(Rig::kOwnUser, Rig::kOwnPassword);
    REQUIRE(eventually(milliseconds(30'000), [&] {
        return f.rig.target().text({"PING"}) == "PONG";
    }));  // it loads its data first
    check_equal(f.rig, f.ledger);
    check_ledger(f.ledger, f.rig.source());
}

TEST_CASE("a target out of memory holds the stream back until there is room") {
    Following f({});
    f.rig.target().command({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
    f.rig.target().command({"CONFIG", "SET", "maxmemory", "1mb"});
    f.check_unaffected();
    f.rig.target().command({"CONFIG", "SET", "maxmemory", "0"});
    check_equal(f.rig, f.ledger);
    check_ledger(f.ledger, f.rig.source());
}
