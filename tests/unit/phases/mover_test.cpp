// The mover: modes follow the row, a hand-over survives polling and restarts, proofs and events
// come by themselves.
#include "workflow/mover.h"

#include <doctest/doctest.h>

#include "fakes.h"
#include "tests/support/memory_journal.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;

namespace {

class EventJournal final : public MemoryJournal {
  public:
    Status add_event(std::string_view severity, std::string_view code,
                     std::string_view text) override {
        const std::scoped_lock lock(mutex_);
        told_.push_back(std::string(severity) + " " + std::string(code) + " " + std::string(text));
        return {};
    }
    bool has_event(const std::string& part) {
        const std::scoped_lock lock(mutex_);
        return std::any_of(told_.begin(), told_.end(), [&](const std::string& event) {
            return event.find(part) != std::string::npos;
        });
    }

  private:
    std::mutex mutex_;
    std::vector<std::string> told_;
};

class MemoryState : public StateSource {
  public:
    Result<MigrationRow> read() override {
        const std::scoped_lock lock(mutex_);
        changed_ = false;
        if (broken_) return fail(ErrorCode::io, "disk full");
        return row_;
    }
    Result<bool> changed() override {
        const std::scoped_lock lock(mutex_);
        return changed_;
    }
    void set(const std::function<void(MigrationRow&)>& change) {
        const std::scoped_lock lock(mutex_);
        change(row_);
        changed_ = true;
    }
    void break_it(bool broken) {
        const std::scoped_lock lock(mutex_);
        broken_ = broken;
        changed_ = true;
    }

  private:
    std::mutex mutex_;
    MigrationRow row_;
    bool changed_ = true;
    bool broken_ = false;
};

struct Bench {
    World world;
    FakeFamily family{world};
    Settings settings;
    FakeDialer dialer;
    EventJournal journal;
    MemoryState state;
    FamilyContext context{settings, dialer, journal, "/nonexistent"};
    std::unique_ptr<Mover> mover;
    ControlHandlers handlers;

    void start(milliseconds prove_every = milliseconds(60'000)) {
        mover = std::make_unique<Mover>(
            family, context, state,
            MoverOptions{milliseconds(5), milliseconds(2), prove_every, milliseconds(100)});
        REQUIRE(mover->start());
        handlers = mover->handlers();
    }
    Result<json> call(const char* op, json extra = json::object()) {
        extra["op"] = op;
        return handlers.at(op)(extra);
    }
    MovementMode mode(Direction direction) {
        return world.with(direction, [](FakeLane& lane) { return lane.mode; });
    }
    bool becomes(Direction direction, MovementMode wanted) {
        return eventually([&] { return mode(direction) == wanted; });
    }
    /// The poller has looked at the present row at least once more.
    void settle() {
        mover->look_now();
        std::this_thread::sleep_for(milliseconds(30));
    }
    void hold(uint64_t epoch) {
        state.set([&](MigrationRow& row) {
            row.state = MigrationState::holding;
            row.route.hold = true;
            row.route.epoch = epoch;
            row.forward = MovementMode::apply;
            row.reverse = MovementMode::standby;
        });
    }
};

const json kForward = {{"direction", "forward"}};
const json kReverse = {{"direction", "reverse"}};

}  // namespace

TEST_CASE("modes follow the row") {
    Bench bench;
    bench.start();
    bench.state.set([](MigrationRow& row) {
        row.state = MigrationState::following;
        row.forward = MovementMode::apply;
        row.reverse = MovementMode::standby;
    });
    CHECK(bench.becomes(Direction::forward, MovementMode::apply));
    CHECK(bench.becomes(Direction::reverse, MovementMode::standby));
    bench.state.set([](MigrationRow& row) { row.forward = MovementMode::off; });
    CHECK(bench.becomes(Direction::forward, MovementMode::off));
    bench.state.set([](MigrationRow& row) { row.flag_paused = "by mira"; });
    CHECK(eventually([&] {
        return bench.world.with(Direction::forward, [](FakeLane& l) { return l.paused; });
    }));
}

TEST_CASE("whether the copy rests is what the row says, also for who asks for it") {
    Bench bench;
    bench.start();
    const auto paused = [&] {
        return bench.world.with(Direction::forward, [](FakeLane& lane) { return lane.paused; });
    };
    const auto refused = bench.call(control_op::kPause, {{"paused", true}});
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::not_allowed);
    CHECK(!paused());
    bench.state.set([](MigrationRow& row) { row.flag_paused = "by mira"; });
    REQUIRE(bench.call(control_op::kPause, {{"paused", true}}));
    CHECK(paused());
    bench.settle();
    CHECK(paused());
    bench.state.set([](MigrationRow& row) { row.flag_paused.clear(); });
    REQUIRE(bench.call(control_op::kPause, {{"paused", false}}));
    CHECK(!paused());
}

