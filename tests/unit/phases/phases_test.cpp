// The seven phases on a real state file with the fake family: happy path, refusals, gates,
// approval, stop and resume.
#include <doctest/doctest.h>

#include "bench.h"
#include "workflow/phases/analyze.h"
#include "workflow/phases/approve.h"
#include "workflow/phases/commit.h"
#include "workflow/phases/compare.h"
#include "workflow/phases/migrate.h"
#include "workflow/phases/pretest.h"
#include "workflow/phases/rollback.h"
#include "workflow/phases/status.h"
#include "workflow/phases/test.h"

using namespace exodus;
using namespace exodus::test;
using S = MigrationState;

namespace {

std::string say(const PhaseOutcome& outcome) {
    std::string text = std::to_string(outcome.exit_code) + " " + outcome.headline;
    for (const std::string& line : outcome.details) text += "\n  " + line;
    if (outcome.error) text += "\n  hint: " + outcome.error->hint;
    return text;
}

#define EXPECT(outcome, code)                          \
    do {                                               \
        const PhaseOutcome exodus_outcome = (outcome); \
        INFO(say(exodus_outcome));                     \
        REQUIRE(exodus_outcome.exit_code == (code));   \
    } while (false)

PhaseOutcome pretest(Stage& stage) {
    FakeTap tap;
    PretestOptions options;
    options.tap = &tap;
    auto context = stage.context();
    return run_pretest(context, options);
}
PhaseOutcome analyze(Stage& stage) {
    auto context = stage.context();
    return run_analyze(context, {});
}
PhaseOutcome compare(Stage& stage, CompareOptions options = {}) {
    auto context = stage.context();
    return run_compare(context, options);
}
PhaseOutcome test_phase(Stage& stage, TestOptions options = {}) {
    options.smoke_file = stage.write("smoke", "PING => OK\n");
    auto context = stage.context();
    return run_test(context, options);
}
PhaseOutcome migrate(Stage& stage, MigrateGoal goal = MigrateGoal::ready,
                     MigrateOptions options = {}) {
    options.goal = goal;
    auto context = stage.context();
    return run_migrate(context, options);
}
PhaseOutcome approve(Stage& stage) {
    auto context = stage.context();
    return run_approve(context, "switch");
}
PhaseOutcome rollback(Stage& stage) {
    auto context = stage.context();
    return run_rollback(context, {});
}
PhaseOutcome commit(Stage& stage, CommitOptions options = {}) {
    auto context = stage.context();
    return run_commit(context, options);
}

void until_compared(Stage& stage) {
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    EXPECT(compare(stage), 0);
}
void until_ready(Stage& stage) {
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    EXPECT(migrate(stage), 0);
}

}  // namespace

TEST_CASE("a whole migration, with a rollback in the middle") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    CHECK(stage.row().state == S::pretested);
    CHECK(stage.spawned == 0);  // pretest touches no traffic
    EXPECT(analyze(stage), 0);
    CHECK(stage.row().state == S::analyzed);
    CHECK(stage.spawned == 1);
    EXPECT(compare(stage), 0);
    CHECK(stage.row().state == S::compared);
    CHECK(stage.row().forward == MovementMode::apply);
    CHECK(stage.row().route.mirror_percent == 0);
    EXPECT(test_phase(stage), 0);
    CHECK(stage.row().state == S::tested);
    CHECK(stage.row().route.authority == Side::source);
    CHECK(!stage.row().route.hold);
    CHECK(!stage.world.fenced.contains(Side::source));
    EXPECT(migrate(stage), 0);
    CHECK(stage.row().state == S::ready);
    EXPECT(migrate(stage), 0);  // idempotent
    EXPECT(migrate(stage, MigrateGoal::switched), 4);
    CHECK(stage.row().state == S::ready);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK(stage.row().state == S::switched);
    CHECK(stage.row().route.authority == Side::target);
    CHECK(stage.asked == std::vector<std::string>{"switch"});
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK(stage.asked.size() == 1);
    EXPECT(rollback(stage), 0);
    CHECK(stage.row().state == S::rolled_back);
    CHECK(stage.row().route.authority == Side::source);
    EXPECT(rollback(stage), 0);
    const int attempt = stage.row().attempt;
    EXPECT(migrate(stage), 0);
    CHECK(stage.row().attempt == attempt + 1);
    EXPECT(migrate(stage, MigrateGoal::switched), 4);  // a new attempt needs a new approval
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    EXPECT(commit(stage), 0);
    CHECK(stage.row().state == S::committed);
    CHECK(stage.row().forward == MovementMode::off);
    CHECK(stage.world.lane(Direction::forward).forgotten);
    CHECK(stage.world.lane(Direction::reverse).forgotten);
    EXPECT(commit(stage), 0);
    EXPECT(rollback(stage), 3);
    CHECK(stage.asked.back() == "commit");
    CHECK(stage.spawned == 1);  // applications stayed connected all the time
}

