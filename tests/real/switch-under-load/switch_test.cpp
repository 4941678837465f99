// Hazard: a switch or a rollback loses, doubles or reorders a write, answers from the wrong side, or drops a client.
// Ten switches and rollbacks in turn while ten connections write with unique ids; then the ledger reads the authority.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/compare_servers.h"
#include "tests/support/ledger.h"
#include "tests/support/rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

LedgerOptions load_options(const Rig& rig) {
    LedgerOptions options;
    options.port = rig.port();
    options.user = Rig::kUser;
    options.password = Rig::kPassword;
    options.reconnect = false;
    return options;
}

ContextPtr own(RedisServer& server) {
    auto context = server.connect();
    send_command(context.get(), {"AUTH", Rig::kOwnUser, Rig::kOwnPassword});
    return context;
}

void wait_for_load(const Ledger& ledger, uint64_t more) {
    const uint64_t from = ledger.summary().acknowledged;
    REQUIRE(eventually(milliseconds(30'000), [&] { return ledger.summary().acknowledged >= from + more; }));
}

/// With the load paused both servers must become equal, whatever the direction of the stream.
void check_equal(Rig& rig, Ledger& ledger) {
    ledger.pause(true);
    const auto source = own(rig.source());
    const auto target = own(rig.target());
    ServersCompared last;
    eventually(milliseconds(20'000), [&] { return (last = compare_servers(source.get(), target.get())).count == 0; }, milliseconds(200));
    CHECK(last.differences == std::vector<std::string>{});
    ledger.pause(false);
}

}  // namespace

TEST_CASE("ten switches and rollbacks under load: every acknowledged write exactly once") {
    Rig rig;
    fill_server(own(rig.source()).get(), 5'000, 3);
    rig.expect(0, {"init", "redis", "--existing"});
    rig.start_interlay();
    Ledger ledger(load_options(rig));
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
            wait_for_load(ledger, 2'000);
            longest.record(ledger.take_latency().max());
            CHECK(rig.authority() == (forward ? "target" : "source"));
            check_equal(rig, ledger);
            REQUIRE(ledger.violations() == std::vector<std::string>{});
        }
    }
    ledger.stop();
    const LedgerSummary summary = ledger.summary();
    fmt::print("{} writes acknowledged, {} refused, {} unknown; longest request around each switch: p50 {} ms, max {} ms\n",
               summary.acknowledged, summary.refused, summary.unknown, longest.percentile(0.5) / 1000, longest.max() / 1000);
    for (const auto& [text, count] : summary.errors) fmt::print("error reply ({} times): {}\n", count, text);
    CHECK(summary.connections_lost == 0);
    CHECK(ledger.check(rig.source().port(), Rig::kOwnUser, Rig::kOwnPassword) == std::vector<std::string>{});
    CHECK(rig.stop_interlay() == 0);
}
