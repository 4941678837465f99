#include "cli/telemetry.h"

#include <algorithm>
#include <array>
#include <deque>
#include <fmt/format.h>
#include <mutex>
#include <spdlog/spdlog.h>
#include <thread>

#include "base/limits.h"
#include "base/stop_token.h"
#include "base/values.h"
#include "cli/event_json.h"
#include "core/json_text.h"
#include "telemetry/limits.h"
#include "workflow/limits.h"
#include "workflow/phases/status.h"
#include "workflow/status_events.h"

namespace exodus::cli {

namespace {

using nlohmann::json;

/// This process' own operations, without a socket.
class OwnPort final : public ControlPort {
  public:
    explicit OwnPort(ControlHandlers handlers) : handlers_(std::move(handlers)) {}
    Result<json> call(const json& request, milliseconds) override {
        const auto handler = handlers_.find(request.value("op", ""));
        if (handler == handlers_.end()) return fail(ErrorCode::usage, "unknown operation");
        try {
            return handler->second(request);
        } catch (const std::exception& error) {
            return fail(ErrorCode::internal, error.what());
        }
    }

  private:
    ControlHandlers handlers_;
};

class OwnInterlay final : public InterlayAccess {
  public:
    explicit OwnInterlay(ControlPort& port) : port_(port) {}
    Result<ControlPort*> connect() override { return &port_; }
    Result<ControlPort*> ensure(const std::stop_token&) override { return &port_; }
    std::unique_ptr<ControlPort> open(const std::string&) override { return nullptr; }

  private:
    ControlPort& port_;
};

/// Asks one endpoint again and again: one that hangs makes no snapshot late.
class Probe {
  public:
    Probe(Family& family, const FamilyContext& context, Side side)
        : inspector_(family.make_inspector(context)),
          side_(side),
          thread_([this](const std::stop_token& stop) { run(stop); }) {}

    [[nodiscard]] EndpointHealth health() const {
        const std::lock_guard lock(mutex_);
        EndpointHealth health = health_;
        const int64_t silent_us = steady_us() - answered_us_;
        if (silent_us > 2 * limits::kTelemetryProbe_ms * 1000 && health.error.empty()) {
            health.reachable = false;
            health.silent = true;
            health.error = "no answer for " + std::to_string(silent_us / 1'000'000) + " s";
        }
        return health;
    }

    /// Whether health() says anything.
    [[nodiscard]] bool known() const {
        const std::lock_guard lock(mutex_);
        return asked_ || steady_us() - answered_us_ > 2 * limits::kTelemetryProbe_ms * 1000;
    }

  private:
    void run(const std::stop_token& stop) {
        do {
            EndpointHealth health;
            try {
                health = inspector_->health(side_);
            } catch (const std::exception& error) {
                health.error = error.what();
            }
            const std::lock_guard lock(mutex_);
            if (health.version.empty()) health.version = health_.version;
            health_ = std::move(health);
            answered_us_ = steady_us();
            asked_ = true;
        } while (wait_unless_stopped(stop, milliseconds(limits::kTelemetryProbe_ms)));
    }

    std::unique_ptr<Inspector> inspector_;
    const Side side_;
    mutable std::mutex mutex_;
    EndpointHealth health_;
    bool asked_ = false;  ///< there was an answer, or none in time
    int64_t answered_us_ = steady_us();
    std::jthread thread_;
};

json latency(const Histogram& all) {
    json out{{"count", all.count()}};
    for (const auto& [name, share] :
         {std::pair{"p50_us", 0.50}, {"p95_us", 0.95}, {"p99_us", 0.99}})
        out[name] = all.count() == 0 ? json() : json(all.percentile(share));
    out["max_us"] = all.count() == 0 ? json() : json(all.max());
    return out;
}

/// What each side answered lately, and in how long.
struct Window {
    int64_t span_ms = 0;  ///< 0: of the first snapshot, there is nothing before it
    std::array<Histogram, 2> answered;
};

/// Percentiles since the start of the process would hide what has just become slow.
class Recent {
  public:
    Window of(const TrafficStats& now) {
        std::array<Histogram, 2> all;
        for (std::size_t side = 0; side < 2; ++side) {
            for (const Histogram& kind : now.answered_us[side]) all[side].merge(kind);
        }
        past_.push_back({steady_us(), all});
        while (past_.size() > 1 &&
               past_.back().at_us - past_[1].at_us >= limits::kTelemetryWindow_ms * 1000)
            past_.pop_front();
        const Moment& first = past_.front();
        return {(past_.back().at_us - first.at_us) / 1000,
                {all[0].since(first.answered[0]), all[1].since(first.answered[1])}};
    }

  private:
    struct Moment {
        int64_t at_us = 0;
        std::array<Histogram, 2> answered;
    };
    std::deque<Moment> past_;
};

json commands_of(const TrafficStats& traffic) {
    std::vector<std::pair<std::string, const CommandStats*>> rows;
    for (const auto& [name, stats] : traffic.commands) rows.emplace_back(name, &stats);
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
        return a.second->requests > b.second->requests;
    });
    if (rows.size() > limits::kTelemetryCommandsShown) rows.resize(limits::kTelemetryCommandsShown);
    json out = json::array();
    for (const auto& [name, stats] : rows) {
        out.push_back({{"name", name},
                       {"write", stats->is_write},
                       {"requests", stats->requests},
                       {"errors", stats->errors},
                       {"p50_us", stats->latency_us.percentile(0.50)},
                       {"p99_us", stats->latency_us.percentile(0.99)}});
    }
    return out;
}

