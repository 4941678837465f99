// The report from a state file that the test fills: what an owner signs must say what the gates
// say, and of which attempt and configuration each number is.
#include "workflow/report.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "cli/report_document.h"
#include "tests/unit/phases/drive.h"
#include "workflow/evidence.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;
namespace kind = evidence_kind;

namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

struct Book : Stage {
    json collect() {
        auto mine = context();
        auto report = collect_report(mine);
        REQUIRE(report);
        (*report)["configuration"] = cli::report_configuration(values);
        return *report;
    }
    /// As HTML and as Markdown, without the escapes of either.
    std::pair<std::string, std::string> texts() {
        const auto document = cli::make_document(collect());
        std::string html = cli::to_html(document);
        std::string markdown = cli::to_markdown(document);
        std::erase(markdown, '\\');
        return {html, markdown};
    }
    void check_both(const std::string& part) {
        const auto [html, markdown] = texts();
        CAPTURE(part);
        CHECK(has(html, part));
        CHECK(has(markdown, part));
    }
    void put(const char* name, const json& data, const EvidenceContext& of = {}, int attempt = 1) {
        EvidenceRow evidence;
        evidence.attempt = attempt;
        evidence.kind = name;
        evidence.verdict = EvidenceVerdict::pass;
        evidence.data = data.dump();
        evidence.context = of;
        REQUIRE(store->add_evidence(row().id, evidence));
    }
    json gate(const std::string& name) {
        const json gates = collect().at("gates");
        for (const json& one : gates) {
            if (one.at("gate") == name) return one;
        }
        return {};
    }
    bool is_left(const std::string& part) {
        const json left = collect().at("left");
        return std::any_of(left.begin(), left.end(),
                           [&](const json& text) { return has(text.get<std::string>(), part); });
    }
    json of_kind(const std::string& what) {
        json out = json::array();
        const json all = collect().at("timeline");
        for (const json& one : all) {
            if (one.at("kind") == what) out.push_back(one);
        }
        return out;
    }

    std::vector<ConfigValue> values;
};

json one_class(uint64_t comparisons, uint64_t confirmed) {
    return {{"classes",
             {{{"class", "GET"},
               {"comparisons", comparisons},
               {"confirmed", confirmed},
               {"unresolved", 0},
               {"aa_comparisons", 1000},
               {"aa_confirmed", 10}}}}};
}

json verified(uint64_t missing) {
    return {{"source_keys", 1'204}, {"target_keys", 1'204}, {"compared", 1'204},
            {"missing", missing},   {"extra", 0},           {"different", 0},
            {"unresolved", 0}};
}

}  // namespace

TEST_CASE("every verdict of a report is that of a gate") {
    Book book;
    CHECK(book.gate("compare").at("verdict") == "MISSING");
    CHECK(book.gate("switch").at("verdict") == "MISSING");
    until_ready(book);
    for (const char* name : {"pretest", "analyze", "compare", "test", "follow"})
        CHECK(book.gate(name).at("verdict") == "PASS");
    book.check_both("Gate compare: PASS.");

    // No divergence in too few answers: a report must not call that good.
    book.put(kind::kCompareReads, one_class(3, 0));
    CHECK(book.gate("compare").at("verdict") == "INCONCLUSIVE");
    book.check_both("Gate compare: INCONCLUSIVE: answers of GET");
    CHECK_FALSE(has(book.texts().first, "✓ Gate compare"));
    CHECK_FALSE(has(book.texts().first, "✓ 3 mirrored reads"));

    // Equal after each, but the pause was too long.
    book.put(kind::kRehearsal, {{"switches", 3},
                                {"rollbacks", 3},
                                {"hold_p99_us", 2'900'000},
                                {"equal_after_each", true}});
    CHECK(book.gate("test").at("verdict") == "FAIL");
    book.check_both("Gate test: FAIL: pause p99");
    CHECK_FALSE(has(book.texts().first, "✓ Rehearsal"));

    REQUIRE(skip_gate(*book.store, book.row(), Gate::test, "no time", book.owner));
    CHECK(book.gate("test").at("verdict") == "SKIPPED");
    book.check_both("Gate test: SKIPPED: mira@ops1: no time");
}

