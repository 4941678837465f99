// Hazard: the target dies or hangs while `compare` mirrors reads to it. Applications notice
// nothing; compare goes on when the target is back, or ends by itself and says why; it never hangs,
// and what an absent target did not answer is no difference.
#include <doctest/doctest.h>
#include <future>

#include "tests/support/following.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Comparing {
    Rig rig;
    Ledger ledger;
    std::future<RunResult> compare;

    explicit Comparing(const std::vector<std::string>& more) : rig(options()), ledger(strict(rig)) {
        fill_server(own(rig.source()).get(), 1'000, 9);
        bring_to_analyzed(rig, ledger);
        std::vector<std::string> words{"compare"};
        words.insert(words.end(), more.begin(), more.end());
        compare = std::async(std::launch::async, [this, words] {
            return rig.exodus(words, {}, milliseconds(300'000));
        });
        const uint64_t before = mirrored();
        REQUIRE(eventually(milliseconds(90'000), [&] { return mirrored() > before + 200; }));
    }
    static RigOptions options() {
        RigOptions options;
        options.target_config = {"appendonly yes", "appendfsync everysec"};
        return options;
    }
    static LedgerOptions strict(const Rig& rig) {
        LedgerOptions options = load_through(rig);
        options.reconnect = false;
        return options;
    }
    /// Reads that the target answered to applications' users; exodus itself asks as another one.
    uint64_t mirrored() {
        const std::string calls = rig.target().info("cmdstat_get");
        const auto at = calls.find("calls=");
        return at == std::string::npos ? 0 : std::stoull(calls.substr(at + 6));
    }
    [[nodiscard]] bool running() const {
        return compare.wait_for(milliseconds(0)) != std::future_status::ready;
    }
    void check_unaffected() {
        wait_for_load(ledger, 2'000);
        CHECK(ledger.violations() == std::vector<std::string>{});
        CHECK(ledger.summary().errors.empty());
        CHECK(ledger.summary().connections_lost == 0);
    }
    /// The end of compare, at most four minutes from now.
    RunResult ended() {
        REQUIRE(compare.wait_for(milliseconds(240'000)) == std::future_status::ready);
        return compare.get();
    }
};

}  // namespace

TEST_CASE("compare goes on when a target that hung or was killed is back") {
    // So few that each differing answer can be read again.
    Comparing c({"--mode", "reads", "--json", "--min-samples", "100000000", "--duration", "40s",
                 "--mirror-percent", "10"});
    c.rig.target().freeze(true);
    c.check_unaffected();
    CHECK(c.running());
    c.rig.target().freeze(false);
    c.check_unaffected();
    c.rig.target().kill();
    c.check_unaffected();
    CHECK(c.running());
    c.rig.target().start();
    const uint64_t before = traffic(c.rig, "/commands/GET/equal");
    CHECK(eventually(milliseconds(60'000),
                     [&] { return traffic(c.rig, "/commands/GET/equal") > before + 100; }));
    CHECK(c.running());
    c.check_unaffected();
    const RunResult result = c.ended();
    INFO(result.out, result.err);
    // Not enough, and never a difference: the data are equal.
    CHECK(result.code == 2);
    uint64_t compared = 0;
    const auto last = last_result(result.out);
    for (const auto& row : last.at("numbers").at("reads").at("classes")) {
        CHECK(row.at("confirmed") == 0);
        compared += row.at("comparisons").get<uint64_t>();
    }
    CHECK(compared > 100);
    wait_applied(c.rig, c.ledger);
    check_equal(c.rig, c.ledger);
    check_ledger(c.ledger, c.rig.source());
}

TEST_CASE("compare ends by itself when the target stays away") {
    Comparing c({"--mode", "reads", "--min-samples", "100000000"});
    c.rig.target().kill();
    c.check_unaffected();
    const RunResult result = c.ended();
    INFO(result.out, result.err);
    CHECK(result.code == 69);
    CHECK((result.out + result.err).find("nothing could be compared") != std::string::npos);
    c.check_unaffected();
    c.rig.target().start();
    wait_applied(c.rig, c.ledger);
    check_equal(c.rig, c.ledger);
    check_ledger(c.ledger, c.rig.source());
}

TEST_CASE("compare ends inconclusive after --duration, whatever the target does") {
    Comparing c({"--mode", "reads", "--min-samples", "100000000", "--duration", "15s"});
    c.rig.target().freeze(true);
    c.check_unaffected();
    const RunResult result = c.ended();
    INFO(result.out, result.err);
    CHECK(result.code == 2);
    c.rig.target().freeze(false);
    wait_applied(c.rig, c.ledger);
    check_equal(c.rig, c.ledger);
    check_ledger(c.ledger, c.rig.source());
}
