// Hazard: a report that an owner signs is wrong, shows a secret, or runs what somebody wrote into a
// reason. A whole migration, then its report in every form.
#include <algorithm>
#include <doctest/doctest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the report of a whole migration") {
    RigOptions options;
    options.config = {{"compare", "budget = 0.05"}, {"gates", "compare_samples_min = 300"}};
    Rig rig(options);
    fill_server(own(rig.source()).get(), 1'000, 3);
    rig.expect(0, {"init", "redis"});
    CHECK(has(rig.expect(0, {"report"}), "Not analyzed"));  // before anything
    rig.start_interlay();
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    write_file(rig.file("smoke.txt"), "PING => PONG\n");
    rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    rig.expect(0, {"analyze"});
    rig.expect(0, {"compare"});
    // Without the crash drills the gate stays shut; they are of a test of their own.
    rig.expect(2, {"test", "--smoke", rig.file("smoke.txt"), "--drill", "switch,rollback"});
    CHECK(has(rig.expect(0, {"report"}), "Gate test: MISSING"));
    rig.expect(0, {"migrate", "--until", "ready", "--skip-gate", "test", "--reason", "test"});
    rig.do_switch();
    rig.do_rollback();
    const std::string reason = "<script>alert(1)</script> | \"quoted\"";
    rig.expect(0, {"migrate", "--until", "ready", "--skip-gate", "compare", "--skip-gate", "test",
                   "--reason", reason});
    rig.expect(0, {"approve", "switch", "--reason", reason});
    rig.expect(0, {"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
    ledger.stop();
    rig.expect(0, {"commit", "--confirm", Rig::kName, "--reason", "done"});

    const std::string file = rig.file("report.html");
    CHECK(has(rig.expect(0, {"report", "-o", file}), file));
    struct stat info {};
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    const std::string html = read_file(file);
    CHECK(has(html, "The target is authoritative. State: committed."));
    CHECK(has(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
    CHECK_FALSE(has(html, "<script"));
    CHECK_FALSE(has(html, "src="));
    CHECK(has(html, "<svg role=\"img\""));
    CHECK(has(html, "<rect class=\"bar\""));
    const std::string markdown = rig.expect(0, {"report"});
    for (const char* part :
         {"Left to do by hand", "Gates", "What was migrated", "Timeline", "Workload",
          "Requests by command", "Compatibility findings", "Comparison of answers", "noise",
          "Tests before the switch", "Rehearsal: ", "Switches, rollbacks and rehearsals",
          "How long writes waited", "Evidence: when", "Versions and configuration", "big-bang",
          "everything", "confirmed by "}) {
        CAPTURE(part);
        CHECK(has(html, part));
        CHECK(has(markdown, part));
    }
    for (const std::string& text :
         {html, rig.expect(0, {"report"}), rig.expect(0, {"report", "--format", "json"})}) {
        CHECK_FALSE(has(text, Rig::kOwnPassword));
        CHECK_FALSE(has(text, Rig::kPassword));
        CHECK(has(text, "approve switch"));
    }

    const json status = last_result(rig.expect(0, {"status", "--json"}));
    const json report = last_result(rig.expect(0, {"report", "--json"})).at("report");
    CHECK(report.at("authority") == "target");
    CHECK(report.at("endpoints").size() == 2);
    CHECK(report.at("switches").size() >= 5);  // a rehearsal of both ways, then three
    CHECK(report.at("switches").at(1).at("what") == "rollback");
    CHECK(report.at("switches").at(0).at("steps_us").contains("C5"));
    CHECK(report.at("data").at("missing") == 0);
    CHECK(report.at("migrated").at("items").at("count") > 0);
    CHECK(report.at("migrated").at("bytes").at("count") > 0);
    CHECK(report.at("rehearsal").at("switches") > 0);
    for (const json& end : report.at("endpoints")) {
        const auto version = end.at("version").get<std::string>();
        REQUIRE_FALSE(version.empty());
        CHECK(has(html, version));
        CHECK(has(markdown, version));
    }
    CHECK(report.at("classes").at(0).contains("upper"));
    std::map<std::string, std::string> verdicts;
    for (const json& gate : report.at("gates"))
        verdicts[gate.at("gate").get<std::string>()] = gate.at("verdict").get<std::string>();
    CHECK(verdicts["compare"] == "SKIPPED");
    CHECK(verdicts["switch"] == "PASS");
    CHECK(verdicts["commit"] == "PASS");
    CHECK(status.at("gates").size() <= report.at("gates").size());
    for (const json& gate : status.at("gates")) {
        CAPTURE(gate.dump());
        CHECK(verdicts[gate.at("gate").get<std::string>()] == gate.at("verdict"));
    }
    for (const json& one : report.at("evidence")) {
        CAPTURE(one.dump());
        CHECK(one.at("version") == report.at("version"));
        CHECK_FALSE(one.at("config_hash").get<std::string>().empty());
    }
    bool by_default = false;
    for (const json& value : report.at("configuration"))
        by_default = by_default ||
                     (value.at("key") == "migrate.strategy" && value.at("origin") == "default");
    CHECK(by_default);
    CHECK(report.at("traffic").at("requests") > 0);
    const json& timeline = report.at("timeline");
    CHECK(std::is_sorted(timeline.begin(), timeline.end(), [](const json& a, const json& b) {
        return a.at("at_ms") < b.at("at_ms");
    }));
    int moves = 0;
    for (const json& row : timeline) moves += row.at("kind") == "authority" ? 1 : 0;
    std::ptrdiff_t done = 0;
    for (const json& row : report.at("switches")) done += row.at("outcome") == "done" ? 1 : 0;
    CHECK(moves >= 3);
    CHECK(moves == done);
    bool skipped = false;
    for (const json& text : report.at("left"))
        skipped = skipped || has(text.get<std::string>(), "was skipped by");
    INFO(report.at("left").dump());
    CHECK(skipped);
    rig.expect(64, {"report", "-o", rig.file("report.doc")});
}
