// A whole migration in one process: a real state file, a real mover, an interlay that answers the
// control operations from memory, and the fake family. Tests call run_*() on it as the command line
// would.
#pragma once

#include <array>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "fakes.h"
#include "store/services.h"
#include "store/workflow_store.h"
#include "workflow/mover.h"
#include "workflow/phase_context.h"

namespace exodus::test {

class DispatchPort : public ControlPort {
  public:
    explicit DispatchPort(
        const std::function<Result<nlohmann::json>(const nlohmann::json&)>& answer)
        : answer_(answer) {}
    Result<nlohmann::json> call(const nlohmann::json& request, milliseconds) override {
        return answer_(nlohmann::json::parse(request.dump()));
    }

  private:
    std::function<Result<nlohmann::json>(const nlohmann::json&)> answer_;
};

/// The interlay's process: mover, registration, traffic that grows with each look.
class FakeInterlay {
  public:
    FakeInterlay(Family& family, const Settings& settings, Dialer& dialer,
                 const std::string& directory) {
        state_ = *open_state_source(settings.state_path, settings.migration);
        mover_state_ = *open_state_source(settings.state_path, settings.migration);
        registry_ = *open_worker_registry(settings.state_path, settings.migration);
        journal_ = *open_journal(settings.state_path, settings.migration);
        mover_ = std::make_unique<Mover>(
            family, FamilyContext{settings, dialer, *journal_, directory}, *mover_state_,
            MoverOptions{milliseconds(5), milliseconds(2), milliseconds(60'000),
                         milliseconds(100)});
        static_cast<void>(mover_->start());
        handlers_ = mover_->handlers();
        worker_.id = "worker-1";
        worker_.pid = ::getpid();
        std::array<char, 256> host{};
        static_cast<void>(::gethostname(host.data(), host.size() - 1));
        worker_.host = host.data();
        worker_.control = "control";
        worker_.listen = "127.0.0.1:6400";
        static_cast<void>(look());
    }
    ~FakeInterlay() { static_cast<void>(registry_->remove(worker_.id)); }

    Result<nlohmann::json> answer(const nlohmann::json& request) {
        using nlohmann::json;
        const std::string op = request.at("op");
        if (down) return fail(ErrorCode::unreachable, "the interlay does not answer");
        if (const auto found = handlers_.find(op); found != handlers_.end())
            return found->second(request);
        const std::scoped_lock lock(mutex_);
        if (op == control_op::kLookNow || op == control_op::kQuiescence) {
            EXODUS_TRY(look());
            return json{{"pid", worker_.pid},
                        {"epoch", worker_.epoch},
                        {"writes_in_flight", 0},
                        {"held", 0},
                        {"blocker", ""}};
        }
        if (op == control_op::kTraffic) return grow().to_json();
        if (op == control_op::kHello) return json{{"pid", worker_.pid}};
        if (op == control_op::kBackends) return json{{"addresses", json::array({"127.0.0.1:9"})}};
        if (op == control_op::kKnob) return json::object();
        if (op == control_op::kReady) {
            if (!not_ready.empty()) return fail(ErrorCode::permission, not_ready);
            return json{{"ready", true}};
        }
        if (op == control_op::kProbe) return json{{"refused", true}};
        return fail(ErrorCode::usage, "unknown operation " + op);
    }

    std::atomic<bool> down{false};
    std::string not_ready;
    std::atomic<uint64_t> errors_per_look{0};
    std::atomic<uint64_t> reads_per_look{700};
    std::atomic<bool> target_answers{true};  ///< a canary's share
    // Once, at the next look that finds mirrored reads: what became of answers that differ.
    std::atomic<uint64_t> candidates{0};
    std::atomic<uint64_t> equal_by_rule{0};
    std::atomic<uint64_t> comparator_dropped{0};
    TrafficStats stats;  ///< under mutex

  private:
    Status look() {
        auto row = state_->read();
        if (!row) return tl::unexpected(row.error());
        row_ = *row;
        worker_.epoch = row->route.epoch;
        EXODUS_TRY(registry_->put(worker_));
        mover_->look_now();
        return {};
    }
    TrafficStats grow() {
        static_cast<void>(look());
        CommandStats& get = stats.commands["GET"];
        const uint64_t reads = reads_per_look;
        get.requests += reads;
        get.errors += row_.route.canary_percent > 0 ? errors_per_look.load() : 0;
        for (uint64_t i = 0; i < reads; ++i) get.latency_us.record(100);
        if (row_.route.canary_percent > 0)
            stats.counters[target_answers ? "canary_answered" : "canary_deferred"] += reads;
        if (row_.route.mirror_percent > 0) {
            get.mirrored += reads;
            get.equal += reads;
            get.candidates += candidates.exchange(0);
            get.equal_by_rule += equal_by_rule.exchange(0);
            const uint64_t dropped = comparator_dropped.exchange(0);
            get.comparator_dropped += dropped;
            get.not_comparable += dropped;
            stats.comparator_dropped += dropped;
        }
        CommandStats& set = stats.commands["SET"];
        set.is_write = true;
        set.requests += reads / 10;
        return stats;
    }

    std::mutex mutex_;
    std::unique_ptr<StateSource> state_;
    std::unique_ptr<StateSource> mover_state_;
    std::unique_ptr<WorkerRegistry> registry_;
    std::unique_ptr<Journal> journal_;
    std::unique_ptr<Mover> mover_;
    ControlHandlers handlers_;
    WorkerRow worker_;
    MigrationRow row_;
};

class FakeTap : public TapSource {
  public:
    [[nodiscard]] std::string describe() const override { return "a recorded tap"; }
    Result<TapReport> run(const std::function<std::unique_ptr<TapSession>()>& make, milliseconds,
                          const std::stop_token&, TrafficStats& stats) override {
        auto session = make();
        session->on_client_bytes("hundred requests", 0);
        session->collect(stats);
        return TapReport{1, 10, 160, 0, false};
    }
};

struct Stage : InterlayAccess {
    Stage() {
        static std::atomic<int> number{0};
        // In memory where there is such a place: every transition is an fsync, and durability is
        // not what is tested here.
        const std::filesystem::path memory = "/dev/shm";
        directory =
            (std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path()) /
            ("exodus-phases-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
        std::filesystem::create_directories(directory);
        settings.migration = "sessions";
        settings.family = "fake";
        settings.state_path = directory / "exodus.db";
        settings.config_hash = "config-1";
        settings.source.side = Side::source;
        settings.source.host = "a";
        settings.target.side = Side::target;
        settings.target.host = "b";
        settings.gates.analyze_duration_ms = 30;
        settings.gates.analyze_requests_min = 10;
        settings.gates.compare_samples_min = 1'000;
        settings.gates.ready_lag_for_ms = 10;
        settings.compare.budget = 0.01;
        settings.cutover.watch_ms = 0;
        settings.migrate.canary.hold_ms = 20;
        settings.migrate.canary.steps = {10, 100};
        world.verify.source_keys = world.verify.target_keys = world.verify.compared = 100;
        store = *WorkflowStore::open(settings.state_path, OpenMode::create);
        owner = Owner{1, "mira", "ops1", "terminal", 1};
        static_cast<void>(*store->create_migration(settings, owner));
        journal = *open_journal(settings.state_path, settings.migration);
        log = *open_divergence_log(settings.state_path, settings.migration);
    }
    ~Stage() override {
        interlay.reset();
        std::error_code ignored;
        std::filesystem::remove_all(directory, ignored);
    }

    Result<ControlPort*> connect() override {
        if (!interlay) return fail(ErrorCode::unreachable, "no interlay runs");
        port = open("control");
        return port.get();
    }
    Result<ControlPort*> ensure(const std::stop_token&) override {
        if (!interlay) {
            ++spawned;
            interlay = std::make_unique<FakeInterlay>(family, settings, dialer, directory);
        }
        if (!kept_port) kept_port = open("control");
        return kept_port.get();
    }
    std::unique_ptr<ControlPort> open(const std::string&) override {
        return std::make_unique<DispatchPort>(
            [this](const nlohmann::json& request) -> Result<nlohmann::json> {
                if (!interlay) return fail(ErrorCode::unreachable, "no interlay runs");
                return interlay->answer(request);
            });
    }

    PhaseContext context() {
        PhaseContext out{.settings = settings,
                         .family = family,
                         .dialer = dialer,
                         .store = *store,
                         .journal = *journal,
                         .divergences = log.get(),
                         .interlay = *this,
                         .directory = directory,
                         .owner = owner,
                         .reason = reason,
                         .skip_gate = {},
                         .tool_version = "1.0",
                         .command_line = {},
                         .lock_timeout = milliseconds(0),
                         .timeout = timeout,
                         .dry_run = false,
                         .stop = stop.get_token(),
                         .progress = nullptr,
                         .note = nullptr,
                         .confirm = nullptr,
                         .fault = nullptr};
        out.progress = [this](const Progress& progress) {
            if (on_progress) on_progress(progress);
        };
        out.note = [this](const Note& note) { notes.push_back(note.text); };
        out.confirm = [this](const ConfirmRequest& request) -> Status {
            asked.push_back(request.action);
            if (on_confirm) on_confirm();
            if (!confirms) return fail(ErrorCode::approval_missing, "not confirmed");
            return {};
        };
        return out;
    }
    MigrationRow row() { return *store->find_migration(settings.migration); }
    std::string write(const std::string& name, const std::string& text) {
        const auto path = directory / name;
        std::ofstream(path) << text;
        return path;
    }

    std::filesystem::path directory;
    World world;
    FakeFamily family{world};
    FakeDialer dialer;
    Settings settings;
    Owner owner;
    std::string reason = "because";
    milliseconds timeout{20'000};
    bool confirms = true;
    std::stop_source stop;
    std::vector<std::string> notes;
    std::vector<std::string> asked;
    std::function<void()> on_confirm;
    std::function<void(const Progress&)> on_progress;
    std::unique_ptr<WorkflowStore> store;
    std::unique_ptr<Journal> journal;
    std::unique_ptr<DivergenceLog> log;
    std::unique_ptr<FakeInterlay> interlay;
    std::unique_ptr<ControlPort> port;
    std::unique_ptr<ControlPort> kept_port;
    int spawned = 0;
};

}  // namespace exodus::test
