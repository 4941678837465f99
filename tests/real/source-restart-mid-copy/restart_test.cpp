// Hazard: the source restarts while it is being copied, cleanly or with the loss of what it had not
// saved. The copy goes on without a full synchronisation and ends exact: the source is the truth,
// also when it came back older than the target.
#include <doctest/doctest.h>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

nlohmann::json forward(Rig& rig) {
    std::istringstream lines(rig.expect(0, {"status", "--json"}));
    for (std::string line; std::getline(lines, line);) {
        const auto report = nlohmann::json::parse(line, nullptr, false);
        if (report.is_object() && report.contains("forward")) return report["forward"];
    }
    return nlohmann::json::object();
}

/// A migration whose copy is slow enough to be interrupted.
struct Copying {
    Rig rig;
    Ledger ledger;
    std::future<RunResult> migrate;

    Copying() : rig(options()), ledger(load_through(rig)) {
        fill_server(own(rig.source()).get(), 10'000, 9);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        ledger.start();
        wait_for_load(ledger, 500);
        rig.expect(0,
                   {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
        rig.expect(0, {"analyze"});
        migrate = std::async(std::launch::async, [this] {
            return rig.exodus({"migrate", "--until", "ready", "--throttle", "bytes_per_s=200000",
                               "--skip-gate", "compare", "--skip-gate", "test", "--reason", "test"},
                              {}, milliseconds(300'000));
        });
        REQUIRE(eventually(
            milliseconds(60'000),
            [&] {
                const auto now = forward(rig);
                return now.value("stage", "") == "filling" && now.value("items_done", 0) > 200;
            },
            milliseconds(50)));
    }
    static RigOptions options() {
        RigOptions options;
        options.source_config = {"shutdown-timeout 1"};
        options.config = {{"migrate.throttle", "origin_p99_ratio = 1.5"}};  // the default
        return options;
    }
    void restart_source(const char* how) {
        try {
            rig.source().command({"SHUTDOWN", how});
        } catch (const std::runtime_error&) {  // it closes the connection instead of answering
        }
        REQUIRE(eventually(milliseconds(30'000), [&] { return !rig.source().running(); }));
        rig.source().start();
        rig.source().login(Rig::kOwnUser, Rig::kOwnPassword);
        REQUIRE(eventually(milliseconds(30'000),
                           [&] { return rig.source().text({"PING"}) == "PONG"; }));
    }
    void finish() {
        CHECK(migrate.wait_for(milliseconds(0)) != std::future_status::ready);
        rig.expect(0, {"migrate", "--throttle", "bytes_per_s=0"});
        REQUIRE(migrate.wait_for(milliseconds(240'000)) == std::future_status::ready);
        const RunResult result = migrate.get();
        INFO(result.out, result.err, rig.interlay_log());
        CHECK(result.code == 0);
        check_equal(rig, ledger);
        CHECK(rig.source().info("total_forks") == "0");
    }
};

}  // namespace

TEST_CASE("a clean restart of the source while it is copied") {
    Copying c;
    c.restart_source("SAVE");
    wait_for_load(c.ledger, 1'000);
    c.finish();
    c.rig.do_switch();
    check_ledger(c.ledger, c.rig.target());
}

TEST_CASE("a source that comes back older than what was copied from it") {
    Copying c;
    c.rig.source().command({"SAVE"});
    wait_for_load(c.ledger, 2'000);  // lost by the source with what it had not saved
    c.rig.source().command({"SET", "lost:by:the:source", "1"});
    c.restart_source("NOSAVE");
    CHECK(c.rig.source().text({"EXISTS", "lost:by:the:source"}) == "0");
    wait_for_load(c.ledger, 1'000);
    c.finish();
    CHECK(c.rig.target().text({"EXISTS", "lost:by:the:source"}) == "0");
    const std::string events = c.rig.expect(0, {"events"});
    INFO(events);
    CHECK(events.find("every key is read again") != std::string::npos);
}