TEST_CASE("the gates of switch and commit tell who went through them") {
    Book book;
    until_ready(book);
    EXPECT(approve(book), 0);
    CHECK(book.gate("commit").at("verdict") == "MISSING");
    CHECK(book.collect().at("gates").size() == 8);  // each once
    EXPECT(migrate(book, MigrateGoal::switched), 0);
    CHECK(book.gate("switch").at("verdict") == "PASS");
    CHECK(has(book.gate("switch").at("why"), "confirmed by mira@ops1 at 20"));
    CHECK(book.gate("commit").at("verdict") != "PASS");
    EXPECT(commit(book), 0);
    CHECK(book.gate("commit").at("verdict") == "PASS");
    book.check_both("Gate commit: PASS: confirmed by mira@ops1");
    CHECK_FALSE(book.is_left("not recorded"));
    CHECK(book.is_left("the fence of the source"));
}

TEST_CASE("a report says in all formats how many switches it does not list") {
    Book book;
    book.put(kind::kCutover, {{"kind", "switch"}, {"outcome", "done"}});
    CHECK(book.collect().at("switches_left_out") == 0);
    CHECK_FALSE(has(book.texts().first, "are not listed"));
    for (std::size_t i = 0; i < limits::kStatusSwitches_max + 6; ++i)
        book.put(kind::kCutover, {{"kind", "switch"}, {"outcome", "done"}});
    CHECK(book.collect().at("switches_left_out") == 7);
    book.check_both("7 older ones are not listed.");
}

TEST_CASE("evidence says of which attempt and configuration it is") {
    Book book;
    until_ready(book);
    const json fresh = book.collect();
    REQUIRE(fresh.at("evidence").size() >= 10);
    for (const json& one : fresh.at("evidence")) {
        CHECK(one.at("attempt") == 1);
        CHECK(one.at("version") == "1.0");
        CHECK_FALSE(one.at("earlier_attempt").get<bool>());
        CHECK_FALSE(one.at("other_config").get<bool>());
    }
    book.check_both("All of it was measured with configuration config-1.");
    book.check_both("UTC in attempt 1, by exodus 1.0, with configuration config-1.");
    CHECK_FALSE(has(book.texts().second, "compare.reads: it "));

    EXPECT(rollback(book), 0);
    book.settings.config_hash = "config-2";
    EXPECT(pretest(book), 0);
    CHECK(book.row().attempt == 2);
    book.check_both("compare.reads: it is of attempt 1, not of attempt 2; it no longer counts");
    book.check_both("the configuration changed since");
    book.check_both("Some of it was measured with another configuration than the present one");
    book.check_both("config-1 (another)");
    book.check_both("pretest.checks: measured ");
    CHECK_FALSE(has(book.texts().second, "pretest.checks: it "));
}

TEST_CASE("what a rollback left behind is in the report until somebody removed it") {
    Book book;
    until_ready(book);
    book.world.residue[Side::target] = {"exodus:cp:1"};
    EXPECT(rollback(book), 0);
    CHECK(book.is_left("left behind, seen 20"));
    CHECK(book.is_left("target: exodus:cp:1"));
    book.check_both("target: exodus:cp:1");
    book.world.residue.clear();
    EXPECT(rollback(book), 0);
    CHECK_FALSE(book.is_left("left behind"));
    CHECK_FALSE(book.is_left("not recorded"));

    FenceRow fence;
    fence.side = Side::target;
    fence.prepared = "rules";
    REQUIRE(book.store->put_fence(book.row().id, fence));
    CHECK(book.is_left("the fence of the target may still stand, since 20"));
    book.check_both("The target is fenced since 20");
}

