// The real cutover code on a fake world: what it does, and what stands after it died at every point
// and was run again.
#include "workflow/cutover.h"

#include <set>

#include "fake_world.h"
#include "workflow/worker_group.h"

using namespace exodus;
using namespace exodus::test;

namespace {
struct Crash {};
}  // namespace

TEST_CASE("a switch moves the authority once and a rollback returns it, each with its journal") {
    Stage stage;
    const uint64_t epoch = stage.row().route.epoch;
    auto report = stage.cut(stage.request(CutoverKind::hand_to_target));
    REQUIRE(report);
    CHECK(report->outcome == CutoverOutcome::done);
    CHECK(report->row.state == MigrationState::switched);
    CHECK(report->row.route.authority == Side::target);
    CHECK(report->row.route.epoch == epoch + 3);  // hold, switch, release
    CHECK(report->row.forward == MovementMode::standby);
    CHECK(report->row.reverse == MovementMode::apply);
    CHECK(report->row.switched_ms > 0);
    CHECK(report->end_position == "P1");
    CHECK(report->hold_us > 0);
    for (const char* step : {"C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"})
        CHECK(report->step_us.contains(step));
    CHECK(stage.world.at(Side::source).fenced);
    stage.check_settled();

    // Again: the goal holds, nothing happens.
    auto again = stage.cut(stage.request(CutoverKind::hand_to_target));
    REQUIRE(again);
    CHECK(again->outcome == CutoverOutcome::done);
    CHECK(again->row.route.epoch == epoch + 3);

    stage.world.lag_polls = stage.world.busy_polls = 2;
    auto back = stage.cut(stage.request(CutoverKind::hand_to_source));
    REQUIRE(back);
    CHECK(back->outcome == CutoverOutcome::done);
    CHECK(back->row.state == MigrationState::rolled_back);
    CHECK(back->row.route.authority == Side::source);
    CHECK(back->row.forward == MovementMode::apply);
    CHECK(back->row.reverse == MovementMode::standby);
    CHECK_FALSE(
        stage.world.at(Side::source).fenced);  // its rules are back before writes were released
    CHECK(stage.world.at(Side::source).rules == "rules");
    CHECK(stage.world.at(Side::source).kept == 1);  // over a restart of the server too
    CHECK(stage.world.at(Side::target).fenced);
    stage.check_settled();
}

TEST_CASE("a failing step aborts: authority unchanged, fence lifted, writes released") {
    Stage stage;
    std::string step;
    SUBCASE("writes never end") {
        stage.world.busy_polls = 1'000'000;
        step = "C2";
    }
    SUBCASE("a living worker is silent") {
        stage.world.silent = true;
        step = "C2";
    }
    SUBCASE("the fence is not proven") {
        stage.world.stays_open = true;
        step = "C3";
    }
    SUBCASE("the fence cannot be prepared: nobody was held") {
        stage.world.unprepared = true;
        step = "C0";
    }
    SUBCASE("the stream is blocked before the hold: nobody was held") {
        stage.world.blocked = "the target lost its data";
        step = "C0";
    }
    SUBCASE("the mover falls silent before the hold: nobody was held") {
        stage.world.statuses = 2;  // what it takes to find it
        step = "C0";
    }
    SUBCASE("the mover tells no end position") {
        stage.world.no_end = true;
        step = "C4";
    }
    SUBCASE("the mover does not tell the end") {
        stage.world.deaf_to = control_op::kEnd;
        step = "C4";
    }
    SUBCASE("the mover does not say what is applied") {
        stage.world.deaf_to = control_op::kApplied;
        step = "C5";
    }
    SUBCASE("the mover does not tell the last keys") {
        stage.world.deaf_to = control_op::kTouched;
        step = "C5";
    }
    SUBCASE("the mover does not hand over") {
        stage.world.deaf_to = control_op::kHandOver;
        step = "C5";
    }
    SUBCASE("the way back cannot be armed") {
        stage.world.deaf_to = control_op::kArm;
        step = "C6";
    }
    SUBCASE("the way back does not prove") {
        stage.world.deaf_to = control_op::kProve;
        step = "C6";
    }
    SUBCASE("the lag is not worked off") {
        stage.world.lag_polls = 1'000'000;
        step = "C5";
    }
    SUBCASE("the final check finds a difference") {
        stage.world.dirty = true;
        step = "C5";
    }
    auto request = stage.request(CutoverKind::hand_to_target);
    request.hold_timeout_ms = 250;
    auto report = stage.cut(request);
    REQUIRE(report);
    CHECK(report->outcome == CutoverOutcome::aborted);
    CHECK(report->failed_step == step);
    CHECK_FALSE(report->why.message.empty());
    CHECK(report->why.message.find(stage.world.blocked) != std::string::npos);
    CHECK((step == "C0") == (report->hold_us == 0));
    CHECK(report->row.state == MigrationState::ready);
    CHECK(report->row.route.authority == Side::source);
    CHECK(stage.world.at(Side::source).rules == "rules");
    CHECK(report->row.forward == MovementMode::apply);
    stage.check_settled();
    // A silent worker was not excluded.
    CHECK(stage.store->workers(report->row.id)->size() == 2);
}

