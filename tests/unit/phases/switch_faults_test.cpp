// Switch, rollback and commit when a process or a side dies or stands still amid them.
#include <functional>

#include "drive.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// A switch in which `spoil` happens at a point of the journal is aborted with `text`, and the
/// source goes on as if nothing had been.
void aborts(std::string_view at, const std::function<void(Stage&)>& spoil, std::string_view text) {
    CAPTURE(at);
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    auto context = stage.context();
    context.fault = [&](std::string_view point) {
        if (point == at) spoil(stage);
    };
    MigrateOptions options;
    options.goal = MigrateGoal::switched;
    const PhaseOutcome outcome = run_migrate(context, options);
    INFO(say(outcome));
    CHECK(outcome.exit_code == 5);
    CHECK(outcome.headline.find(text) != std::string::npos);
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

}  // namespace

TEST_CASE("switch: killed at points of the journal, the same command ends it right") {
    // One point of each kind; tests/unit/workflow goes through all of them.
    for (const std::string at :
         {"C1.after-done", "C3.after-effect", "C5.after-effect", "C7.after-done"}) {
        CAPTURE(at);
        Stage stage;
        EXPECT(pretest(stage), 0);
        EXPECT(analyze(stage), 0);
        auto context = stage.context();
        context.skip_gate = {"compare", "test"};
        static_cast<void>(run_migrate(context, {}));
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
        CHECK(outcome.error->hint.find("see that the " + side + " answers") != std::string::npos);
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
    aborts(
        "C6.after-effect",
        [](Stage& stage) {
            const std::scoped_lock lock(stage.world.mutex);
            stage.world.fenced.erase(Side::source);
        },
        "proving the fence again");
}

TEST_CASE("switch: a target that comes back empty behind its proof is found before it is served") {
    for (const char* at : {"C5.after-effect", "C6.after-arm", "C6.after-effect"}) {
        aborts(
            at,
            [](Stage& stage) {
                stage.world.with(Direction::forward, [](FakeLane& lane) {
                    return lane.fail_hand_over = "target lost its data", 0;
                });
            },
            "target lost its data");
    }
}
