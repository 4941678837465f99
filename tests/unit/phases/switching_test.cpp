// The phases from migrate to commit on a real state file with the fake family: approval, switch,
// strategies, rollback, commit.
#include <thread>

#include "drive.h"
#include "workflow/pause_knob.h"
#include "workflow/phases/status.h"

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

TEST_CASE("the copy is paused and resumed beside the command that holds the lock") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::copied), 0);
    const auto paused = [&] {
        return stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.paused; });
    };
    const auto lock =
        StateLock::take(stage.settings.state_path, stage.owner, "migrate", "migrate", {});
    REQUIRE(lock);
    EXPECT(migrate(stage), 75);
    MigrateOptions options;
    options.throttle["bytes_per_s"] = "7";
    EXPECT(migrate(stage, MigrateGoal::pause, options), 0);
    CHECK(paused());
    CHECK(stage.world.lane(Direction::forward).throttle["bytes_per_s"] == "7");
    EXPECT(migrate(stage, MigrateGoal::resume), 0);
    CHECK(eventually([&] { return !paused(); }));
    CHECK(stage.row().state == S::following);  // a knob: it copies nothing itself
}

TEST_CASE("a pause by ctl is in the row: status tells it and a restarted interlay keeps to it") {
    Stage stage;
    until_ready(stage);
    auto port = stage.open("control");
    REQUIRE(set_paused(*stage.store, port.get(), stage.row().id, true, stage.owner, "peak hour"));
    CHECK(stage.row().flag_paused == "by mira@ops1: peak hour");
    const auto paused = [&] {
        return stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.paused; });
    };
    CHECK(paused());
    stage.interlay.reset();
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.paused = false; });
    REQUIRE(stage.ensure({}));
    CHECK(eventually(paused));
    REQUIRE(set_paused(*stage.store, port.get(), stage.row().id, false, stage.owner, ""));
    CHECK(stage.row().flag_paused.empty());
    CHECK(eventually([&] { return !paused(); }));
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
    const auto told = read_status(context, {});
    REQUIRE(told);
    const nlohmann::json& newest = told->record.switches.at(0);
    CHECK(newest.at("outcome") == "aborted");
    CHECK(newest.at("failed_step") == "C5");
    CHECK(newest.at("why").get<std::string>().find("1 missing") != std::string::npos);
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
    EXPECT(migrate(stage, MigrateGoal::canary, options), 3);
}

TEST_CASE("canary: a step that was left is watched again; differing answers are a breach") {
    Stage stage;
    stage.settings.migrate.strategy = Strategy::canary;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    MigrateOptions options;
    options.canary_percent = 10;
    EXPECT(migrate(stage, MigrateGoal::canary, options), 0);
    stage.settings.migrate.canary.hold_ms = 1'500;
    const DivergenceSample differs{.command = "GET",
                                   .reason = "value",
                                   .outcome = "confirmed",
                                   .request = {},
                                   .left = {},
                                   .right = {}};
    std::jthread answers([&](const std::stop_token& stop) {
        while (!stop.stop_requested() && stage.row().route.canary_percent > 0)
            std::this_thread::sleep_for(milliseconds(1));
        while (!stop.stop_requested() && stage.row().route.canary_percent == 0)
            std::this_thread::sleep_for(milliseconds(1));
        while (!stop.stop_requested()) {
            static_cast<void>(stage.log->add({differs}));
            std::this_thread::sleep_for(milliseconds(10));
        }
    });
    const PhaseOutcome breach = migrate(stage, MigrateGoal::switched);
    INFO(say(breach));
    CHECK(breach.exit_code == 5);
    const auto& steps = breach.numbers.at("canary");
    REQUIRE(steps.size() == 1);
    CHECK(steps.at(0).at("percent") == 10);
    CHECK(steps.at(0).at("confirmed") > 0);
    CHECK(stage.row().route.canary_percent == 0);
}

TEST_CASE("canary: a step whose reads the source answered all is a breach") {
    Stage stage;
    until_ready(stage);
    stage.interlay->target_answers = false;
    MigrateOptions options;
    options.canary_percent = 10;
    const PhaseOutcome breach = migrate(stage, MigrateGoal::canary, options);
    INFO(say(breach));
    CHECK(breach.exit_code == 5);
    CHECK(breach.numbers.at("canary").at(0).at("deferred") > 0);
    CHECK(stage.row().route.canary_percent == 0);
    stage.interlay->target_answers = true;
    EXPECT(migrate(stage, MigrateGoal::canary, options), 0);
    // Reads are taken back whatever the target is in.
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.blocked = "lost", 0; });
    options.canary_percent = 0;
    EXPECT(migrate(stage, MigrateGoal::canary, options), 0);
    CHECK(stage.row().route.canary_percent == 0);
}