TEST_CASE("phases out of order are refused with what is allowed") {
    Stage stage;
    for (auto outcome : {analyze(stage), compare(stage), migrate(stage), commit(stage)}) {
        CHECK(outcome.exit_code == 3);
        REQUIRE(outcome.error);
        CHECK(outcome.error->hint.find("pretest") != std::string::npos);
        CHECK(outcome.next.front() == "exodus pretest");
    }
    CHECK(stage.row().state == S::created);
    CHECK(stage.spawned == 0);
}

TEST_CASE("pretest: failing and unacknowledged checks keep the gate shut") {
    Stage stage;
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::fail, "target", "no right to RESTORE", "grant it"}};
    PhaseOutcome outcome = pretest(stage);
    CHECK(outcome.exit_code == 2);
    CHECK(stage.row().state == S::created);
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::warn, "target", "small backlog", "raise it"}};
    CHECK(pretest(stage).exit_code == 2);
    FakeTap tap;
    PretestOptions options;
    options.tap = &tap;
    options.ack = {"fake.rights"};
    auto context = stage.context();
    EXPECT(run_pretest(context, options), 0);
    options.only = {"fake.nonsense"};
    CHECK(run_pretest(context, options).exit_code == 64);
}

TEST_CASE("pretest --only keeps what the other checks found") {
    Stage stage;
    stage.world.checks["fake.rights"] = {{"fake.rights", Severity::fail, "target", "no right", ""}};
    CHECK(pretest(stage).exit_code == 2);
    PretestOptions options;
    options.only = {"fake.reach"};
    options.ack = {"tap"};
    auto context = stage.context();
    CHECK(run_pretest(context, options).exit_code == 2);  // the other one still fails
    stage.world.checks.clear();
    options.only = {"fake.rights"};
    EXPECT(run_pretest(context, options), 0);
    options = {};
    options.skip = {"fake.reach"};
    CHECK(run_pretest(context, options).exit_code == 2);  // not run proves nothing
}

TEST_CASE("analyze: a critical finding keeps G2 shut, strays are found, the plan is written") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    stage.world.judged = {
        {"fake.verb", Severity::fail, "traffic", "the target does not know it", "upgrade"}};
    CHECK(analyze(stage).exit_code == 2);
    CHECK(stage.row().state == S::pretested);
    stage.world.judged.clear();
    stage.world.strays = {"10.0.0.9:4711 (user app, cmd set)"};
    AnalyzeOptions options;
    options.plan_file = stage.directory / "plan.json";
    auto context = stage.context();
    const PhaseOutcome outcome = run_analyze(context, options);
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.findings.size() == 1);
    CHECK(std::filesystem::exists(options.plan_file));
    CHECK(outcome.numbers["requests"].get<uint64_t>() > 0);
    options.plan_file = "/nonexistent/plan.json";
    CHECK(run_analyze(context, options).exit_code == 73);
}