TEST_CASE("a mode that cannot be set is reported and tried again") {
    Bench bench;
    bench.world.lane(Direction::forward).fail_mode = "connection refused";
    bench.start();
    bench.state.set([](MigrationRow& row) { row.forward = MovementMode::apply; });
    REQUIRE(eventually(
        [&] { return bench.journal.has_event("mover.mode forward cannot go to apply"); }));
    bench.world.with(Direction::forward, [](FakeLane& lane) { return lane.fail_mode.clear(), 0; });
    CHECK(bench.becomes(Direction::forward, MovementMode::apply));
}

TEST_CASE("an unreadable state file stops nothing") {
    Bench bench;
    bench.state.set([](MigrationRow& row) { row.forward = MovementMode::apply; });
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    bench.state.break_it(true);
    bench.settle();
    CHECK(bench.mode(Direction::forward) == MovementMode::apply);
    CHECK(!bench.call(control_op::kHandOver, kForward));
    bench.state.break_it(false);
    bench.state.set([](MigrationRow& row) { row.forward = MovementMode::off; });
    CHECK(bench.becomes(Direction::forward, MovementMode::off));
}

TEST_CASE("hand-over is refused unless writes are held") {
    Bench bench;
    bench.state.set([](MigrationRow& row) {
        row.state = MigrationState::ready;
        row.forward = MovementMode::apply;
    });
    bench.start();
    auto refused = bench.call(control_op::kHandOver, kForward);
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::not_allowed);
    CHECK(bench.world.count("forward.hand_over") == 0);
}

TEST_CASE("after hand-over the row's apply is not put back; the switch settles it") {
    Bench bench;
    bench.hold(7);
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    REQUIRE(bench.call(control_op::kHandOver, kForward));
    // Again it changes nothing, but the movement looks whether its destination is still the same.
    REQUIRE(bench.call(control_op::kHandOver, kForward));
    CHECK(bench.world.count("forward.hand_over") == 2);
    REQUIRE(bench.call(control_op::kArm, kReverse));
    bench.settle();
    CHECK(bench.mode(Direction::forward) == MovementMode::standby);
    CHECK(bench.world.count("forward.mode apply") == 1);
    bench.state.set([](MigrationRow& row) {
        row.state = MigrationState::switched;
        row.route = Route{.epoch = 8, .authority = Side::target};
        row.forward = MovementMode::standby;
        row.reverse = MovementMode::apply;
    });
    CHECK(bench.becomes(Direction::reverse, MovementMode::apply));
    CHECK(eventually([&] {
        return bench.journal.load_position("forward", "mover:hand")->value_or("?").empty();
    }));
    CHECK(bench.world.count("forward.take_back") == 0);
}

TEST_CASE("an aborted hold takes the movement back without being asked") {
    Bench bench;
    bench.hold(7);
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    REQUIRE(bench.call(control_op::kHandOver, kForward));
    bench.state.set([](MigrationRow& row) {
        row.state = MigrationState::ready;
        row.route.hold = false;
        row.route.epoch = 8;
    });
    CHECK(bench.becomes(Direction::forward, MovementMode::apply));
    CHECK(bench.world.count("forward.take_back") == 1);
    auto again = bench.call(control_op::kTakeBack, kForward);
    REQUIRE(again);
    CHECK(again->at("taken_back") == false);
}

TEST_CASE(
    "killed in the hold after the hand-over: the new process stands by, then the row decides") {
    Bench bench;
    bench.hold(7);
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    REQUIRE(bench.call(control_op::kHandOver, kForward));
    bench.mover.reset();
    bench.world.with(Direction::forward,
                     [](FakeLane& lane) { return lane.mode = MovementMode::off; });
    const auto applied = bench.world.count("forward.mode apply");
    bench.start();
    CHECK(bench.becomes(Direction::forward, MovementMode::standby));
    bench.settle();
    CHECK(bench.world.count("forward.mode apply") == applied);
    CHECK(bench.world.count("forward.take_back") == 0);
    SUBCASE("switched") {
        bench.state.set([](MigrationRow& row) {
            row.state = MigrationState::switched;
            row.route = Route{.epoch = 8, .authority = Side::target};
            row.forward = MovementMode::standby;
            row.reverse = MovementMode::apply;
        });
        CHECK(bench.becomes(Direction::reverse, MovementMode::apply));
        bench.settle();
        CHECK(bench.mode(Direction::forward) == MovementMode::standby);
        CHECK(bench.world.count("forward.take_back") == 0);
    }
    SUBCASE("aborted") {
        bench.state.set([](MigrationRow& row) {
            row.state = MigrationState::ready;
            row.route.hold = false;
            row.route.epoch = 8;
        });
        CHECK(bench.becomes(Direction::forward, MovementMode::apply));
        CHECK(bench.world.count("forward.take_back") == 1);
    }
}

