// The phases from migrate to commit on a real state file with the fake family: approval, switch,
// strategies, rollback, commit, what a dry run and a status say.
#include "drive.h"

using namespace exodus;
using namespace exodus::test;

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
    CHECK(stage.row().forward_flags.blocked == "second writer");
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

TEST_CASE("commit without proof: decided by name behind the switch, for this switch only") {
    Stage stage;
    stage.settings.migrate.strategy = Strategy::blue_green;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    const auto skipping = [&](const std::string& reason = "the source is gone") {
        auto context = stage.context();
        context.skip_gate = {"commit"};
        context.reason = reason;
        return run_commit(context, {});
    };
    EXPECT(skipping(), 3);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    EXPECT(skipping(""), 4);
    stage.confirms = false;
    EXPECT(skipping(), 4);  // decided, but not confirmed
    stage.confirms = true;
    MigrateOptions options;
    options.activate = Side::source;
    EXPECT(migrate(stage, MigrateGoal::activate, options), 0);
    options.activate = Side::target;
    EXPECT(migrate(stage, MigrateGoal::activate, options), 0);
    stage.world.verify.missing = 1;
    EXPECT(commit(stage), 2);  // the decision was for the switch before
    stage.world.source_down = true;
    const PhaseOutcome outcome = skipping();
    EXPECT(outcome, 0);
    CHECK(stage.row().state == S::committed);
    CHECK(outcome.numbers.at("given_up").size() == 3);
    CHECK(stage.store->latest_evidence(stage.row().id, "commit.given_up")->has_value());
    CHECK(stage.world.lane(Direction::forward).forgotten);
    EXPECT(skipping(), 0);
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

TEST_CASE("commit: a source that dies behind its first answer, or takes nothing, ends the wait") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    const auto set = [&](auto change) {
        stage.world.with(Direction::reverse, [&](FakeLane& lane) { return change(lane), 0; });
    };
    SUBCASE("its lag does not fall") {
        set([](FakeLane& lane) { lane.lag_ms = 60'000; });
    }
    SUBCASE("it was never caught up") {
        set([](FakeLane& lane) { lane.lag_ms.reset(); });
    }
    auto context = stage.context();
    context.side_away = milliseconds(100);
    const PhaseOutcome outcome = run_commit(context, {});
    INFO(say(outcome));
    CHECK(outcome.exit_code == 69);
    CHECK(outcome.headline.find("nothing was changed") != std::string::npos);
    REQUIRE(outcome.error);
    CHECK(outcome.error->hint.find("exodus commit --skip-gate commit") != std::string::npos);
    CHECK(stage.row().state == S::switched);
    set([](FakeLane& lane) { lane.lag_ms = 0; });
    EXPECT(commit(stage), 0);
}

TEST_CASE("switch and rollback do not wait for ever for a side that takes nothing") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    auto context = stage.context();
    context.side_away = milliseconds(100);
    const auto ends = [&](const PhaseOutcome& outcome, const std::string& side) {
        INFO(say(outcome));
        CHECK(outcome.exit_code == 69);
        REQUIRE(outcome.error);
        CHECK(outcome.error->hint.find("bring the " + side + " back") != std::string::npos);
    };
    const auto lag = [&](Direction direction, int64_t ms) {
        stage.world.with(direction, [&](FakeLane& lane) { return lane.lag_ms = ms, 0; });
    };
    MigrateOptions switch_over;
    switch_over.goal = MigrateGoal::switched;
    lag(Direction::forward, 60'000);
    ends(run_migrate(context, switch_over), "target");
    CHECK(stage.row().route.authority == Side::source);
    lag(Direction::forward, 0);
    EXPECT(run_migrate(context, switch_over), 0);
    lag(Direction::reverse, 60'000);
    ends(run_rollback(context, {}), "source");
    CHECK(stage.row().route.authority == Side::target);
    lag(Direction::reverse, 0);
    EXPECT(run_rollback(context, {}), 0);
}

TEST_CASE("switch: a fence that falls behind its proof aborts") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    auto context = stage.context();
    context.fault = [&](std::string_view point) {
        if (point != "C6.after-effect") return;
        const std::scoped_lock lock(stage.world.mutex);
        stage.world.fenced.erase(Side::source);
    };
    MigrateOptions options;
    options.goal = MigrateGoal::switched;
    const PhaseOutcome outcome = run_migrate(context, options);
    INFO(say(outcome));
    CHECK(outcome.exit_code == 5);
    CHECK(outcome.headline.find("proving the fence again") != std::string::npos);
    CHECK(stage.row().state == S::ready);
    CHECK(stage.row().route.authority == Side::source);
}

TEST_CASE("what blocks one direction is not hidden by the other, which is well") {
    Stage stage;
    until_ready(stage);
    REQUIRE(stage.store->set_flags(stage.row().id, Direction::reverse, {"", "no right to write"}));
    EXPECT(migrate(stage), 0);  // asks the forward direction
    CHECK(stage.row().reverse_flags.blocked == "no right to write");
    CHECK(stage.row().forward_flags.blocked.empty());
    stage.interlay.reset();
    auto context = stage.context();
    auto silent = read_status(context, {});
    REQUIRE(silent);
    CHECK(silent->flags == std::vector<std::string>{"blocked: reverse, no right to write"});
}

TEST_CASE("a lag that is not known yet is said so, and is no low one") {
    Stage stage;
    until_ready(stage);
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.lag_ms.reset(), 0; });
    auto context = stage.context();
    auto report = read_status(context, {});
    REQUIRE(report);
    CHECK(report->data_flow.find("not yet caught up") != std::string::npos);
    CHECK(to_json(*report).at("forward").at("lag_ms").is_null());
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.lag_ms = 1'500, 0; });
    report = read_status(context, {});
    REQUIRE(report);
    CHECK(report->data_flow.find("lag 1.50 s") != std::string::npos);
    CHECK(to_json(*report).at("forward").at("lag_ms") == 1'500);
}

TEST_CASE("switch: a target that comes back empty behind its proof is found before it is served") {
    for (const std::string at : {"C5.after-effect", "C6.after-arm", "C6.after-effect"}) {
        CAPTURE(at);
        Stage stage;
        until_ready(stage);
        EXPECT(approve(stage), 0);
        auto context = stage.context();
        context.fault = [&](std::string_view point) {
            if (point != at) return;
            stage.world.with(Direction::forward, [](FakeLane& lane) {
                return lane.fail_hand_over = "target lost its data", 0;
            });
        };
        MigrateOptions options;
        options.goal = MigrateGoal::switched;
        const PhaseOutcome outcome = run_migrate(context, options);
        INFO(say(outcome));
        CHECK(outcome.exit_code == 5);
        CHECK(outcome.headline.find("target lost its data") != std::string::npos);
        CHECK(stage.row().state == S::ready);
        CHECK(stage.row().route.authority == Side::source);
        CHECK_FALSE(stage.row().route.hold);
        CHECK_FALSE(stage.world.fenced.contains(Side::source));
        CHECK(eventually([&] {
            return stage.world.with(Direction::forward, [](FakeLane& lane) {
                return lane.mode == MovementMode::apply && !lane.handed_over;
            });
        }));
    }
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
    auto ready = read_status(context, {});
    REQUIRE(ready);
    CHECK(ready->explained == "switch waits for approval");
    CHECK(ready->next.front() == "exodus approve switch --reason TEXT");
    stage.world.target_down = true;
    ready = read_status(context, {});
    REQUIRE(ready);
    CHECK(!ready->target.reachable);
    CHECK(ready->target.version == "fake 2");
    CHECK(ready->explained == "the target has trouble");
    CHECK(ready->next.front() == "exodus status --watch");
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

TEST_CASE("the next command is one that would work, or one that removes what is in the way") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    const auto next = [&] {
        auto context = stage.context();
        auto report = read_status(context, {});
        REQUIRE(report);
        return report->next;
    };
    const auto has = [](const std::vector<std::string>& list, const std::string& word) {
        return std::any_of(list.begin(), list.end(), [&](const std::string& line) {
            return line.find(word) != std::string::npos;
        });
    };
    const auto set = [&](Direction direction, auto change) {
        stage.world.with(direction, [&](FakeLane& lane) { return change(lane), 0; });
    };
    CHECK(next().front() == "exodus migrate --switch");

    set(Direction::forward, [](FakeLane& lane) { lane.blocked = "target lost its data"; });
    CHECK(next().front() == "exodus events");
    CHECK(has(next(), "exodus rollback"));
    for (const char* word : {"migrate", "approve", "compare", "exodus test", "commit"}) {
        CAPTURE(word);
        CHECK_FALSE(has(next(), word));
    }
    const PhaseOutcome refused = migrate(stage, MigrateGoal::switched);
    CHECK(refused.exit_code == 5);
    CHECK(refused.next.front() == "exodus events");
    CHECK_FALSE(has(refused.next, "migrate"));
    set(Direction::forward, [](FakeLane& lane) { lane.blocked.clear(); });

    set(Direction::reverse, [](FakeLane& lane) { lane.blocked = "no right to write"; });
    CHECK(next().front() == "exodus events");
    set(Direction::reverse, [](FakeLane& lane) { lane.blocked.clear(); });

    set(Direction::forward, [](FakeLane& lane) { lane.failed_items = 2; });
    CHECK(next().front() == "exodus errors");
    CHECK_FALSE(has(next(), "migrate"));
    {
        auto context = stage.context();
        CHECK(read_status(context, {})->explained.find("2 items") != std::string::npos);
    }
    set(Direction::forward, [](FakeLane& lane) { lane.failed_items = 0; });

    set(Direction::forward, [](FakeLane& lane) { lane.degraded = "target: refused"; });
    CHECK(next().front() == "exodus status --watch");
    CHECK_FALSE(has(next(), "--switch"));
    set(Direction::forward, [](FakeLane& lane) { lane.degraded.clear(); });

    stage.settings.gates.evidence_age_ms = -1;  // whatever was measured is too old
    CHECK(next().front() == "exodus compare");
    CHECK_FALSE(has(next(), "--switch"));
    stage.settings.gates.evidence_age_ms = Settings{}.gates.evidence_age_ms;

    auto context = stage.context();
    EXPECT(run_deny(context, "switch"), 0);
    CHECK(next().front() == "exodus approve switch --reason TEXT");
    EXPECT(approve(stage), 0);

    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK(next().front() == "exodus commit");
    CHECK(has(next(), "rollback"));
    set(Direction::reverse, [](FakeLane& lane) { lane.blocked = "source lost its data"; });
    CHECK(next() == std::vector<std::string>{"exodus events",
                                             "exodus commit --skip-gate commit --reason TEXT"});
    set(Direction::reverse, [](FakeLane& lane) {
        lane.blocked.clear();
        lane.degraded = "source: refused";
    });
    CHECK(next().front() == "exodus status --watch");
    CHECK_FALSE(has(next(), "--skip-gate"));
    stage.world.source_down = true;
    CHECK(next() == std::vector<std::string>{"exodus status --watch",
                                             "exodus commit --skip-gate commit --reason TEXT"});
}

TEST_CASE("a copy that rests is resumed before anything else") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    auto context = stage.context();
    stage.world.with(Direction::forward,
                     [](FakeLane& lane) { return lane.blocked = "stopped", 0; });
    CHECK(migrate(stage).exit_code == 5);
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.blocked.clear(), 0; });
    REQUIRE(stage.row().state == S::copying);
    EXPECT(migrate(stage, MigrateGoal::pause), 0);
    auto report = read_status(context, {});
    REQUIRE(report);
    CHECK(report->next.front() == "exodus migrate --resume");
}