TEST_CASE("a rehearsal proves everything and moves nothing") {
    Stage stage;
    auto request = stage.request(CutoverKind::hand_to_target);
    request.rehearse_only = true;
    auto report = stage.cut(request);
    REQUIRE(report);
    CHECK(report->outcome == CutoverOutcome::rehearsed);
    CHECK(report->row.state == MigrationState::ready);
    CHECK(report->hold_us > 0);
    CHECK(stage.world.at(Side::source).raises == 1);
    CHECK(stage.world.armed[1]);
    stage.check_settled();
}

TEST_CASE("a hold begins at a moment with little lag, or after some seconds without one") {
    Stage stage;
    SUBCASE("one comes") {
        stage.world.high_lags = 50;  // judged by the world: none may be left when it is held
    }
    SUBCASE("none comes: the gate let this lag pass") { stage.world.stays_behind = true; }
    auto report = stage.cut(stage.request(CutoverKind::hand_to_target));
    REQUIRE(report);
    CHECK(report->outcome == CutoverOutcome::done);
    stage.check_settled();
}

TEST_CASE("without a mover nothing is begun") {
    Stage stage;
    REQUIRE(stage.store->remove_worker(stage.row().id, "mover"));
    const MigrationRow before = stage.row();
    auto report = stage.cut(stage.request(CutoverKind::hand_to_target));
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::unreachable);
    CHECK(stage.row().route == before.route);
}

TEST_CASE("a worker whose process is gone is dropped with an event") {
    Stage stage;
    auto registry = open_worker_registry(stage.store->path(), "m");
    REQUIRE(registry);
    WorkerRow gone = this_process("gone", 1);
    gone.pid_start = 1;  // this pid, another process
    REQUIRE((*registry)->put(gone));
    CHECK_FALSE(worker_may_live(gone));
    WorkerRow elsewhere = gone;
    elsewhere.host = "elsewhere.invalid";
    CHECK(worker_may_live(elsewhere));
    auto report = stage.cut(stage.request(CutoverKind::hand_to_target));
    REQUIRE(report);
    CHECK(report->outcome == CutoverOutcome::done);
    bool told = false;
    const auto events = stage.store->events_since(report->row.id, 0, 1000);
    REQUIRE(events);
    for (const EventRow& event : *events) told |= event.code == "worker.dropped";
    CHECK(told);
}

TEST_CASE("a process that dies at any point is answered by running the command again") {
    for (const CutoverKind kind : {CutoverKind::hand_to_target, CutoverKind::hand_to_source}) {
        std::set<std::string> reached;
        for (const std::string& point : cutover_points()) {
            for (const bool expired : {false, true}) {
                Stage stage;
                if (kind == CutoverKind::hand_to_source) {
                    REQUIRE(stage.cut(stage.request(CutoverKind::hand_to_target)));
                    stage.world.lag_polls = stage.world.busy_polls = 1;
                }
                auto request = stage.request(kind);
                if (expired)
                    request.hold_timeout_ms =
                        500;  // too little to resume: must abort, then begin anew
                if (point.starts_with("abort")) stage.world.dirty = true;
                CAPTURE(point);
                CAPTURE(expired);
                CAPTURE(static_cast<int>(kind));
                bool crashed = false;
                try {
                    (void)stage.cut(request, [&](std::string_view at) {
                        reached.emplace(at);
                        if (at == point) {
                            crashed = true;
                            throw Crash{};
                        }
                    });
                } catch (const Crash&) {
                }
                CHECK(stage.world.problem.empty());
                // An authority that moved is fenced on the other side; one that did not move is not
                // lost.
                const MigrationRow dead = stage.row();
                const Side gaining =
                    kind == CutoverKind::hand_to_target ? Side::target : Side::source;
                stage.world.dirty = false;
                auto report = stage.cut(stage.request(kind));
                REQUIRE(report);
                CHECK(report->outcome == CutoverOutcome::done);
                CHECK(report->row.route.authority == gaining);
                if (dead.route.authority == gaining && crashed && point != "C8.after-done")
                    CHECK(report->resumed);
                CHECK(stage.world.at(other(gaining)).fenced);
                CHECK_FALSE(stage.world.at(gaining).fenced);
                stage.check_settled();
            }
        }
        std::string missed;
        for (const std::string& point : cutover_points()) {
            // The first switch finds no fence on the target to open.
            if (!reached.contains(point) &&
                !(point == "C8.after-open" && kind == CutoverKind::hand_to_target))
                missed += point + " ";
        }
        CHECK(missed.empty());
    }
}

TEST_CASE("a switch that died after C7 is completed by the rollback, which then goes back") {
    Stage stage;
    try {
        (void)stage.cut(stage.request(CutoverKind::hand_to_target), [](std::string_view at) {
            if (at == "C7.after-done") throw Crash{};
        });
    } catch (const Crash&) {
    }
    CHECK(stage.row().route.authority == Side::target);
    CHECK(stage.row().route.hold);
    auto report = stage.cut(stage.request(CutoverKind::hand_to_source));
    REQUIRE(report);
    CHECK(report->outcome == CutoverOutcome::done);
    CHECK(report->row.route.authority == Side::source);
    stage.check_settled();
}
