// The gates from stored evidence: missing, passing, failing and stale evidence of each, and what
// only a person can decide.
#include "workflow/gates.h"

#include <doctest/doctest.h>
#include <utility>

#include "base/limits.h"
#include "fake_world.h"
#include "workflow/evidence.h"

using namespace exodus;
using namespace exodus::test;
namespace kind = evidence_kind;

namespace {

constexpr int64_t kNow_ms = 1'900'000'000'000;

/// A migration whose evidence the test writes; time and configuration are what it says.
class Book {
  public:
    Book() {
        settings.migration = "m";
        settings.family = "redis";
        settings.config_hash = "cfg";
        settings.migrate.manual_approval = true;
        auto opened = WorkflowStore::open(dir.file("s.db"), OpenMode::create);
        REQUIRE(opened);
        store = std::move(*opened);
        auto made = store->create_migration(settings, current_owner());
        REQUIRE(made);
        row = *made;
        context = {"cfg", "plan", "lineage", "schema", "tool"};
    }

    void put(const char* name, const json& data, int64_t at_ms = kNow_ms) {
        EvidenceRow evidence;
        evidence.attempt = row.attempt;
        evidence.kind = name;
        evidence.verdict =
            EvidenceVerdict::pass;  // gates judge the numbers, not what a phase thought of them
        evidence.data = data.dump();
        evidence.context = context;
        evidence.at_ms = at_ms;
        REQUIRE(store->add_evidence(row.id, evidence));
    }

    GateReport report(Gate gate, int64_t now_ms = kNow_ms) {
        const GateInput input{*store, settings, row, context, now_ms};
        auto got = evaluate(gate, input);
        REQUIRE(got);
        for (const GateRow& line : got->rows) INFO(line.requirement << ": " << line.found);
        return *got;
    }
    GateVerdict verdict(Gate gate) { return report(gate).verdict; }

    /// What every gate does with its evidence when the world changed or time passed.
    void check_staleness(Gate gate, int64_t life_ms) {
        CAPTURE(to_string(gate));
        CHECK(report(gate, kNow_ms + life_ms - 1).verdict == GateVerdict::pass);
        CHECK(report(gate, kNow_ms + life_ms + 1).verdict == GateVerdict::stale);
        const std::string before = std::exchange(context.config_hash, "another");
        CHECK(verdict(gate) == GateVerdict::stale);
        const Status refused = require(report(gate));
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == ErrorCode::gate_not_met);
        CHECK(refused.error().message.find("configuration changed") != std::string::npos);
        context.config_hash = before;
        CHECK(verdict(gate) == GateVerdict::pass);
    }

    MemoryDir dir;
    Settings settings;
    std::unique_ptr<WorkflowStore> store;
    MigrationRow row;
    EvidenceContext context;
};

constexpr int64_t kDay_ms = 24LL * 3600 * 1000;

json checks_with(const std::string& severity) {
    return {{"checks",
             {{{"id", "redis.reach.source"}, {"severity", "pass"}, {"text", ""}},
              {{"id", "redis.backlog"}, {"severity", severity}, {"text", "small"}}}}};
}

json verify_of(uint64_t missing, uint64_t extra, uint64_t different, uint64_t unresolved) {
    VerifyResult result;
    result.compared = 100;
    result.missing = missing;
    result.extra = extra;
    result.different = different;
    result.unresolved = unresolved;
    return json::parse(verify_json(result));
}

json class_of(uint64_t comparisons, uint64_t confirmed) {
    return {
        {"classes", {{{"class", "GET"}, {"comparisons", comparisons}, {"confirmed", confirmed}}}}};
}

json readiness(int64_t lag_ms = 0) {
    return {{"lag_ms", lag_ms},
            {"repairs_open", 0},
            {"failed_items", 0},
            {"reverse_stage", "standby"},
            {"reverse_proven_ms", kNow_ms},
            {"sessions_ready", true},
            {"capacity_ok", true},
            {"problems", json::array()}};
}

json following(int64_t lag_ms) {
    return {{"lag_ms_max", lag_ms}, {"for_ms", 60'000},  {"repairs_open", 0},
            {"failed_items", 0},    {"retention_ms", 0}, {"eta_ms", 0}};
}

void put_compared(Book& book) {
    book.put(kind::kCompareReads, class_of(2'000'000, 0));
    book.put(kind::kCompareData, verify_of(0, 0, 0, 0));
}

}  // namespace