TEST_CASE("compare: differences in the data are exit 2 and stored") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.world.verify.missing = 1;
    stage.world.verify.samples = {{"db0", "user:1", "missing", ""}};
    CHECK(compare(stage).exit_code == 2);
    CHECK(stage.row().state == S::analyzed);
    CHECK(stage.row().route.mirror_percent == 0);
    CHECK(stage.store->divergences(stage.row().id, true, 10)->size() == 1);
    stage.world.verify.missing = 0;
    stage.world.verify.samples.clear();
    EXPECT(compare(stage), 0);
    CHECK(stage.store->divergences(stage.row().id, true, 10)->empty());
}

TEST_CASE("compare: too few reads are inconclusive, confirmed divergences fail") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.interlay->reads_per_look = 0;
    CompareOptions options;
    options.reads_duration_max = milliseconds(50);
    CHECK(compare(stage, options).exit_code == 2);
    stage.interlay->reads_per_look = 700;
    options.reads_duration_max = milliseconds(0);
    stage.settings.gates.compare_samples_min = 3'000;
    std::atomic<bool> once{false};
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step != "comparing reads" || once.exchange(true)) return;
        for (int i = 0; i < 200; ++i) {
            DivergenceSample sample;
            sample.command = "GET";
            sample.reason = "value";
            sample.outcome = "confirmed";
            static_cast<void>(stage.log->add(sample));
        }
    };
    const PhaseOutcome outcome = compare(stage, options);
    INFO(say(outcome));
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.numbers["reads"]["classes"][0]["confirmed"] == 200);
}

TEST_CASE("compare: stopped, it says so and goes on with what it had counted") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.settings.gates.compare_samples_min = 5'000;
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step == "comparing reads" && progress.done > 1'000) stage.stop.request_stop();
    };
    const PhaseOutcome stopped = compare(stage);
    INFO(say(stopped));
    CHECK(stopped.exit_code == 130);
    CHECK(stopped.next.front() == "exodus compare");
    CHECK(stage.row().route.mirror_percent == 0);
    stage.stop = std::stop_source();
    uint64_t first = 0;
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step == "comparing reads" && first == 0) first = progress.done;
    };
    EXPECT(compare(stage), 0);
    CHECK(first > 1'000);
}

TEST_CASE("test: a failing smoke request, an aborting switch, and an unequal verify are found") {
    Stage stage;
    until_compared(stage);
    SUBCASE("smoke") {
        stage.world.replies["PING"] = "WRONG";
        CHECK(test_phase(stage).exit_code == 2);
    }
    SUBCASE("verify") {
        stage.world.verify.different = 1;
        CHECK(test_phase(stage).exit_code == 2);
    }
    SUBCASE("final check") {
        stage.world.final_verify.missing = 1;
        CHECK(test_phase(stage).exit_code == 2);
    }
    CHECK(stage.row().state == S::compared);
    CHECK(stage.row().route.authority == Side::source);
    CHECK(!stage.row().route.hold);
    CHECK(!stage.world.fenced.contains(Side::source));
    stage.world.replies.clear();
    stage.world.verify.different = 0;
    stage.world.final_verify.missing = 0;
    EXPECT(test_phase(stage), 0);
}

TEST_CASE("test: a process that died after the rehearsed switch gives the authority back first") {
    Stage stage;
    until_compared(stage);
    struct Killed {};
    auto context = stage.context();
    context.fault = [&](std::string_view point) {
        if (point == "C7.after-done") throw Killed{};
    };
    TestOptions options;
    options.smoke_file = stage.write("smoke", "PING => OK\n");
    CHECK_THROWS_AS(run_test(context, options), Killed);
    CHECK(stage.row().route.authority == Side::target);
    CHECK(stage.row().state == S::compared);
    auto status = [&] {
        auto reading = stage.context();
        return *read_status(reading, {});
    }();
    CHECK(status.explained.find("rehearsal") != std::string::npos);
    EXPECT(test_phase(stage), 0);
    CHECK(stage.row().route.authority == Side::source);
    CHECK(stage.row().state == S::tested);
}