TEST_CASE("a mark of a hand-over that cannot be read stops the start") {
    for (const char* mark : {"handed 7x", "handed x", "handed "}) {
        CAPTURE(mark);
        Bench bench;
        REQUIRE(bench.journal.save_position("forward", "mover:hand", mark));
        Mover mover(bench.family, bench.context, bench.state);
        const auto started = mover.start();
        REQUIRE_FALSE(started);
        CHECK(started.error().code == ErrorCode::data);
    }
}

TEST_CASE("a lag that is not known crosses the control socket as null") {
    MovementStatus status;
    CHECK(to_json(status).at("lag_ms").is_null());
    CHECK_FALSE(movement_status_from_json(to_json(status)).lag_ms);
    status.lag_ms = 0;
    CHECK(movement_status_from_json(to_json(status)).lag_ms == 0);
}

TEST_CASE("every field of a movement's status crosses the control socket") {
    MovementStatus status;
    status.stage = MovementStage::filling;
    status.items_done = 1;
    status.items_total_estimate = 200;
    status.bytes_copied = 3;
    status.changes_applied = 4;
    status.items_per_s = 5.5;
    status.changes_per_s = 6.5;
    status.lag_bytes = 7;
    status.lag_ms = 8;
    status.queue_bytes = 9;
    status.queue_max_bytes = 10;
    status.retries = 11;
    status.failed_items = 12;
    status.repairs_open = 13;
    status.items_kept = 14;
    status.changes_dropped = 15;
    status.items_equal = 16;
    status.items_restored = 17;
    status.items_removed = 18;
    status.applied.text = "replid:19";
    status.proven_ms = 20;
    status.waiting_for = "the copy";
    status.throttled = "20 MiB a second";
    status.degraded = "target: refused";
    status.blocked = "target lost its data";
    status.batches = 21;
    status.batches_us = 22;
    status.batch_p50_us = 23;
    status.batch_p99_us = 24;
    const json sent = to_json(status);
    // A field that is new in to_json() and not set above would prove nothing.
    for (const auto& field : sent.items()) {
        CAPTURE(field.key());
        CHECK(field.value() != to_json(MovementStatus{}).at(field.key()));
    }
    CHECK(to_json(movement_status_from_json(sent)) == sent);
}

TEST_CASE("killed half-way through the hand-over: it is undone, and the cutover can ask again") {
    Bench bench;
    bench.hold(7);
    REQUIRE(bench.journal.save_position("forward", "mover:hand", "handing 7"));
    bench.start();
    CHECK(bench.becomes(Direction::forward, MovementMode::apply));
    CHECK(bench.world.count("forward.take_back") == 1);
    REQUIRE(bench.call(control_op::kHandOver, kForward));
    CHECK(bench.mode(Direction::forward) == MovementMode::standby);
}

TEST_CASE("a failed hand-over stays out of the way until the hold ends") {
    Bench bench;
    bench.hold(7);
    bench.world.lane(Direction::forward).fail_hand_over = "target lost";
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    CHECK(!bench.call(control_op::kHandOver, kForward));
    bench.settle();
    CHECK(bench.world.count("forward.mode apply") == 1);
    bench.world.with(Direction::forward,
                     [](FakeLane& lane) { return lane.fail_hand_over.clear(), 0; });
    CHECK(bench.call(control_op::kHandOver, kForward));
    CHECK(bench.mode(Direction::forward) == MovementMode::standby);
}

TEST_CASE("arm follows a newer row first and refuses a movement that is not in standby") {
    Bench bench;
    bench.hold(7);
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    CHECK(!bench.call(control_op::kArm, kForward));
    REQUIRE(bench.call(control_op::kHandOver, kForward));
    bench.state.set([](MigrationRow& row) {
        row.route.epoch = 9;
        row.route.authority = Side::target;
        row.forward = MovementMode::standby;
        row.reverse = MovementMode::apply;
    });
    CHECK(bench.call(control_op::kArm, kForward));
}