TEST_CASE("a proof that was given up and then came after all is not left") {
    Book book;
    until_ready(book);
    EXPECT(approve(book), 0);
    EXPECT(migrate(book, MigrateGoal::switched), 0);
    book.put(kind::kCommitGivenUp, {{"given_up", {"the final verify"}}});
    CHECK_FALSE(book.is_left("not proven"));  // nothing is committed yet
    EXPECT(commit(book), 0);
    CHECK_FALSE(book.is_left("not proven"));
    book.put(kind::kCommitGivenUp, {{"given_up", {"the final verify"}}});
    CHECK(book.is_left("not proven at commit: the final verify"));
}

TEST_CASE("no failure hides behind warnings") {
    Book book;
    std::vector<Finding> many;
    for (int i = 0; i < 60; ++i)
        many.push_back({fmt::format("fake.warn.{}", i), Severity::warn, "both", "small", ""});
    many.push_back({"fake.late", Severity::fail, "both", "no rights", "grant them"});
    REQUIRE(book.store->put_findings(book.row().id, "pretest", many));
    const json found = book.collect().at("findings");
    CHECK(found.at("list").size() == 50);
    CHECK(found.at("list").at(0).at("id") == "fake.late");
    CHECK(found.at("more") == 11);
    CHECK(book.is_left("fake.late: no rights"));
    book.check_both("11 more are not listed here.");
}

