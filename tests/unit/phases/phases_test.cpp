// The phases up to the switch on a real state file with the fake family: happy path, refusals,
// gates, stop and resume.
#include "drive.h"
#include "workflow/evidence.h"

using namespace exodus;
using namespace exodus::test;

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
    REQUIRE(outcome.error);
    CHECK(outcome.error->hint == "grant it");  // what the check says, not to check again
    CHECK(stage.row().state == S::created);
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::warn, "target", "small backlog", "raise it"}};
    CHECK(pretest(stage).exit_code == 2);
    FakeTap tap;
    PretestOptions options;
    options.tap = &tap;
    options.ack = {"fake.rights"};
    auto context = stage.context();
    context.reason.clear();
    const std::size_t checked = stage.world.count("check fake.rights");
    EXPECT(run_pretest(context, options), 64);  // an acknowledgement is a decision: it needs a why
    CHECK(stage.world.count("check fake.rights") == checked);
    CHECK(stage.row().state == S::created);
    context.reason = "the write rate is low";
    EXPECT(run_pretest(context, options), 0);
    options.only = {"fake.nonsense"};
    CHECK(run_pretest(context, options).exit_code == 64);
}

TEST_CASE("pretest: checks of this host count like those of the family") {
    Stage stage;
    Severity found = Severity::fail;
    FakeTap tap;
    PretestOptions options;
    options.tap = &tap;
    options.host_checks = {
        {{"host.port", "the port is free"}, [&] {
             return std::vector<Finding>{{"host.port", found, "interlay", "in use", "another one"}};
         }}};
    auto context = stage.context();
    CHECK(list_checks(context, options).back().id == "host.port");
    PhaseOutcome outcome = run_pretest(context, options);
    CHECK(outcome.exit_code == 2);
    REQUIRE(outcome.error);
    CHECK(outcome.error->hint == "another one");
    CHECK(stage.world.count("check host.port") == 0);
    found = Severity::pass;
    options.only = {"host.port"};
    EXPECT(run_pretest(context, options), 0);

    // A family that has no users to hand out says so.
    options.users_out = [](const Secret&) { return Status{}; };
    outcome = run_pretest(context, options);
    REQUIRE(outcome.error);
    CHECK(outcome.error->code == ErrorCode::not_allowed);
}

TEST_CASE("pretest: a tap that lost more than a thousandth is inconclusive") {
    struct Lossy final : FakeTap {
        explicit Lossy(double share_in) : share(share_in) {}
        Result<TapReport> run(const std::function<std::unique_ptr<TapSession>()>& make,
                              milliseconds span, const std::stop_token& stop,
                              TrafficStats& stats) override {
            auto report = FakeTap::run(make, span, stop, stats);
            if (report) report->loss = share;
            return report;
        }
        double share;
    };
    for (const auto& [share, verdict] : {std::pair{0.0005, EvidenceVerdict::pass},
                                         std::pair{0.005, EvidenceVerdict::inconclusive}}) {
        Stage stage;
        Lossy tap(share);
        PretestOptions options;
        options.tap = &tap;
        auto context = stage.context();
        const PhaseOutcome outcome = run_pretest(context, options);
        CHECK(outcome.numbers.at("tap").at("loss") == share);
        const auto row = stage.store->latest_evidence(stage.row().id, evidence_kind::kPretestTap);
        REQUIRE(row);
        REQUIRE(*row);
        CHECK((*row)->verdict == verdict);
    }
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

TEST_CASE("what is accepted and approved after a rollback counts for the attempt that follows") {
    Stage stage;
    until_ready(stage);
    EXPECT(rollback(stage), 0);
    REQUIRE(stage.row().state == S::aborted);
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::warn, "target", "small backlog", "raise it"}};
    CHECK(pretest(stage).exit_code == 2);
    PretestOptions options;
    options.ack = {"fake.rights", "tap"};
    auto context = stage.context();
    EXPECT(run_pretest(context, options), 0);
    CHECK(stage.row().attempt == 2);
    EXPECT(analyze(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::copied), 3);
    EXPECT(compare(stage), 0);
    EXPECT(test_phase(stage), 0);
    EXPECT(migrate(stage), 0);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    EXPECT(rollback(stage), 0);
    REQUIRE(stage.row().state == S::rolled_back);
    EXPECT(migrate(stage, MigrateGoal::copied), 0);  // the old approval ends with its attempt
    EXPECT(migrate(stage, MigrateGoal::switched), 4);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    EXPECT(rollback(stage), 0);
    EXPECT(approve(stage), 0);  // given before migrate begins the attempt
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
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
    SUBCASE("verify behind the drills, which looked at what they touched") {
        stage.on_progress = [&](const Progress& progress) {
            if (progress.step != "verifying all data after all drills") return;
            const std::scoped_lock lock(stage.world.mutex);
            stage.world.verify.different = 1;
        };
        const PhaseOutcome outcome = test_phase(stage);
        INFO(say(outcome));
        CHECK(outcome.exit_code == 2);
        CHECK(outcome.headline.find("after all drills") != std::string::npos);
    }
    CHECK(stage.row().state == S::compared);
    CHECK(stage.row().route.authority == Side::source);
    CHECK(!stage.row().route.hold);
    CHECK(!stage.world.fenced.contains(Side::source));
    stage.on_progress = nullptr;
    stage.world.replies.clear();
    stage.world.verify.different = 0;
    stage.world.final_verify.missing = 0;
    EXPECT(test_phase(stage), 0);
}

TEST_CASE("test: a namespace that the family does not have is refused before anything is sent") {
    Stage stage;
    until_compared(stage);
    TestOptions options;
    options.target_namespace = "5";
    EXPECT(test_phase(stage, options), 78);
    CHECK(stage.world.count("target executes PING") == 0);
    CHECK(stage.row().state == S::compared);
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
    CHECK(run_migrate(context, {}).exit_code == 3);  // test is not skipped
    const auto skipped = [&] {
        auto reading = stage.context();
        return read_status(reading, {})->skipped.size();
    };
    CHECK(skipped() == 0);  // a refused command leaves nothing in force
    context.skip_gate = {"test"};
    CHECK(run_migrate(context, {}).exit_code == 3);
    context.skip_gate = {"nonsense"};
    CHECK(run_migrate(context, {}).exit_code == 64);
    context.skip_gate = {"compare", "test"};
    context.dry_run = true;
    EXPECT(run_migrate(context, {}), 0);
    CHECK(skipped() == 0);
    context.dry_run = false;
    EXPECT(run_migrate(context, {}), 0);
    CHECK(stage.row().state == S::ready);
    CHECK(skipped() == 2);
}

TEST_CASE("a skipped gate lets later phases pass, and makes no phase succeed") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    auto context = stage.context();
    context.skip_gate = {"compare"};
    stage.interlay->reads_per_look = 0;
    CompareOptions options;
    options.reads_duration_max = milliseconds(50);
    EXPECT(run_compare(context, options), 2);  // inconclusive
    CHECK(stage.row().state == S::analyzed);
    stage.interlay->reads_per_look = 700;
    stage.world.verify.missing = 1;
    EXPECT(compare(stage), 2);
    CHECK(stage.row().state == S::analyzed);
    stage.world.verify.missing = 0;
    // What compare found stands in the way of nothing: it is skipped.
    context.skip_gate = {"test"};
    TestOptions failing;
    failing.smoke_file = stage.write("smoke", "PING => PONG\n");
    EXPECT(run_test(context, failing), 2);
    CHECK(stage.row().state == S::analyzed);
    EXPECT(migrate(stage), 0);
}