json traffic_json(const TrafficStats& traffic, const Window& recent, uint64_t held) {
    uint64_t requests = 0;
    uint64_t writes = 0;
    uint64_t errors = 0;
    json mirrored{{"mirrored", 0}, {"equal", 0}, {"candidates", 0}, {"not_comparable", 0}};
    const auto add = [&](const char* name, uint64_t more) {
        mirrored[name] = mirrored[name].get<uint64_t>() + more;
    };
    for (const auto& [name, stats] : traffic.commands) {
        requests += stats.requests;
        errors += stats.errors;
        if (stats.is_write) writes += stats.requests;
        add("mirrored", stats.mirrored);
        add("equal", stats.equal);
        add("candidates", stats.candidates);
        add("not_comparable", stats.not_comparable);
    }
    json out{{"clients", traffic.clients_now},
             {"clients_total", traffic.clients_total},
             {"backend_connections", traffic.backend_connections},
             {"bytes_from_clients", traffic.bytes_from_clients},
             {"bytes_to_clients", traffic.bytes_to_clients},
             {"requests", requests},
             {"writes", writes},
             {"errors", errors},
             {"window_ms", recent.span_ms},
             {"source", latency(recent.answered[0])},
             {"target", latency(recent.answered[1])},
             {"held", held},
             {"hold", latency(traffic.hold_us)},
             {"shadow_queued", traffic.shadow_queued},
             {"shadow_queued_bytes", traffic.shadow_queued_bytes},
             {"shadow_dropped", traffic.shadow_dropped},
             {"comparator_dropped", traffic.comparator_dropped},
             {"protocol_errors", traffic.protocol_errors},
             {"commands", commands_of(traffic)}};
    out.update(mirrored);
    return out;
}

/// The beginning of a sample's text, as the terminal shows it.
std::string beginning_of(const std::string& text) {
    if (text.size() <= limits::kTelemetrySampleText_bytes) return printable(text);
    std::size_t end = limits::kTelemetrySampleText_bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80) --end;  // no half
    return printable(text.substr(0, end)) + "…";
}

class Telemetry final : public TelemetrySource {
  public:
    Telemetry(Cli& cli, Workspace& space, ControlHandlers handlers, TelemetryParts parts)
        : cli_(cli),
          space_(space),
          parts_(parts),
          seen_(space.settings.cutover.max_lag_ms),
          port_(std::move(handlers)),
          interlay_(port_),
          printer_(cli.out),
          context_(space.phase_context(cli, printer_, {}, &interlay_)) {
        if (!parts.probes) return;
        for (const Side side : {Side::source, Side::target})
            probes_.push_back(
                std::make_unique<Probe>(*space.family, context_.family_context(), side));
    }

    Result<TelemetrySnapshot> snapshot() override {
        StatusOptions options;
        options.probe_endpoints = false;
        if (!probes_.empty()) {
            if (!probes_[0]->known() || !probes_[1]->known())
                return fail(ErrorCode::timeout, "the endpoints have not answered yet");
            options.probed = {probes_[0]->health(), probes_[1]->health()};
        }
        EXODUS_TRY(go_on_telling());
        read_configuration(options.config_error);
        PhaseContext context = context_.with(judged_);
        auto report = read_status(context, options);
        if (!report) return tl::unexpected<Error>(std::move(report).error());
        // Those that this process is connected to.
        report->source_address = space_.settings.source.address();
        report->target_address = space_.settings.target.address();
        TelemetrySnapshot out;
        out.status = to_json(*report);
        out.status["version"] = EXODUS_VERSION;
        constexpr milliseconds kWait(limits::kControlTimeout_ms);
        auto now = port_.call({{"op", control_op::kQuiescence}}, kWait);
        out.status["draining"] = now && now->value("draining", false);
        out.status["traffic"] = nullptr;
        if (auto answer =
                port_.call({{"op", control_op::kTraffic}, {"observations", false}}, kWait)) {
            traffic_ = TrafficStats::from_json(*answer);
            const uint64_t held = now ? now->value("held", uint64_t{0}) : 0;
            out.status["traffic"] = traffic_json(traffic_, recent_.of(traffic_), held);
        }
        out.traffic = traffic_;  // the last that was told: a counter never falls to nothing
        auto found = divergences();
        if (!found) return tl::unexpected<Error>(std::move(found).error());
        out.status["divergences"] = std::move(*found);
        // What nobody looked at is not known to be away.
        if (probes_.empty())
            out.status["source"]["health"] = out.status["target"]["health"] = nullptr;
        for (NewEvent& event : seen_.after(out.status, steady_us()))
            parts_.events.push(std::move(event));
        return out;
    }