TEST_CASE("skipped gates need a reason and stay visible") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    CHECK(migrate(stage).exit_code == 3);
    auto context = stage.context();
    context.skip_gate = {"compare"};
    context.reason.clear();
    CHECK(run_migrate(context, {}).exit_code == 4);
    context.reason = "tiny cache";
    CHECK(run_migrate(context, {}).exit_code == 3);  // test is not skipped yet
    context.skip_gate = {"test"};
    EXPECT(run_migrate(context, {}), 0);
    CHECK(stage.row().state == S::ready);
    auto reading = stage.context();
    CHECK(read_status(reading, {})->skipped.size() == 2);
}

TEST_CASE("migrate: until copied, pause and throttle, blocked movement") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::copied), 0);
    CHECK(stage.row().state == S::following);
    EXPECT(migrate(stage, MigrateGoal::pause), 0);
    CHECK(!stage.row().flag_paused.empty());
    CHECK(eventually([&] {
        return stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.paused; });
    }));
    EXPECT(migrate(stage, MigrateGoal::resume), 0);
    CHECK(stage.row().flag_paused.empty());
    MigrateOptions options;
    options.throttle["bytes_per_s"] = "5";
    EXPECT(migrate(stage, MigrateGoal::throttle, options), 0);
    CHECK(stage.world.lane(Direction::forward).throttle["bytes_per_s"] == "5");
    options.throttle = {{"nonsense", "5"}};
    CHECK(migrate(stage, MigrateGoal::throttle, options).exit_code == 64);
    stage.world.with(Direction::forward,
                     [](FakeLane& lane) { return lane.blocked = "second writer", 0; });
    CHECK(migrate(stage).exit_code == 5);
    CHECK(stage.row().flag_blocked == "second writer");
}

TEST_CASE("switch: denied, unconfirmed, not ready, aborted: the source stays authoritative") {
    Stage stage;
    until_ready(stage);
    auto context = stage.context();
    EXPECT(run_deny(context, "switch"), 0);
    const int denied = migrate(stage, MigrateGoal::switched).exit_code;
    CHECK((denied == 2 || denied == 4));
    EXPECT(approve(stage), 0);
    stage.confirms = false;
    CHECK(migrate(stage, MigrateGoal::switched).exit_code == 4);
    stage.confirms = true;
    stage.interlay->not_ready = "user app cannot log in";
    const PhaseOutcome not_ready = migrate(stage, MigrateGoal::switched);
    CHECK(not_ready.exit_code == 2);
    stage.interlay->not_ready.clear();
    stage.world.final_verify.missing = 1;
    const PhaseOutcome aborted = migrate(stage, MigrateGoal::switched);
    INFO(say(aborted));
    CHECK(aborted.exit_code == 5);
    CHECK(aborted.authority == Side::source);
    CHECK(stage.row().state == S::ready);
    CHECK(!stage.row().route.hold);
    CHECK(!stage.world.fenced.contains(Side::source));
    CHECK(eventually([&] {
        return stage.world.with(Direction::forward,
                                [](FakeLane& l) { return l.mode == MovementMode::apply; });
    }));
    stage.world.final_verify.missing = 0;
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
}

