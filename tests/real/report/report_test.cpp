// Hazard: a report that an owner signs is wrong, shows a secret, or runs what somebody wrote into a
// reason. A whole migration, then its report in every form.
#include <algorithm>
#include <doctest/doctest.h>
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
    rig.bring_to_ready();
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
    for (const std::string& text :
         {html, rig.expect(0, {"report"}), rig.expect(0, {"report", "--format", "json"})}) {
        CHECK_FALSE(has(text, Rig::kOwnPassword));
        CHECK_FALSE(has(text, Rig::kPassword));
        CHECK(has(text, "approve switch"));
    }

    const json report = last_result(rig.expect(0, {"report", "--json"})).at("report");
    CHECK(report.at("authority") == "target");
    CHECK(report.at("endpoints").size() == 2);
    CHECK(report.at("switches").size() == 3);
    CHECK(report.at("switches").at(1).at("what") == "rollback");
    CHECK(report.at("switches").at(0).at("steps_us").contains("C5"));
    CHECK(report.at("data").at("missing") == 0);
    CHECK(report.at("traffic").at("requests") > 0);
    const json& timeline = report.at("timeline");
    CHECK(std::is_sorted(timeline.begin(), timeline.end(), [](const json& a, const json& b) {
        return a.at("at_ms") < b.at("at_ms");
    }));
    int moves = 0;
    for (const json& row : timeline) moves += row.at("kind") == "authority" ? 1 : 0;
    CHECK(moves == 3);
    bool skipped = false;
    for (const json& text : report.at("left"))
        skipped = skipped || has(text.get<std::string>(), "was skipped by");
    INFO(report.at("left").dump());
    CHECK(skipped);
    rig.expect(64, {"report", "-o", rig.file("report.doc")});
}