TEST_CASE("what was migrated, or that nobody knows") {
    Book book;
    CHECK(book.collect().at("migrated").at("items").is_null());
    book.check_both("not known");
    book.put(
        kind::kPlan,
        {{"plan", {{"feed", "stream"}}},
         {"profile",
          {{"keys", 1'000}, {"dataset_bytes", 4'096}, {"databases", 2}, {"complete", false}}}});
    book.check_both("about 1,000 (analyze.plan, ");
    book.check_both("about 4.0 KiB (analyze.plan, ");
    book.put(kind::kCompareData, verified(0));
    book.settings.scope.exclude = {"cache:*"};
    CHECK(book.collect().at("migrated").at("items").at("count") == 1'204);
    book.check_both("1,204 (compare.data, ");
    book.check_both("everything");
    book.check_both("cache:*");
    book.settings.config_hash.clear();
    CHECK(book.collect().at("migrated").at("scope").is_null());
    book.check_both("The configuration could not be read");
}

TEST_CASE("the timeline has pauses, knobs, canary steps, skips and what was refused") {
    Book book;
    until_ready(book);
    EXPECT(migrate(book, MigrateGoal::pause), 0);
    const int64_t id = book.row().id;
    REQUIRE(book.store->set_mirror(book.row(), 5, book.owner));
    REQUIRE(book.store->add_event(id, "warn", "canary.taken-back", "errors rose"));
    REQUIRE(book.store->add_event(id, "info", "state.changed", "told by the phases"));
    Owner other = book.owner;
    other.pid = 2;  // a process of its own, as every command is
    REQUIRE(skip_gate(*book.store, book.row(), Gate::compare, "late", other));
    MigrateOptions canary;
    canary.canary_percent = 10;
    EXPECT(migrate(book, MigrateGoal::canary, canary), 0);

    const auto says = [](const json& rows, const std::string& text) {
        return std::any_of(rows.begin(), rows.end(),
                           [&](const json& row) { return has(row.dump(), text); });
    };
    CHECK(says(book.of_kind("command"), "the copy rests"));
    CHECK(says(book.of_kind("event"), "5 % of the comparable reads"));
    CHECK(says(book.of_kind("event"), "errors rose"));
    CHECK_FALSE(says(book.of_kind("event"), "state.changed"));
    CHECK(says(book.of_kind("decision"), "skip compare"));
    CHECK(says(book.of_kind("route"), "canary: 10 %"));
    CHECK_FALSE(says(book.of_kind("route"), "held writes go out"));  // of a hand-over
    CHECK(says(book.of_kind("phase"), "\"command\":\"analyze\""));
    CHECK_FALSE(says(book.of_kind("command"), "analyze"));  // told once
    for (const char* part : {"the copy rests", "errors rose", "skip compare", "canary: 10 %"})
        book.check_both(part);
}

TEST_CASE("values that decide something are shown also at their default, and no command is") {
    const json rows = cli::report_configuration({{"migrate.strategy", "\"big-bang\"", "default"},
                                                 {"cutover.hold_timeout", "5s", "exodus.toml:9"},
                                                 {"interlay.threads", "1", "default"},
                                                 {"source.uri", "redis://a", "exodus.toml:2"},
                                                 {"redis.fence.command", "deny --token T", "x:3"},
                                                 {"compare.rule", "ignore for TIME", "x"}});
    REQUIRE(rows.size() == 5);
    CHECK(rows.at(0) ==
          json{{"key", "migrate.strategy"}, {"value", "big-bang"}, {"origin", "default"}});
    CHECK(rows.at(1).at("value") == "5s");
    CHECK(rows.at(2).at("key") == "source.uri");
    CHECK(rows.at(3).at("value") == "(set)");
    CHECK(rows.at(4).at("value") == "ignore for TIME");
}

TEST_CASE("HTML and Markdown have every section, the plots and the numbers behind them") {
    Book book;
    book.values = {{"gates.evidence_age", "\"24h\"", "default"}};
    until_ready(book);
    EXPECT(approve(book), 0);
    book.put(kind::kTraffic,
             {{"requests", 900},
              {"duration_ms", 3'000},
              {"commands", {{"GET", {{"requests", 900}, {"errors", 1}, {"p99_us", 400}}}}},
              {"series",
               {{{"at_ms", 1'000}, {"requests_per_s", 300.0}},
                {{"at_ms", 2'000}, {"requests_per_s", 310.0}}}}});
    book.put(kind::kCompareReads, one_class(1'000'000, 10));
    book.put(kind::kDrills, {{"drills", {{{"name", "crash at C3"}, {"passed", true}}}}});
    book.put(kind::kCutover, {{"kind", "switch"},
                              {"outcome", "aborted"},
                              {"hold_us", 3'000'000},
                              {"steps", {{"C1", 1'000}, {"C5", 2'900'000}}},
                              {"failed_step", "C5"},
                              {"why", "the target did not catch up"}});
    for (const char* part : {"Summary",
                             "Left to do by hand",
                             "Gates",
                             "What was migrated",
                             "Timeline",
                             "Workload",
                             "Compatibility findings",
                             "Comparison of answers",
                             "Tests before the switch",
                             "Switches, rollbacks and rehearsals",
                             "Evidence",
                             "Versions and configuration",
                             "Requests per second",
                             "Requests by command",
                             "How long writes waited",
                             "10 confirmed divergences",
                             "noise",
                             "Rehearsal: ",
                             "crash at C3",
                             "was aborted at C5: the target did not catch up",
                             "fake 1",
                             "gates.evidence",
                             "24h",
                             "default"})
        book.check_both(part);
    const std::string html = book.texts().first;
    CHECK(has(html, "<polyline points="));
    CHECK(has(html, "<rect class=\"bar\""));
    CHECK(has(html, "0.001 %"));  // the interval is around the rate
    const json report = book.collect();
    for (const char* field :
         {"gates", "evidence", "migrated", "fences", "left", "timeline", "traffic", "classes",
          "rehearsal", "drills", "switches", "configuration", "findings", "endpoints"})
        CHECK(report.contains(field));
    CHECK(report.at("classes").at(0).at("noise") == doctest::Approx(0.01));
    CHECK(report.at("classes").at(0).at("upper") > report.at("classes").at(0).at("lower"));
    CHECK(report.at("switches").at(0).at("failed_step") == "C5");
}