TEST_CASE("canary: differing answers within the budget are no breach") {
    Stage stage;
    stage.settings.migrate.strategy = Strategy::canary;
    stage.settings.migrate.canary.hold_ms = 300;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    std::jthread answers([&](const std::stop_token& stop) {
        while (!stop.stop_requested() && stage.row().route.canary_percent == 0)
            std::this_thread::sleep_for(milliseconds(1));
        DivergenceSample sample;
        sample.command = "GET";
        sample.outcome = "timing_inflight";
        std::vector<DivergenceSample> seen(5'000, sample);
        seen.back().outcome = "confirmed";
        static_cast<void>(stage.log->add(seen));
    });
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
}

TEST_CASE("no switch while an interlay that was taken over still drains") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    // Its control socket is its successor's, which answers for itself.
    const auto registry = *open_worker_registry(stage.settings.state_path, "sessions");
    WorkerRow old = stage.store->workers(stage.row().id)->at(0);
    old.id = "worker-0";
    old.pid = ::getppid();
    REQUIRE(registry->put(old));
    bool waited = false;
    stage.on_progress = [&](const Progress& progress) {
        if (waited || progress.waiting_for.find("was taken over") == std::string::npos) return;
        waited = true;
        CHECK(stage.row().route.authority == Side::source);
        CHECK(registry->remove("worker-0"));
    };
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK(waited);
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

TEST_CASE(
    "rollback ends an attempt that compare began after the last one, whatever its gate said") {
    Stage stage;
    until_ready(stage);
    EXPECT(rollback(stage), 0);
    const auto is_off = [&] {
        return stage.world.with(Direction::forward,
                                [](FakeLane& lane) { return lane.mode == MovementMode::off; });
    };
    REQUIRE(eventually(is_off));
    stage.world.verify.missing = 1;
    EXPECT(compare(stage), 2);
    CHECK(stage.row().state == S::analyzed);
    CHECK(stage.row().attempt == 2);
    CHECK(stage.row().forward == MovementMode::apply);
    EXPECT(rollback(stage), 0);
    CHECK(stage.row().state == S::aborted);
    CHECK(stage.row().forward == MovementMode::off);
    CHECK(eventually(is_off));
}

TEST_CASE("a rollback that could not remove everything names itself as the next command") {
    Stage stage;
    until_ready(stage);
    stage.interlay->down = true;
    stage.timeout = milliseconds(200);
    const PhaseOutcome outcome = rollback(stage);
    INFO(say(outcome));
    CHECK(outcome.exit_code != 0);
    CHECK(stage.row().state == S::aborted);
    CHECK(outcome.next.front() == "exodus rollback");
    stage.interlay->down = false;
    stage.timeout = milliseconds(20'000);
    EXPECT(rollback(stage), 0);
    CHECK(stage.world.lane(Direction::forward).forgotten);
}

TEST_CASE("rollback stops what an earlier exodus let run in aborted") {
    Stage stage;
    until_ready(stage);
    EXPECT(rollback(stage), 0);
    Transition change;
    change.row = stage.row();
    change.row.forward = MovementMode::apply;
    REQUIRE(stage.store->transition(stage.row(), change));
    auto context = stage.context();
    const auto next = read_status(context, {})->next;
    CHECK(std::find(next.begin(), next.end(), "exodus rollback") != next.end());
    stage.world.lane(Direction::forward).forgotten = false;
    EXPECT(rollback(stage), 0);
    CHECK(stage.row().state == S::aborted);
    CHECK(stage.row().forward == MovementMode::off);
    CHECK(stage.world.lane(Direction::forward).forgotten);
}

TEST_CASE("test is refused in aborted and copying before it sends anything") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    const std::size_t sent = stage.world.count("target executes PING");
    SUBCASE("copying") {
        stage.world.with(Direction::forward,
                         [](FakeLane& lane) { return lane.blocked = "stopped", 0; });
        EXPECT(migrate(stage), 5);
        REQUIRE(stage.row().state == S::copying);
    }
    SUBCASE("aborted") {
        EXPECT(rollback(stage), 0);
        REQUIRE(stage.row().state == S::aborted);
    }
    EXPECT(test_phase(stage), 3);
    CHECK(stage.world.count("target executes PING") == sent);
}

TEST_CASE("giving up after a rollback: asked once, then nothing of exodus is left") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    RollbackOptions options;
    options.give_up = true;
    EXPECT(rollback(stage, options), 3);  // the source must get the target's writes first
    CHECK(stage.row().state == S::switched);
    const PhaseOutcome back = rollback(stage);
    EXPECT(back, 0);
    CHECK(std::find(back.next.begin(), back.next.end(), "exodus rollback --give-up") !=
          back.next.end());
    EXPECT(rollback(stage), 0);  // the same command again gives nothing up
    CHECK(stage.row().state == S::rolled_back);
    stage.confirms = false;
    EXPECT(rollback(stage, options), 4);
    CHECK(stage.row().state == S::rolled_back);
    stage.confirms = true;
    stage.asked.clear();
    EXPECT(rollback(stage, options), 0);
    CHECK(stage.asked == std::vector<std::string>{"give-up"});
    CHECK(stage.row().state == S::aborted);
    CHECK(stage.row().forward == MovementMode::off);
    CHECK(stage.row().reverse == MovementMode::off);
    CHECK(stage.world.lane(Direction::forward).forgotten);
    CHECK(stage.world.lane(Direction::reverse).forgotten);
    CHECK(stage.world.fenced.empty());
    EXPECT(rollback(stage, options), 0);
    CHECK(stage.asked.size() == 1);
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

TEST_CASE("a locked migration is exit 75, an unreachable interlay 69") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.interlay->down = true;
    stage.timeout = milliseconds(200);
    const int code = compare(stage).exit_code;
    CHECK((code == 69 || code == 1));
}