TEST_CASE("the way back is proven by itself, and a failing proof is told once") {
    Bench bench;
    bench.state.set([](MigrationRow& row) {
        row.state = MigrationState::ready;
        row.reverse = MovementMode::standby;
    });
    bench.start(milliseconds(20));
    CHECK(eventually([&] { return bench.world.count("reverse.prove") >= 3; }));
    CHECK(bench.world.count("forward.prove") == 0);
    bench.world.with(Direction::reverse,
                     [](FakeLane& lane) { return lane.fail_prove = "no marker", 0; });
    CHECK(eventually(
        [&] { return bench.journal.has_event("mover.proof the way back could not be proven"); }));
    bench.world.with(Direction::reverse, [](FakeLane& lane) { return lane.fail_prove.clear(), 0; });
    CHECK(eventually([&] { return bench.journal.has_event("mover.proof-over"); }));
}

TEST_CASE("degraded and blocked become events, once") {
    Bench bench;
    bench.start();
    bench.world.with(Direction::forward, [](FakeLane& lane) {
        return lane.degraded = "target: connection refused", 0;
    });
    CHECK(
        eventually([&] { return bench.journal.has_event("warn mover.degraded forward: target"); }));
    bench.world.with(Direction::forward, [](FakeLane& lane) { return lane.degraded.clear(), 0; });
    CHECK(eventually([&] { return bench.journal.has_event("mover.degraded-over"); }));
    bench.world.with(Direction::forward,
                     [](FakeLane& lane) { return lane.blocked = "second writer", 0; });
    CHECK(eventually(
        [&] { return bench.journal.has_event("critical mover.blocked forward: second writer"); }));
}

TEST_CASE("forget needs a row that no longer wants the movement") {
    Bench bench;
    bench.state.set([](MigrationRow& row) { row.forward = MovementMode::apply; });
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    CHECK(!bench.call(control_op::kForget, kForward));
    bench.state.set([](MigrationRow& row) { row.forward = MovementMode::off; });
    CHECK(bench.call(control_op::kForget, kForward));
    CHECK(bench.world.lane(Direction::forward).forgotten);
}

TEST_CASE("the client end speaks the same operations") {
    Bench bench;
    bench.hold(3);
    bench.start();
    REQUIRE(bench.becomes(Direction::forward, MovementMode::apply));
    struct Port : ControlPort {
        ControlHandlers& handlers;
        explicit Port(ControlHandlers& h) : handlers(h) {}
        Result<json> call(const json& request, milliseconds) override {
            const auto found = handlers.find(request.at("op").get<std::string>());
            if (found == handlers.end()) return fail(ErrorCode::usage, "unknown operation");
            // Through text, as over the socket: bytes that JSON cannot carry would throw here.
            auto answer = found->second(json::parse(request.dump()));
            if (!answer) return answer;
            return json::parse(answer->dump());
        }
    } port(bench.handlers);
    MoverClient client(port);
    auto status = client.status(Direction::forward);
    REQUIRE(status);
    CHECK(status->stage == MovementStage::following);
    CHECK(status->items_done == 100);
    CHECK(client.end(Direction::forward)->text == "p100");
    CHECK(*client.applied(Direction::forward, Position{"p100"}));
    CHECK(*client.stand(Direction::forward, 0, Position{}, milliseconds(100)) == 7);
    CHECK(*client.stand(Direction::forward, 7, Position{"p101"}, milliseconds(100)) == 7);
    CHECK(*client.go_on(Direction::forward, 7));
    CHECK_FALSE(*client.go_on(Direction::forward, 8));
    CHECK(client.prove(Direction::reverse, milliseconds(100)));
    CHECK(client.arm(Direction::reverse)->text == "armed");
    auto keys = client.touched(Direction::forward, milliseconds(2000));
    REQUIRE(keys);
    CHECK(keys->at(0) == std::string("k\0\xff", 3));
    CHECK(*client.redrive(Direction::forward) == 3);
    CHECK(client.throttle("bytes_per_s", "1000", "mira@ops1"));
    CHECK(client.throttle("nonsense", "1", "mira@ops1").error().code == ErrorCode::usage);
    CHECK(client.hand_over(Direction::forward));
    CHECK(client.take_back(Direction::forward));
    CHECK(!client.forget(Direction::forward));
    CHECK(!bench.call(control_op::kEnd, {{"direction", "sideways"}}));
    CHECK(!bench.call(control_op::kApplied, kForward));  // no position
}
