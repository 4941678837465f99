// Hazard: an operator relies on a way back that is not there.
#include <doctest/doctest.h>

#include "base/limits.h"
#include "workflow/gate_text.h"

using namespace exodus;

namespace {

constexpr int64_t kNow_ms = 1'700'000'000'000;

MigrationRow switched() {
    MigrationRow row;
    row.state = MigrationState::switched;
    row.route.authority = Side::target;
    row.reverse = MovementMode::apply;
    return row;
}

MovementStatus following() {
    MovementStatus status;
    status.stage = MovementStage::following;
    status.lag_ms = 20;
    status.proven_ms = kNow_ms - 1'000;
    return status;
}

}  // namespace

TEST_CASE("behind a switch the way back needs both sides, an interlay and a stream that runs") {
    const MigrationRow row = switched();
    const MovementStatus good = following();
    CHECK(way_back_now(row, good, {}, kNow_ms).open);
    CHECK(way_back_now(row, good, {}, kNow_ms).loses.empty());
    for (const Answering answering : {Answering{false, true, true}, Answering{true, false, true},
                                      Answering{true, true, false}}) {
        const WayBack way = way_back_now(row, good, answering, kNow_ms);
        CHECK_FALSE(way.open);
        CHECK(way.loses.starts_with("the last 20 ms, until"));
    }
    const auto closed = [&](auto change) {
        MovementStatus status = good;
        change(status);
        const WayBack way = way_back_now(row, status, {}, kNow_ms);
        return !way.open && !way.loses.empty();
    };
    CHECK(closed([](MovementStatus& s) { s.blocked = "source lost its data"; }));
    CHECK(closed([](MovementStatus& s) { s.failed_items = 1; }));
    CHECK(closed([](MovementStatus& s) { s.stage = MovementStage::filling; }));
    CHECK_FALSE(closed([](MovementStatus& s) { s.stage = MovementStage::repairing; }));
    // Trouble that lasts, but not a connection that is made anew.
    CHECK_FALSE(closed([](MovementStatus& s) { s.degraded = "source refuses writes"; }));
    CHECK(closed([](MovementStatus& s) {
        s.degraded = "source refuses writes";
        s.lag_ms = 6'000;
    }));
    CHECK(closed([](MovementStatus& s) {
        s.degraded = "source refuses writes";
        s.lag_ms.reset();
    }));
    MigrationRow unfed = row;
    unfed.reverse = MovementMode::off;
    CHECK_FALSE(way_back_now(unfed, good, {}, kNow_ms).open);
    unfed.state = MigrationState::committed;
    CHECK_FALSE(way_back_now(unfed, good, {}, kNow_ms).open);
}

TEST_CASE("a way back that is ready was proven a short while ago") {
    MigrationRow row;
    row.state = MigrationState::ready;
    MovementStatus status = following();
    status.stage = MovementStage::standby;
    CHECK(way_back_now(row, status, {}, kNow_ms).open);
    status.blocked = "second writer";
    CHECK_FALSE(way_back_now(row, status, {}, kNow_ms).open);
    status.blocked.clear();
    status.stage = MovementStage::filling;
    CHECK_FALSE(way_back_now(row, status, {}, kNow_ms).open);
    status.stage = MovementStage::standby;
    status.proven_ms = kNow_ms - limits::kProveAge_ms_max - 1;
    CHECK_FALSE(way_back_now(row, status, {}, kNow_ms).open);
    status.proven_ms = 0;
    CHECK_FALSE(way_back_now(row, status, {}, kNow_ms).open);
}