TEST_CASE("switch: killed at points of the journal, the same command ends it right") {
    // One point of each kind; tests/unit/workflow goes through all of them.
    for (const std::string at :
         {"C1.after-done", "C3.after-effect", "C5.after-effect", "C7.after-done"}) {
        CAPTURE(at);
        Stage stage;
        EXPECT(pretest(stage), 0);
        EXPECT(analyze(stage), 0);
        auto context = stage.context();
        for (const char* gate : {"compare", "test"}) {
            context.skip_gate = {gate};
            static_cast<void>(run_migrate(context, {}));
        }
        REQUIRE(stage.row().state == S::ready);
        EXPECT(approve(stage), 0);
        struct Killed {};
        auto dying = stage.context();
        bool died = false;
        dying.fault = [&](std::string_view point) {
            if (point != at) return;
            died = true;
            throw Killed{};
        };
        MigrateOptions options;
        options.goal = MigrateGoal::switched;
        CHECK_THROWS_AS(run_migrate(dying, options), Killed);
        CHECK(died);
        EXPECT(migrate(stage, MigrateGoal::switched), 0);
        CHECK(stage.row().state == S::switched);
        CHECK(stage.row().route.authority == Side::target);
        CHECK(!stage.row().route.hold);
        CHECK(!stage.world.fenced.contains(Side::target));
        CHECK(eventually([&] {
            return stage.world.with(Direction::reverse, [](FakeLane& l) {
                return l.mode == MovementMode::apply;
            }) && stage.world.with(Direction::forward, [](FakeLane& l) {
                return l.mode == MovementMode::standby;
            });
        }));
    }
}

TEST_CASE("canary: steps, then the switch; a breach is taken back by itself") {
    Stage stage;
    stage.settings.migrate.strategy = Strategy::canary;
    until_ready(stage);
    CHECK(migrate(stage, MigrateGoal::switched).exit_code == 4);
    EXPECT(approve(stage), 0);
    stage.interlay->errors_per_look = 100;
    const PhaseOutcome breach = migrate(stage, MigrateGoal::switched);
    INFO(say(breach));
    CHECK(breach.exit_code == 5);
    CHECK(stage.row().route.canary_percent == 0);
    CHECK(stage.row().state == S::ready);
    stage.interlay->errors_per_look = 0;
    MigrateOptions options;
    options.canary_percent = 25;
    EXPECT(migrate(stage, MigrateGoal::canary, options), 0);
    CHECK(stage.row().route.canary_percent == 25);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK(stage.row().route.authority == Side::target);
    CHECK(stage.row().route.canary_percent == 0);
}

TEST_CASE("blue-green: activated back and forth") {
    Stage stage;
    stage.settings.migrate.strategy = Strategy::blue_green;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    MigrateOptions options;
    options.activate = Side::target;
    EXPECT(migrate(stage, MigrateGoal::activate, options), 0);
    CHECK(stage.row().route.authority == Side::target);
    EXPECT(migrate(stage, MigrateGoal::activate, options), 0);
    options.activate = Side::source;
    EXPECT(migrate(stage, MigrateGoal::activate, options), 0);
    CHECK(stage.row().route.authority == Side::source);
    CHECK(stage.row().state == S::ready);
    options.activate = Side::target;
    EXPECT(migrate(stage, MigrateGoal::activate, options), 0);
    CHECK(stage.row().state == S::switched);
}

TEST_CASE("rollback before the switch removes what exodus left") {
    Stage stage;
    until_ready(stage);
    EXPECT(rollback(stage), 0);
    CHECK(stage.row().state == S::aborted);
    CHECK(stage.world.lane(Direction::forward).forgotten);
    CHECK(stage.world.fenced.empty());  // also the target's, which the rehearsal left
    CHECK(stage.asked.empty());         // nothing is lost, nothing to confirm
    EXPECT(rollback(stage), 0);
    stage.world.residue[Side::target] = {"exodus:cp:1"};
    stage.world.lane(Direction::forward).forgotten = false;
    EXPECT(rollback(stage), 0);  // a killed clean-up is repeated
    CHECK(stage.world.lane(Direction::forward).forgotten);
}