TEST_CASE("G1 pretest") {
    Book book;
    CHECK(book.verdict(Gate::pretest) == GateVerdict::missing);
    book.put(kind::kPretestChecks, checks_with("pass"));
    book.put(kind::kPretestUntouched, {{"exodus_writes", 0}, {"events_stored", true}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::missing);  // nobody looked at traffic
    book.put(kind::kPretestTap, {{"requests", 1000}, {"unparsed", 10}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::pass);
    book.check_staleness(Gate::pretest, kDay_ms);

    book.put(kind::kPretestTap, {{"requests", 1000}, {"unparsed", 11}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    book.put(kind::kPretestTap, {{"requests", 1000}, {"unparsed", 0}, {"loss", 0.002}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::inconclusive);
    book.put(kind::kPretestTap, {{"requests", 1000}, {"unparsed", 0}, {"loss", 0.0005}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::pass);
    book.put(kind::kPretestTap, {{"requests", 0}, {"unparsed", 0}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    REQUIRE(acknowledge(*book.store, book.row, "tap", "no capture here", current_owner(), "cfg"));
    CHECK(book.verdict(Gate::pretest) == GateVerdict::pass);

    book.put(kind::kPretestUntouched, {{"exodus_writes", 1}, {"events_stored", true}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    book.put(kind::kPretestUntouched, {{"exodus_writes", 0}, {"events_stored", false}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    book.put(kind::kPretestUntouched, {{"exodus_writes", 0}, {"events_stored", true}});

    // A warning passes when it is accepted by name, for this configuration only; a failure never.
    book.put(kind::kPretestChecks, checks_with("warn"));
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    REQUIRE(acknowledge(*book.store, book.row, "redis.backlog", "quiet at night", current_owner(),
                        "older"));
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    REQUIRE(acknowledge(*book.store, book.row, "redis.backlog", "quiet at night", current_owner(),
                        "cfg"));
    CHECK(book.verdict(Gate::pretest) == GateVerdict::pass);
    book.put(kind::kPretestChecks, checks_with("fail"));
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
    book.put(kind::kPretestChecks, {{"checks", json::array()}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);  // no check at all is no pass
    book.put(kind::kPretestChecks, {{"checks", "text"}});
    CHECK(book.verdict(Gate::pretest) == GateVerdict::fail);
}

TEST_CASE("G2 analyze") {
    Book book;
    CHECK(book.verdict(Gate::analyze) == GateVerdict::missing);
    book.put(kind::kPlan, {{"plan", {{"family", "redis"}}}});
    book.put(kind::kTraffic,
             {{"requests", 1'000}, {"duration_ms", 10}, {"findings", json::array()}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::pass);
    book.check_staleness(Gate::analyze, kDay_ms);
    book.put(kind::kTraffic, {{"requests", 5}, {"duration_ms", 60'000}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::pass);
    book.put(kind::kTraffic, {{"requests", 999}, {"duration_ms", 59'999}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::fail);
    book.put(kind::kTraffic, {{"requests", 0}, {"duration_ms", 99'999}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::fail);
    book.put(kind::kTraffic, {{"requests", 1'000},
                              {"duration_ms", 10},
                              {"findings", {{{"id", "f"}, {"severity", "fail"}}}}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::fail);
    book.put(kind::kTraffic, {{"requests", 1'000},
                              {"duration_ms", 10},
                              {"findings", {{{"id", "f"}, {"severity", "warn"}}}}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::pass);
    book.put(kind::kPlan, {{"plan", json::object()}});
    CHECK(book.verdict(Gate::analyze) == GateVerdict::fail);
}

TEST_CASE("G3 compare") {
    Book book;
    CHECK(book.verdict(Gate::compare) == GateVerdict::missing);
    put_compared(book);
    CHECK(book.verdict(Gate::compare) == GateVerdict::pass);
    book.check_staleness(Gate::compare, kDay_ms);
    // Evidence is about this plan and these data.
    for (std::string EvidenceContext::*part :
         {&EvidenceContext::plan_hash, &EvidenceContext::lineage}) {
        const std::string before = std::exchange(book.context.*part, "another");
        CHECK(book.verdict(Gate::compare) == GateVerdict::stale);
        book.context.*part = before;
    }
    book.put(kind::kCompareReads, class_of(2'000'000, 2'000));
    CHECK(book.verdict(Gate::compare) == GateVerdict::fail);
    // Of a class of which only answers that differ were seen, and none was judged, nothing is
    // known.
    json never_judged = class_of(2'000'000, 0);
    never_judged["classes"].push_back(
        {{"class", "HGET"}, {"comparisons", 0}, {"confirmed", 0}, {"dropped", 3}});
    book.put(kind::kCompareReads, never_judged);
    CHECK(book.verdict(Gate::compare) == GateVerdict::inconclusive);
    // What could not be read again may be confirmed ones: never a pass because of them, and no
    // failure either.
    json unresolved = class_of(2'000'000, 0);
    unresolved["classes"][0]["unresolved"] = 1;
    book.put(kind::kCompareReads, unresolved);
    CHECK(book.verdict(Gate::compare) == GateVerdict::pass);
    unresolved["classes"][0]["unresolved"] = 2'000;
    book.put(kind::kCompareReads, unresolved);
    CHECK(book.verdict(Gate::compare) == GateVerdict::inconclusive);
    REQUIRE(acknowledge(*book.store, book.row, "compare:GET", "rare", current_owner(), "cfg"));
    CHECK(book.verdict(Gate::compare) == GateVerdict::inconclusive);
    REQUIRE(acknowledge(*book.store, book.row, "compare:GET", "rare", current_owner(), "older"));
    book.put(kind::kCompareReads, class_of(1'000, 0));
    CHECK(book.verdict(Gate::compare) == GateVerdict::inconclusive);
    // Too few samples of one class may be accepted; too few in all not.
    REQUIRE(acknowledge(*book.store, book.row, "compare:GET", "rare", current_owner(), "cfg"));
    CHECK(book.verdict(Gate::compare) == GateVerdict::inconclusive);
    book.settings.gates.compare_samples_min = 1'000;
    CHECK(book.verdict(Gate::compare) == GateVerdict::pass);
    book.put(kind::kCompareReads,
             class_of(1'000, 1));  // an acknowledgement never covers a divergence
    CHECK_FALSE(book.report(Gate::compare).open());
    book.put(kind::kCompareReads, class_of(0, 0));
    CHECK_FALSE(book.report(Gate::compare).open());
    put_compared(book);
    for (const json& data : {verify_of(1, 0, 0, 0), verify_of(0, 1, 0, 0), verify_of(0, 0, 1, 0)}) {
        book.put(kind::kCompareData, data);
        CHECK(book.verdict(Gate::compare) == GateVerdict::fail);
    }
    book.put(kind::kCompareData, verify_of(0, 0, 0, 1));
    CHECK(book.verdict(Gate::compare) == GateVerdict::inconclusive);

    CHECK(skip_gate(*book.store, book.row, Gate::compare, "", current_owner()).error().code ==
          ErrorCode::approval_missing);
    REQUIRE(skip_gate(*book.store, book.row, Gate::compare, "no traffic", current_owner()));
    const GateReport skipped = book.report(Gate::compare);
    CHECK(skipped.verdict == GateVerdict::skipped);
    CHECK(skipped.open());
    CHECK(skipped.skipped_by.find("no traffic") != std::string::npos);
    const GateInput input{*book.store, book.settings, book.row, book.context, kNow_ms};
    CHECK(evaluate_unskipped(Gate::compare, input)->verdict == GateVerdict::inconclusive);
}

TEST_CASE("G4 test") {
    Book book;
    CHECK(book.verdict(Gate::test) == GateVerdict::missing);
    const int64_t half_us = book.settings.cutover.hold_timeout_ms * 500;
    const auto rehearsal = [](int64_t p99_us, int rollbacks, bool equal) {
        return json{{"switches", 1},
                    {"rollbacks", rollbacks},
                    {"hold_p99_us", p99_us},
                    {"equal_after_each", equal}};
    };
    json drilled{{"drills", {{{"name", "crash at C3"}, {"passed", true}}}},
                 {"equal_after_all", true}};
    book.put(kind::kSmoke, {{"total", 2}, {"passed", 2}});
    book.put(kind::kRehearsal, rehearsal(half_us, 1, true));
    book.put(kind::kDrills, drilled);
    CHECK(book.verdict(Gate::test) == GateVerdict::pass);
    book.check_staleness(Gate::test, kDay_ms);
    for (const json& data :
         {rehearsal(half_us + 1, 1, true), rehearsal(1, 0, true), rehearsal(1, 1, false)}) {
        book.put(kind::kRehearsal, data);
        CHECK(book.verdict(Gate::test) == GateVerdict::fail);
    }
    book.put(kind::kRehearsal, rehearsal(1, 1, true));
    book.put(kind::kSmoke, {{"total", 0}, {"passed", 0}});
    CHECK(book.verdict(Gate::test) == GateVerdict::fail);
    book.put(kind::kSmoke, {{"total", 2}, {"passed", 2}});
    book.put(kind::kDrills, {{"drills",
                              {{{"name", "crash at C3"}, {"passed", true}},
                               {{"name", "crash at C4"}, {"passed", false}}}},
                             {"equal_after_all", true}});
    CHECK(book.verdict(Gate::test) == GateVerdict::fail);
    // The drills look at what they touched; all data are verified once, behind them.
    drilled["equal_after_all"] = false;
    book.put(kind::kDrills, drilled);
    CHECK(book.verdict(Gate::test) == GateVerdict::fail);
    drilled.erase("equal_after_all");
    book.put(kind::kDrills, drilled);
    CHECK(book.verdict(Gate::test) == GateVerdict::inconclusive);
    REQUIRE(skip_gate(*book.store, book.row, Gate::test, "a copy of yesterday", current_owner()));
    CHECK(book.verdict(Gate::test) == GateVerdict::skipped);
}

TEST_CASE("G5 follow: it is about now, and nobody can skip it") {
    Book book;
    CHECK(book.verdict(Gate::follow) == GateVerdict::missing);
    book.put(kind::kFollow, following(1'000));
    CHECK(book.verdict(Gate::follow) == GateVerdict::pass);
    book.check_staleness(Gate::follow, limits::kReadinessAge_ms_max);
    book.put(kind::kFollow, following(1'001));
    CHECK(book.verdict(Gate::follow) == GateVerdict::fail);
    for (const auto& [field, value] : {std::pair{"for_ms", 59'999}, std::pair{"repairs_open", 1},
                                       std::pair{"failed_items", 1}}) {
        json data = following(0);
        data[field] = value;
        book.put(kind::kFollow, data);
        CHECK(book.verdict(Gate::follow) == GateVerdict::fail);
    }
    json data = following(0);
    data["retention_ms"] = 4'000;
    data["eta_ms"] = 1'000;
    book.put(kind::kFollow, data);
    CHECK(book.verdict(Gate::follow) == GateVerdict::fail);
    CHECK(skip_gate(*book.store, book.row, Gate::follow, "in a hurry", current_owner())
              .error()
              .code == ErrorCode::usage);
}

TEST_CASE("G6 switch: compare, workers, readiness and a decision with an owner") {
    Book book;
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::fail);  // compare does not hold
    put_compared(book);
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::missing);
    auto registry = open_worker_registry(book.store->path(), "m");
    REQUIRE(registry);
    REQUIRE((*registry)->put(this_process("w", book.row.route.epoch)));
    book.put(kind::kReadiness, readiness());
    const Status waits = require(book.report(Gate::switch_over));
    REQUIRE_FALSE(waits);
    CHECK(waits.error().code == ErrorCode::approval_missing);

    const auto say = [&](bool yes, const char* config) {
        REQUIRE(decide(*book.store, book.row, yes, "switch", "window", current_owner(), config));
    };
    say(true, "older");
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::missing);
    say(true, "cfg");
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::pass);
    say(false, "cfg");
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::fail);
    say(true, "cfg");
    // After an abort the next attempt needs its own approval.
    ++book.row.attempt;
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::missing);
    --book.row.attempt;

    // Readiness is about now; compare evidence may be older.
    CHECK(book.report(Gate::switch_over, kNow_ms + limits::kReadinessAge_ms_max + 1).verdict ==
          GateVerdict::stale);
    book.put(kind::kReadiness, readiness(book.settings.cutover.max_lag_ms + 1));
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::fail);
    const std::vector<std::pair<const char*, json>> unready = {
        {"repairs_open", 1},
        {"failed_items", 1},
        {"reverse_proven_ms", 0},
        {"sessions_ready", false},
        {"capacity_ok", false},
        {"reverse_proven_ms", kNow_ms - limits::kProveAge_ms_max - 1},
        {"problems", json::array({"a replica lags"})}};
    for (const auto& change : unready) {
        CAPTURE(change.first);
        json data = readiness();
        data[change.first] = change.second;
        book.put(kind::kReadiness, data);
        CHECK(book.verdict(Gate::switch_over) == GateVerdict::fail);
    }
    book.put(kind::kReadiness, readiness());
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::pass);
    ++book.row.route.epoch;  // a worker that has not heard of the newest route
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::fail);
    --book.row.route.epoch;
    REQUIRE(skip_gate(*book.store, book.row, Gate::compare, "no traffic", current_owner()));
    book.put(kind::kCompareData, verify_of(1, 0, 0, 0));
    CHECK(book.verdict(Gate::switch_over) == GateVerdict::pass);
}

TEST_CASE("G8 commit: watch window, way back, equal data and a typed confirmation") {
    Book book;
    const auto confirm = [&](const char* what) {
        DecisionRow decision;
        decision.attempt = book.row.attempt;
        decision.kind = what;
        decision.subject = "commit";
        decision.reason = "done";
        decision.owner = current_owner();
        decision.config_hash = "cfg";
        REQUIRE(book.store->add_decision(book.row.id, decision));
    };
    CHECK(book.verdict(Gate::commit) == GateVerdict::fail);  // there was no switch
    book.row.switched_ms = kNow_ms - book.settings.cutover.watch_ms;
    CHECK(book.verdict(Gate::commit) == GateVerdict::missing);
    book.put(kind::kCommitLag,
             {{"reverse_lag_ms", 1'000}, {"reverse_stage", "following"}, {"repairs_open", 0}});
    book.put(kind::kCommitVerify, verify_of(0, 0, 0, 0));
    CHECK(require(book.report(Gate::commit)).error().code == ErrorCode::approval_missing);
    confirm("confirm");
    CHECK(book.verdict(Gate::commit) == GateVerdict::pass);
    book.row.switched_ms += 1;
    CHECK(book.verdict(Gate::commit) == GateVerdict::missing);  // to wait is no failure
    book.row.switched_ms -= 1;
    CHECK(book.report(Gate::commit, kNow_ms + limits::kReadinessAge_ms_max + 1).verdict ==
          GateVerdict::stale);
    book.context.config_hash = "another";
    CHECK_FALSE(book.report(Gate::commit).open());
    book.context.config_hash = "cfg";
    book.put(kind::kCommitVerify, verify_of(0, 0, 1, 0));
    CHECK(book.verdict(Gate::commit) == GateVerdict::fail);
    book.put(kind::kCommitVerify, verify_of(0, 0, 0, 1));
    CHECK(book.verdict(Gate::commit) == GateVerdict::inconclusive);
    book.put(kind::kCommitVerify, verify_of(0, 0, 0, 0));
    book.put(kind::kCommitLag, {{"reverse_lag_ms", 1'001}});
    CHECK(book.verdict(Gate::commit) == GateVerdict::fail);
    book.put(kind::kCommitLag, {{"reverse_lag_ms", 0}});
    confirm("deny");
    CHECK(book.verdict(Gate::commit) == GateVerdict::fail);
    const auto skip = [&](Gate gate) {
        const Status done = skip_gate(*book.store, book.row, gate, "why not", current_owner());
        return done ? std::optional<ErrorCode>() : done.error().code;
    };
    CHECK(skip(Gate::switch_over) == ErrorCode::usage);
    book.row.state = MigrationState::ready;
    CHECK(skip(Gate::commit) == ErrorCode::not_allowed);
    // Behind the switch it stands for the proofs, and for nothing else.
    book.row.state = MigrationState::switched;
    book.put(kind::kCommitVerify, verify_of(3, 0, 0, 0));
    CHECK(skip(Gate::commit) == std::nullopt);
    CHECK(book.verdict(Gate::commit) == GateVerdict::fail);  // denied above
    confirm("confirm");
    CHECK(book.report(Gate::commit).open());
    book.row.switched_ms = kNow_ms;
    CHECK_FALSE(book.report(Gate::commit).open());  // the watch window
    book.row.switched_ms = 1;
    ++book.row.route.epoch;  // another switch
    CHECK(book.verdict(Gate::commit) == GateVerdict::fail);
}
