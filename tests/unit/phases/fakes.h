// A family, a journal and a state source in memory, for the tests of mover and phases. `World` is
// what tests steer and look at; every fake points to it. Thread-safe, because the mover has threads
// of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/family.h"
#include "core/state.h"

namespace exodus::test {

/// One direction of the data movement as the fake family plays it.
struct FakeLane {
    MovementMode mode = MovementMode::off;
    bool handed_over = false;
    bool armed = false;
    bool forgotten = false;
    bool paused = false;
    uint64_t items = 100;
    std::optional<int64_t> lag_ms = 0;
    double filling_per_s = 0;  ///< not 0: it is still being filled, at this rate
    std::string degraded;
    std::string blocked;
    uint64_t failed_items = 0;
    int64_t proven_ms = 0;
    std::string fail_mode;  ///< non-empty: set_mode fails with it
    std::string fail_prove;
    std::string fail_hand_over;
    bool never_applied = false;
    std::map<std::string, std::string> throttle;
};

struct World {
    std::mutex mutex;
    std::array<FakeLane, 2> lanes;
    std::vector<std::string> calls;  ///< "forward.mode apply", "fence source raise", …
    std::map<std::string, std::vector<Finding>> checks;
    std::vector<Finding> judged;
    std::map<std::string, std::string> replies;  ///< of execute(); missing: "OK"
    std::vector<std::string> strays;
    std::map<Side, std::vector<std::string>> residue;
    VerifyResult verify;
    VerifyResult final_verify;
    std::set<Side> fenced;
    bool target_down = false;
    bool source_down = false;

    FakeLane& lane(Direction direction) { return lanes[static_cast<std::size_t>(direction)]; }
    void call(std::string text) {
        const std::scoped_lock lock(mutex);
        calls.push_back(std::move(text));
    }
    std::size_t count(const std::string& text) {
        const std::scoped_lock lock(mutex);
        return static_cast<std::size_t>(std::count(calls.begin(), calls.end(), text));
    }
    template <class Action>
    auto with(Direction direction, Action action) {
        const std::scoped_lock lock(mutex);
        return action(lane(direction));
    }
};

class FakeMovement : public Movement {
  public:
    FakeMovement(World& world, Direction direction) : world_(world), direction_(direction) {}
    Status set_mode(MovementMode mode) override {
        world_.call(name() + ".mode " + std::string(to_string(mode)));
        return world_.with(direction_, [&](FakeLane& lane) -> Status {
            if (!lane.fail_mode.empty()) return fail(ErrorCode::unreachable, lane.fail_mode);
            lane.mode = mode;
            return {};
        });
    }
    [[nodiscard]] MovementStatus status() const override {
        return world_.with(direction_, [&](FakeLane& lane) {
            MovementStatus out;
            switch (lane.mode) {
                case MovementMode::off:
                    out.stage = MovementStage::off;
                    break;
                case MovementMode::standby:
                    out.stage = MovementStage::standby;
                    break;
                case MovementMode::apply:
                    out.stage = MovementStage::following;
                    break;
            }
            if (lane.filling_per_s > 0) {
                out.stage = MovementStage::filling;
                out.items_per_s = lane.filling_per_s;
                out.bytes_copied = lane.items * 50;
            }
            if (!lane.blocked.empty()) out.stage = MovementStage::blocked;
            out.items_done = lane.items;
            out.items_total_estimate = lane.items;
            out.lag_ms = lane.lag_ms;
            out.proven_ms = lane.proven_ms;
            out.degraded = lane.degraded;
            out.blocked = lane.blocked;
            out.failed_items = lane.failed_items;
            out.applied.text = "p100";
            return out;
        });
    }
    Result<Position> end_position() override { return Position{"p100"}; }
    Result<bool> applied_through(const Position&) override {
        return world_.with(direction_, [&](FakeLane& lane) {
            return lane.mode == MovementMode::apply && !lane.never_applied;
        });
    }
    Result<uint64_t> stand(uint64_t ticket, const Position& position, milliseconds) override {
        world_.call(name() + ".stand " + position.text);
        return ticket == 0 ? 7 : ticket;
    }
    bool go_on(uint64_t ticket) override { return ticket == 7; }
    Status prove(milliseconds) override {
        world_.call(name() + ".prove");
        return world_.with(direction_, [&](FakeLane& lane) -> Status {
            if (!lane.fail_prove.empty()) return fail(ErrorCode::timeout, lane.fail_prove);
            lane.proven_ms = wall_ms();
            return {};
        });
    }
    Result<Position> arm() override {
        world_.call(name() + ".arm");
        return world_.with(direction_, [&](FakeLane& lane) -> Result<Position> {
            lane.armed = true;
            return Position{"armed"};
        });
    }
    Status hand_over() override {
        world_.call(name() + ".hand_over");
        return world_.with(direction_, [&](FakeLane& lane) -> Status {
            if (!lane.fail_hand_over.empty())
                return fail(ErrorCode::unreachable, lane.fail_hand_over);
            lane.handed_over = true;
            lane.mode = MovementMode::standby;
            return {};
        });
    }
    Status take_back() override {
        world_.call(name() + ".take_back");
        return world_.with(direction_, [&](FakeLane& lane) -> Status {
            lane.handed_over = false;
            lane.mode = MovementMode::apply;
            return {};
        });
    }
    std::vector<std::string> touched(milliseconds) override { return {std::string("k\0\xff", 3)}; }
    Result<uint64_t> redrive() override { return uint64_t{3}; }
    void set_paused(bool paused) override {
        world_.with(direction_, [&](FakeLane& lane) { return lane.paused = paused; });
    }
    Status set_throttle(std::string_view key, std::string_view value) override {
        if (key != "bytes_per_s") return fail(ErrorCode::usage, "known throttles: bytes_per_s");
        return world_.with(direction_, [&](FakeLane& lane) -> Status {
            lane.throttle[std::string(key)] = value;
            return {};
        });
    }
    Status forget() override {
        world_.call(name() + ".forget");
        return world_.with(direction_, [&](FakeLane& lane) -> Status {
            lane.forgotten = true;
            lane.mode = MovementMode::off;
            return {};
        });
    }
    void stop() override {}

