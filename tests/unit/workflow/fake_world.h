// A world for the cutover: two servers as write counters, a fence each, interlay processes with a
// mover, all in memory. It judges every step: who may write, what is applied, and whether an
// authority was ever fenced without a hold.
#pragma once

#include <array>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unistd.h>

#include "store/services.h"
#include "store/workflow_store.h"
#include "workflow/cutover.h"
#include "workflow/machine.h"

namespace exodus::test {

using nlohmann::json;

/// A directory that goes with the object.
class MemoryDir {
  public:
    MemoryDir() {
        // In memory where there is such a place: hundreds of state files with four syncs per
        // transaction take minutes on a disk.
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        const std::filesystem::path base =
            memory ? "/dev/shm" : std::filesystem::temp_directory_path();
        std::string name = (base / "exodus-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~MemoryDir() {
        std::error_code code;
        std::filesystem::remove_all(path_, code);
    }
    MemoryDir(const MemoryDir&) = delete;
    MemoryDir& operator=(const MemoryDir&) = delete;
    [[nodiscard]] std::string file(const std::string& name) const {
        return (path_ / name).string();
    }
    [[nodiscard]] std::string path() const { return path_.string(); }

  private:
    std::filesystem::path path_;
};

inline WorkerRow this_process(const std::string& id, uint64_t epoch) {
    WorkerRow row;
    row.id = id;
    row.pid = ::getpid();
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    row.host = host.data();
    row.control = id;
    row.epoch = epoch;
    return row;
}

struct World {
    struct Server {
        bool fenced = false;
        std::string rules = "rules";  ///< what the fence changes and must restore
        int raises = 0;
        int lifts = 0;
        int kept = 0;
    };
    std::array<Server, 2> servers;
    std::array<bool, 2> applying{true, false};  ///< per direction
    std::array<bool, 2> handed{false, false};
    std::array<bool, 2> armed{false, false};
    int high_lags = 2;          ///< so many statuses tell a lag far too high for a hold
    int lag_polls = 2;          ///< kApplied says no so often
    int busy_polls = 2;         ///< writes in flight so often
    bool silent = false;        ///< a worker does not answer quiescence
    bool dirty = false;         ///< final check finds a difference
    bool stays_open = false;    ///< the fence does not prove
    bool unprepared = false;    ///< the fence cannot even be prepared
    bool stays_behind = false;  ///< the lag never gets low
    std::string blocked;        ///< what an operator must solve in the stream that is applied
    int statuses = 1'000'000;   ///< the mover tells so many
    std::string deaf_to;        ///< the operation that the mover does not answer
    bool no_end = false;        ///< the mover tells an empty end position
    StateSource* state = nullptr;
    std::string problem;  ///< a broken invariant

    Server& at(Side side) { return servers[static_cast<std::size_t>(side)]; }

    /// What the interlay would do now, from what is durable.
    void judge() {
        const auto row = state->read();
        if (!row) return;
        if (row->route.writes != row->route.authority)
            problem = "writes do not go to the authority";
        if (!row->route.hold && at(row->route.authority).fenced)
            problem = "writes were released to a fenced authority";
        if (row->route.authority == Side::target && !at(Side::source).fenced)
            problem = "the source lost the authority unfenced";
    }
};

class FakeFence final : public Fence {
  public:
    FakeFence(World& world, Side side) : world_(world), side_(side) {}
    Result<std::string> prepare(Deadline) override {
        if (world_.unprepared) return fail(ErrorCode::unreachable, "connection refused");
        return world_.at(side_).rules;
    }
    Status raise(const std::string&, Deadline) override {
        world_.at(side_).fenced = true;
        world_.at(side_).rules = "fenced";
        ++world_.at(side_).raises;
        return {};
    }
    Status prove(const std::string&, Deadline) override {
        if (world_.stays_open) return fail(ErrorCode::safety, "user app can still write");
        return {};
    }
    Status lift(const std::string& prepared, Deadline) override {
        if (prepared != "rules") world_.problem = "the fence would be lifted to '" + prepared + "'";
        world_.at(side_).fenced = false;
        world_.at(side_).rules = prepared;
        ++world_.at(side_).lifts;
        return {};
    }
    Status keep(Deadline) override {
        ++world_.at(side_).kept;
        return {};
    }

  private:
    World& world_;
    Side side_;
};

class FakePort final : public ControlPort {
  public:
    FakePort(World& world, std::string id) : world_(world), id_(std::move(id)) {}

    Result<json> call(const json& request, milliseconds) override {
        world_.judge();
        const std::string op = request.at("op");
        const auto row = world_.state->read();
        REQUIRE(row);
        if (op == control_op::kQuiescence) {
            if (world_.silent) return fail(ErrorCode::unreachable, "no answer");
            if (row->route.hold && world_.high_lags > 0)
                world_.problem = "held while much was left to apply";
            const int busy = world_.busy_polls > 0 ? world_.busy_polls-- : 0;
            return json{{"epoch", row->route.epoch},
                        {"writes_in_flight", busy},
                        {"held", 3},
                        {"blocker", busy ? "EVAL" : ""}};
        }
        if (op == control_op::kLookNow) return json::object();
        if (op == control_op::kProbe) {
            const Side side = request.at("side") == "source" ? Side::source : Side::target;
            if (!world_.at(side).fenced)
                return fail(ErrorCode::safety, "the probe write was taken");
            return json::object();
        }
        if (id_ != "mover") return fail(ErrorCode::usage, "no mover here");
        if (op == control_op::kMover) {
            follow(*row);
            if (world_.statuses-- <= 0) return fail(ErrorCode::timeout, "no answer");
            if (world_.high_lags > 0) --world_.high_lags;
            const int lag_ms = world_.high_lags > 0 || world_.stays_behind ? 150 : 3;
            const auto lane = [&](std::size_t at) -> json {
                if (!world_.applying[at]) return {{"stage", "standby"}};
                return {{"stage", "following"}, {"lag_ms", lag_ms}, {"blocked", world_.blocked}};
            };
            return json{{"forward", lane(0)}, {"reverse", lane(1)}};
        }
        return movement(op, request, *row);
    }