TEST_CASE("commit: from ready it switches first; differences and a missing confirmation stop it") {
    Stage stage;
    until_ready(stage);
    CHECK(commit(stage).exit_code == 4);
    EXPECT(approve(stage), 0);
    stage.world.verify.extra = 2;
    CHECK(commit(stage).exit_code == 2);
    CHECK(stage.row().state == S::switched);
    stage.world.verify.extra = 0;
    stage.confirms = false;
    CHECK(commit(stage).exit_code == 4);
    CHECK(stage.row().state == S::switched);
    stage.confirms = true;
    CommitOptions options;
    options.keep_reverse = true;
    EXPECT(commit(stage, options), 0);
    CHECK(stage.row().state == S::committed);
    CHECK(stage.row().reverse == MovementMode::apply);
    EXPECT(commit(stage, options), 0);
    CHECK(stage.row().reverse == MovementMode::apply);
    EXPECT(commit(stage), 0);
    CHECK(stage.row().reverse == MovementMode::off);
}

TEST_CASE("commit waits for the watch window and can be stopped in it") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    stage.settings.cutover.watch_ms = 3'600'000;
    bool waited = false;
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step != "watching the target") return;
        waited = true;
        stage.stop.request_stop();
    };
    CHECK(commit(stage).exit_code == 130);
    CHECK(waited);
    CHECK(stage.row().state == S::switched);
    stage.stop = std::stop_source();
    stage.on_progress = nullptr;
    CommitOptions options;
    options.watch_ms = 1;
    EXPECT(commit(stage, options), 0);
}

TEST_CASE("dry run changes nothing and names what is in the way") {
    Stage stage;
    until_ready(stage);
    const uint64_t epoch = stage.row().route.epoch;
    auto context = stage.context();
    context.dry_run = true;
    MigrateOptions options;
    options.goal = MigrateGoal::switched;
    const PhaseOutcome outcome = run_migrate(context, options);
    CHECK(outcome.exit_code == 0);
    CHECK(std::any_of(outcome.details.begin(), outcome.details.end(),
                      [](const std::string& line) { return line.starts_with("in the way: "); }));
    CHECK(stage.row().route.epoch == epoch);
    CHECK(stage.asked.empty());
    context.dry_run = true;
    CHECK(run_compare(context, {}).exit_code == 0);
}

TEST_CASE("a locked migration is exit 75, an unreachable interlay 69") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.interlay->down = true;
    stage.timeout = milliseconds(200);
    const int code = compare(stage).exit_code;
    CHECK((code == 69 || code == 1));
}

TEST_CASE("status shows both sides, flow, way back, gates and the next command") {
    Stage stage;
    auto context = stage.context();
    auto fresh = read_status(context, {});
    REQUIRE(fresh);
    CHECK(fresh->gates.size() == 6);
    CHECK(fresh->gates[0].verdict == "MISSING");
    CHECK(fresh->next.front() == "exodus pretest");
    CHECK(fresh->data_flow == "none");
    until_ready(stage);
    stage.world.target_down = true;
    auto ready = read_status(context, {});
    REQUIRE(ready);
    CHECK(!ready->target.reachable);
    CHECK(ready->target.version == "fake 2");
    CHECK(ready->explained == "switch waits for approval");
    CHECK(ready->next.front() == "exodus approve switch --reason TEXT");
    CHECK(ready->data_flow.find("lag 0.00 s") != std::string::npos);
    CHECK(ready->workers.size() == 1);
    for (std::size_t i = 0; i < 5; ++i) {
        CAPTURE(ready->gates[i].name);
        CAPTURE(ready->gates[i].why);
        CHECK(ready->gates[i].verdict == "PASS");
    }
    CHECK(ready->data_line.starts_with("100 of 100 keys"));
    CHECK(to_json(*ready).at("authority") == "source");
    stage.interlay.reset();
    auto silent = read_status(context, {});
    REQUIRE(silent);
    CHECK(!silent->interlay_reachable);
    CHECK(silent->data_flow == "stands still: no interlay runs");
}