  private:
    [[nodiscard]] std::string name() const { return std::string(to_string(direction_)); }
    World& world_;
    Direction direction_;
};

class FakeInspector : public Inspector {
  public:
    explicit FakeInspector(World& world) : world_(world) {}
    [[nodiscard]] std::vector<CheckInfo> checks() const override {
        return {{"fake.reach", "both sides answer"}, {"fake.rights", "rights"}};
    }
    std::vector<Finding> run(const std::string& id) override {
        world_.call("check " + id);
        const std::scoped_lock lock(world_.mutex);
        const auto found = world_.checks.find(id);
        if (found != world_.checks.end()) return found->second;
        return {{id, Severity::pass, "both", "fine", ""}};
    }
    EndpointHealth health(Side side) override {
        EndpointHealth out;
        out.reachable = !(side == Side::target ? world_.target_down : world_.source_down);
        out.version = side == Side::source ? "fake 1" : "fake 2";
        out.items = 100;
        if (!out.reachable) out.error = "connection refused";
        return out;
    }
    Result<std::string> fingerprint(Side side) override {
        return "print-" + std::string(to_string(side));
    }
    Result<nlohmann::json> profile_data(int64_t) override { return nlohmann::json{{"items", 100}}; }
    std::vector<Finding> judge_traffic(const TrafficStats&) override { return world_.judged; }
    Result<nlohmann::json> plan(const TrafficStats&, const nlohmann::json& profile) override {
        return nlohmann::json{{"lanes", 4}, {"items", profile.at("items")}};
    }
    Result<std::vector<std::string>> stray_writers(const std::vector<std::string>&) override {
        return world_.strays;
    }
    Result<std::vector<std::string>> residue(Side side) override {
        const std::scoped_lock lock(world_.mutex);
        return world_.residue[side];
    }
    Result<std::string> execute(Side side, const std::string& request) override {
        world_.call(std::string(to_string(side)) + " executes " + request);
        if (side == Side::target && world_.target_down)
            return fail(ErrorCode::unreachable, "connection refused");
        const std::scoped_lock lock(world_.mutex);
        const auto found = world_.replies.find(request);
        return found == world_.replies.end() ? "OK" : found->second;
    }