  private:
    void follow(const MigrationRow& row) {
        world_.applying = {row.forward == MovementMode::apply, row.reverse == MovementMode::apply};
        if (!row.route.hold) world_.handed = {false, false};
    }

    Result<json> movement(const std::string& op, const json& request, const MigrationRow& row) {
        const Direction direction =
            request.at("direction") == "forward" ? Direction::forward : Direction::reverse;
        const auto at = static_cast<std::size_t>(direction);
        const bool fenced = world_.at(origin_of(direction)).fenced;
        if (op == world_.deaf_to) return fail(ErrorCode::timeout, "no answer");
        if (op == control_op::kEnd) {
            if (world_.no_end) return json{{"position", ""}};
            if (!fenced) world_.problem = "the end position was read before the fence";
            return json{{"position", "P1"}};
        }
        if (op == control_op::kApplied) {
            if (request.at("position") != "P1")
                world_.problem = "another end position was waited for";
            return json{{"applied", world_.lag_polls <= 0 || world_.lag_polls-- == 0}};
        }
        if (op == control_op::kTouched) return json{{"keys", json::array({"a2V5"})}};
        if (op == control_op::kHandOver) {
            if (row.state != MigrationState::holding) world_.problem = "handed over without a hold";
            world_.handed[at] = true;
            return json::object();
        }
        if (op == control_op::kTakeBack) {
            world_.handed[at] = false;
            return json::object();
        }
        if (op == control_op::kArm) {
            if (!world_.handed[1 - at]) world_.problem = "armed before the hand-over";
            world_.armed[at] = true;
            return json{{"position", "R1"}};
        }
        if (op == control_op::kProve) return json::object();
        return fail(ErrorCode::usage, "unknown operation " + op);
    }

    World& world_;
    std::string id_;
};

/// A state file with a migration in `ready`, a plain worker and one with the mover.
class Stage {
  public:
    Stage() {
        settings.migration = "m";
        settings.family = "redis";
        settings.config_hash = "cfg";
        auto opened = WorkflowStore::open(dir.file("s.db"), OpenMode::create);
        REQUIRE(opened);
        store = std::move(*opened);
        auto made = store->create_migration(settings, current_owner());
        REQUIRE(made);
        for (const auto to :
             {MigrationState::pretested, MigrationState::analyzed, MigrationState::compared,
              MigrationState::tested, MigrationState::copying, MigrationState::following,
              MigrationState::ready}) {
            auto next = row_for(row(), to, 1);
            REQUIRE(next);
            Transition change;
            change.row = *next;
            REQUIRE(store->transition(row(), change));
        }
        auto registry = open_worker_registry(store->path(), "m");
        REQUIRE(registry);
        REQUIRE((*registry)->put(this_process("plain", row().route.epoch)));
        REQUIRE((*registry)->put(this_process("mover", row().route.epoch)));
        auto source = open_state_source(store->path(), "m");
        REQUIRE(source);
        state = std::move(*source);
        world.state = state.get();
    }

    MigrationRow row() {
        auto now = store->find_migration("m");
        REQUIRE(now);
        return *now;
    }

    CutoverPorts ports(std::function<void(std::string_view)> fault = nullptr) {
        return CutoverPorts{
            *store,
            [this](const std::string& path) { return std::make_unique<FakePort>(world, path); },
            [this](Side side) { return std::make_unique<FakeFence>(world, side); },
            [this](Direction, const std::vector<std::string>& touched,
                   Deadline) -> Result<VerifyResult> {
                if (touched != std::vector<std::string>{"key"})
                    world.problem = "touched keys were not decoded";
                VerifyResult result;
                result.missing = world.dirty ? 1 : 0;
                return result;
            },
            nullptr,
            std::move(fault)};
    }

    CutoverRequest request(CutoverKind kind) {
        CutoverRequest out;
        out.kind = kind;
        out.hold_timeout_ms = 3'000;
        out.command = "migrate --switch";
        out.owner = current_owner();
        return out;
    }

    Result<CutoverReport> cut(const CutoverRequest& wanted,
                              std::function<void(std::string_view)> fault = nullptr) {
        Cutover cutover(settings, ports(std::move(fault)));
        return cutover.run(row(), wanted);
    }

    /// Nothing open, nothing held, the authority not fenced.
    void check_settled() {
        INFO(world.problem);
        CHECK(world.problem.empty());
        const MigrationRow now = row();
        CHECK_FALSE(now.route.hold);
        CHECK(now.state != MigrationState::holding);
        CHECK_FALSE(world.at(now.route.authority).fenced);
        auto open = store->open_run(now.id, "cutover.");
        REQUIRE(open);
        CHECK_FALSE(open->has_value());
        auto fence = store->fence(now.id, now.route.authority);
        REQUIRE(fence);
        CHECK_FALSE(fence->has_value());
    }

    MemoryDir dir;
    Settings settings;
    std::unique_ptr<WorkflowStore> store;
    std::unique_ptr<StateSource> state;
    World world;
};

}  // namespace exodus::test