    Result<std::vector<TelemetryEvent>> events_after(int64_t id, std::size_t limit) override {
        auto rows = space_.store->events_since(space_.row.id, id, limit);
        if (!rows) return tl::unexpected<Error>(std::move(rows).error());
        std::vector<TelemetryEvent> out;
        for (const EventRow& row : *rows)
            out.push_back({row.id, row.severity, json_text(event_json(row))});
        return out;
    }

    Result<int64_t> newest_event() override { return space_.store->newest_event(space_.row.id); }

  private:
    /// What the process before this one told must not be told again, and its ends must be.
    Status go_on_telling() {
        if (goes_on_) return {};
        auto last = space_.store->last_events(space_.row.id, StatusEvents::codes(),
                                              limits::kEventsLookBack);
        if (!last) return tl::unexpected<Error>(std::move(last).error());
        seen_.go_on(*last);
        goes_on_ = true;
        return {};
    }

    /// The configuration as a command would read it now: by it gates are judged. `error`: where it
    /// cannot be read; then the last that could be stays.
    void read_configuration(std::string& error) {
        auto loaded = load(cli_, {.read_secrets = false});
        if (!loaded) {
            // The place alone: what is written there may be a secret.
            const ConfigError& first = loaded.error().front();
            error = fmt::format("{}{}{}", first.file,
                                first.line > 0 ? fmt::format(":{}", first.line) : "",
                                first.key.empty() ? "" : ", " + first.key);
            return;
        }
        judged_ = std::move(loaded->settings);
        judged_.migration = space_.settings.migration;
        seen_.set_max_lag(judged_.cutover.max_lag_ms);
    }

    Result<json> divergences() {
        json out{{"total", 0},
                 {"unresolved", 0},
                 {"by_class", json::object()},
                 {"samples", json::array()}};
        auto counts = parts_.divergences.counts();
        if (!counts) return tl::unexpected<Error>(std::move(counts).error());
        for (const DivergenceCounts& row : *counts) {
            if (row.aa) continue;
            const char* field = row.outcome == "confirmed"    ? "total"
                                : row.outcome == "unresolved" ? "unresolved"
                                                              : nullptr;
            if (field == nullptr) continue;
            out[field] = out[field].get<uint64_t>() + row.count;
            if (row.outcome == "confirmed")
                out["by_class"][row.command] =
                    out["by_class"].value(row.command, uint64_t{0}) + row.count;
        }
        auto samples = parts_.divergences.samples(limits::kTelemetrySamples_max);
        if (!samples) return tl::unexpected<Error>(std::move(samples).error());
        // They hold the application's keys and values: not for everybody who can reach the port.
        const bool values = !space_.settings.interlay.http_token.empty();
        const auto told = [&](const std::string& text) {
            return values ? json(beginning_of(text)) : json();
        };
        for (const DivergenceSample& row : *samples) {
            out["samples"].push_back({{"id", row.id},
                                      {"at_ms", row.at_ms},
                                      {"class", row.command},
                                      {"kind", row.aa ? "noise" : row.outcome},
                                      {"detail", row.reason},
                                      {"request", told(row.request)},
                                      {"authority_answer", told(row.left)},
                                      {"other_answer", told(row.right)}});
        }
        return out;
    }

    Cli& cli_;
    Workspace& space_;
    TelemetryParts parts_;
    Settings judged_ = space_.settings;
    StatusEvents seen_;
    bool goes_on_ = false;  ///< from what was told before this process
    Recent recent_;
    TrafficStats traffic_;
    OwnPort port_;
    OwnInterlay interlay_;
    ProgressPrinter printer_;
    PhaseContext context_;
    std::vector<std::unique_ptr<Probe>> probes_;  ///< source, target; or none
};

}  // namespace

Result<std::unique_ptr<TelemetryServer>> bind_telemetry(const Settings& settings) {
    const InterlaySettings& interlay = settings.interlay;
    if (interlay.http.empty()) return std::unique_ptr<TelemetryServer>();
    const auto address = parse_host_port(interlay.http);
    if (!address)
        return fail(ErrorCode::config, interlay.http + " is not an address", "write HOST:PORT");
    return TelemetryServer::bind({.host = address->host,
                                  .port = address->port,
                                  .token = interlay.http_token,
                                  .cert_file = interlay.http_cert_file,
                                  .key_file = interlay.http_key_file});
}

std::unique_ptr<TelemetrySource> make_telemetry_source(Cli& cli, Workspace& space,
                                                       ControlHandlers handlers,
                                                       TelemetryParts parts) {
    return std::make_unique<Telemetry>(cli, space, std::move(handlers), parts);
}

std::jthread watch_status(TelemetrySource& source) {
    return std::jthread([&source](const std::stop_token& stop) {
        while (wait_unless_stopped(stop, milliseconds(limits::kTelemetrySnapshot_ms))) {
            try {
                // One that could not be taken (a locked file) is made up for by the next.
                static_cast<void>(source.snapshot());
            } catch (const std::exception& error) {
                spdlog::warn("looking at the status: {}", error.what());
            }
        }
    });
}

}  // namespace exodus::cli