  private:
    World& world_;
};

class FakeVerifier : public Verifier {
  public:
    FakeVerifier(World& world, Following following)
        : world_(world), following_(std::move(following)) {}
    Result<VerifyResult> run(const OnProgress& progress) override {
        world_.call("verify");
        auto applied = following_.applied(Position{"p100"});
        if (!applied) return tl::unexpected(applied.error());
        if (progress) progress(VerifyProgress{100, 100, 0, "", 0});
        const std::scoped_lock lock(world_.mutex);
        return world_.verify;
    }
    Result<VerifyResult> check(const std::vector<std::string>&,
                               const OnProgress& progress) override {
        return run(progress);
    }
    Result<VerifyResult> final_check(const std::vector<std::string>&, Deadline) override {
        world_.call("final check");
        const std::scoped_lock lock(world_.mutex);
        return world_.final_verify;
    }

  private:
    World& world_;
    Following following_;
};

class FakeFence : public Fence {
  public:
    FakeFence(World& world, Side side) : world_(world), side_(side) {}
    Result<std::string> prepare(Deadline) override { return std::string("acl before"); }
    Status raise(const std::string&, Deadline) override {
        world_.call("fence " + std::string(to_string(side_)) + " raise");
        const std::scoped_lock lock(world_.mutex);
        world_.fenced.insert(side_);
        return {};
    }
    Status prove(const std::string&, Deadline) override {
        const std::scoped_lock lock(world_.mutex);
        if (!world_.fenced.contains(side_))
            return fail(ErrorCode::safety, "a probe write went through");
        return {};
    }
    Status lift(const std::string&, Deadline) override {
        world_.call("fence " + std::string(to_string(side_)) + " lift");
        const std::scoped_lock lock(world_.mutex);
        world_.fenced.erase(side_);
        return {};
    }
    Status keep(Deadline) override { return {}; }

  private:
    World& world_;
    Side side_;
};

class FakeTapSession : public TapSession {
  public:
    void on_client_bytes(std::string_view bytes, int64_t) override { seen_ += bytes.size(); }
    void on_server_bytes(std::string_view, int64_t) override {}
    void on_gap() override {}
    void collect(TrafficStats& stats) const override { stats.commands["GET"].requests += seen_; }

  private:
    uint64_t seen_ = 0;
};

class FakeFamily : public Family {
  public:
    explicit FakeFamily(World& world) : world_(world) {}
    [[nodiscard]] std::string_view name() const override { return "fake"; }
    [[nodiscard]] uint16_t default_port() const override { return 1; }
    [[nodiscard]] std::vector<std::pair<std::string, bool>> schemes() const override {
        return {{"fake", false}};
    }
    [[nodiscard]] std::vector<Error> validate(const Settings&) const override { return {}; }
    std::unique_ptr<Inspector> make_inspector(const FamilyContext&) override {
        return std::make_unique<FakeInspector>(world_);
    }
    std::unique_ptr<Movement> make_movement(const FamilyContext&, Direction direction) override {
        return std::make_unique<FakeMovement>(world_, direction);
    }
    std::unique_ptr<Verifier> make_verifier(const FamilyContext&, Direction,
                                            Following following) override {
        return std::make_unique<FakeVerifier>(world_, std::move(following));
    }
    std::unique_ptr<Fence> make_fence(const FamilyContext&, Side side) override {
        return std::make_unique<FakeFence>(world_, side);
    }
    std::unique_ptr<TrafficShared> make_traffic(const FamilyContext&) override { return nullptr; }
    std::unique_ptr<TapSession> make_tap_session() override {
        return std::make_unique<FakeTapSession>();
    }

  private:
    World& world_;
};

class FakeDialer : public Dialer {
  public:
    Result<std::unique_ptr<ByteStream>> dial(const Endpoint&, milliseconds) override {
        return fail(ErrorCode::unreachable, "the fake dialer reaches nobody");
    }
};

/// Waits until `condition` holds; false after the deadline.
inline bool eventually(const std::function<bool()>& condition,
                       milliseconds span = milliseconds(5'000)) {
    const Deadline deadline = Deadline::in(span);
    while (!condition()) {
        if (deadline.passed()) return false;
        std::this_thread::sleep_for(milliseconds(2));
    }
    return true;
}

}  // namespace exodus::test
