#include "telemetry/metrics.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <tuple>
#include <vector>

#include "core/endpoint.h"
#include "core/movement.h"
#include "telemetry/limits.h"

namespace exodus {

namespace {

using nlohmann::json;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

using Labels = std::vector<ClientMetric::Label>;

/// A number or a truth of the status under a JSON pointer. With "{}" in the pointer there is one
/// series for each value of the label in `each`. What is null or absent has no series.
struct FromStatus {
    const char* name;
    MetricType type;
    const char* help;
    const char* pointer;
    double factor = 1;
    enum class Each : uint8_t { once, side, direction } each = Each::once;
};

constexpr auto kGauge = MetricType::Gauge;
constexpr auto kCounter = MetricType::Counter;
constexpr auto kSide = FromStatus::Each::side;
constexpr auto kDirection = FromStatus::Each::direction;

constexpr FromStatus kFromStatus[] = {
    {"exodus_reads_mirrored_ratio", kGauge, "Share of reads sent to the other side and compared",
     "/serves/reads_mirrored_percent", 0.01},
    {"exodus_route_epoch", kGauge, "Epoch of the route", "/epoch"},
    {"exodus_attempt", kGauge, "Attempt of the migration", "/attempt"},
    {"exodus_writes_held", kGauge, "Writes wait for a switch or a rollback", "/serves/held"},
    {"exodus_way_back_open", kGauge, "A rollback is possible now", "/way_back_open"},
    {"exodus_way_back_proven_timestamp_seconds", kGauge,
     "When the stream of this direction was last proven by a marker, 0 never", "/{}/proven_ms",
     0.001, kDirection},
    {"exodus_endpoint_up", kGauge, "The endpoint answered the last probe", "/{}/health/reachable",
     1, kSide},
    {"exodus_endpoint_probe_seconds", kGauge, "Duration of the last probe", "/{}/health/latency_us",
     1e-6, kSide},
    {"exodus_endpoint_items", kGauge, "Keys, rows or documents", "/{}/health/items", 1, kSide},
    {"exodus_endpoint_memory_used_bytes", kGauge, "Memory in use", "/{}/health/memory_used_bytes",
     1, kSide},
    {"exodus_endpoint_memory_max_bytes", kGauge, "Limit of memory, 0 without one",
     "/{}/health/memory_max_bytes", 1, kSide},
    {"exodus_endpoint_replicas", kGauge, "Replicas attached", "/{}/health/replicas", 1, kSide},
    {"exodus_endpoint_replica_lag_bytes", kGauge, "Lag of its own slowest replica",
     "/{}/health/replica_lag_bytes", 1, kSide},
    {"exodus_movement_items_copied_total", kCounter, "Keys, rows or documents copied",
     "/{}/items_done", 1, kDirection},
    {"exodus_movement_items", kGauge, "Estimate of what there is to copy",
     "/{}/items_total_estimate", 1, kDirection},
    {"exodus_movement_copied_bytes_total", kCounter, "Bytes copied", "/{}/bytes_copied", 1,
     kDirection},
    {"exodus_movement_changes_applied_total", kCounter, "Changes of the stream applied",
     "/{}/changes_applied", 1, kDirection},
    {"exodus_movement_lag_seconds", kGauge,
     "The oldest change not applied is at most this old; absent until all was applied once",
     "/{}/lag_ms", 0.001, kDirection},
    {"exodus_movement_lag_bytes", kGauge, "The stream's end minus what is applied", "/{}/lag_bytes",
     1, kDirection},
    {"exodus_movement_queue_bytes", kGauge, "Replay queue on disk", "/{}/queue_bytes", 1,
     kDirection},
    {"exodus_movement_queue_max_bytes", kGauge, "What the replay queue may take on disk",
     "/{}/queue_max_bytes", 1, kDirection},
    {"exodus_movement_eta_seconds", kGauge, "Estimate until the copy is complete; absent unknown",
     "/{}/eta_ms_estimate", 0.001, kDirection},
    {"exodus_movement_retries_total", kCounter, "Connections and batches tried again",
     "/{}/retries", 1, kDirection},
    {"exodus_movement_failed_items", kGauge, "Items that could not be moved", "/{}/failed_items", 1,
     kDirection},
    {"exodus_movement_repairs_open", kGauge, "Items that wait to be written again",
     "/{}/repairs_open", 1, kDirection},
    {"exodus_divergences_unresolved", kGauge,
     "Answers that changed faster than they could be compared", "/divergences/unresolved"},
    {"exodus_divergences_confirmed", kGauge, "Divergences of answers, of all classes",
     "/divergences/total"},
    {"exodus_copy_paused", kGauge, "The copy was paused by an operator", "/paused"},
    {"exodus_hold_timeout_seconds", kGauge, "A hold that lasts longer is aborted",
     "/hold_timeout_ms", 0.001},
    {"exodus_compare_reads", kGauge, "Mirrored reads of the last compare", "/compare/reads"},
    {"exodus_compare_confirmed", kGauge, "Confirmed divergences of the last compare",
     "/compare/confirmed"},
    {"exodus_compare_noise_ratio", kGauge, "Share of reads of one side that differ from themselves",
     "/compare/noise"},
    {"exodus_interlay_up", kGauge, "An interlay answers", "/interlay_reachable"},
    {"exodus_interlay_clients", kGauge, "Applications' connections", "/traffic/clients"},
    {"exodus_interlay_clients_total", kCounter, "Connections accepted", "/traffic/clients_total"},
    {"exodus_interlay_backend_connections", kGauge, "Connections to both endpoints",
     "/traffic/backend_connections"},
    {"exodus_interlay_received_bytes_total", kCounter, "Bytes from applications",
     "/traffic/bytes_from_clients"},
    {"exodus_interlay_sent_bytes_total", kCounter, "Bytes to applications",
     "/traffic/bytes_to_clients"},
    {"exodus_shadow_queued", kGauge, "Mirrored requests on their way", "/traffic/shadow_queued"},
    {"exodus_shadow_queued_bytes", kGauge, "Bytes kept for them", "/traffic/shadow_queued_bytes"},
    {"exodus_shadow_dropped_total", kCounter, "Mirrored requests given up",
     "/traffic/shadow_dropped"},
    {"exodus_comparator_dropped_total", kCounter, "Unequal answers that could not be looked at",
     "/traffic/comparator_dropped"},
};

ClientMetric series(Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.gauge.value = metric.counter.value = value;
    return metric;
}

std::optional<double> number_at(const json& status, const std::string& pointer) {
    const json::json_pointer place(pointer);
    if (!status.contains(place)) return std::nullopt;
    const json& value = status.at(place);
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number()) return value.get<double>();
    return std::nullopt;
}

class Renderer {
  public:
    Renderer(const TelemetrySnapshot& snapshot, const TelemetryCounts& counts, ShownCommands& shown)
        : status_(snapshot.status), traffic_(snapshot.traffic), counts_(counts), shown_(shown) {}

    std::vector<MetricFamily> all() {
        identity();
        for (const FromStatus& metric : kFromStatus) from_status(metric);
        movements();
        batches();
        findings_and_divergences();
        switches();
        requests();
        own();
        return std::move(out_);
    }

  private:
    /// References stay valid until the next call.
    MetricFamily& family(const char* name, MetricType type, const char* help) {
        out_.push_back({name, help, type, {}});
        return out_.back();
    }

    void from_status(const FromStatus& metric) {
        MetricFamily& to = family(metric.name, metric.type, metric.help);
        const auto add = [&](const std::string& pointer, Labels labels) {
            if (const auto value = number_at(status_, pointer))
                to.metric.push_back(series(std::move(labels), *value * metric.factor));
        };
        const std::string pointer = metric.pointer;
        if (metric.each == FromStatus::Each::once) return add(pointer, {});
        const bool side = metric.each == FromStatus::Each::side;
        for (const bool second : {false, true}) {
            const std::string value(
                side ? to_string(second ? Side::target : Side::source)
                     : to_string(second ? Direction::reverse : Direction::forward));
            std::string here = pointer;
            here.replace(here.find("{}"), 2, value);
            add(here, {{side ? "side" : "direction", value}});
        }
    }

    /// One series for each of `words`: 1 for the one that holds.
    void one_of(const char* name, const char* help, const char* label, const std::string& now,
                std::initializer_list<const char*> words, const Labels& more = {}) {
        MetricFamily* to =
            out_.empty() || out_.back().name != name ? &family(name, kGauge, help) : &out_.back();
        for (const char* word : words) {
            Labels labels = more;
            labels.push_back({label, word});
            to->metric.push_back(series(std::move(labels), now == word ? 1 : 0));
        }
    }

    [[nodiscard]] std::string text(const char* field) const {
        return status_.value(field, std::string());
    }

    void identity() {
        family("exodus_build_info", kGauge, "The version that runs")
            .metric.push_back(series({{"version", text("version")}}, 1));
        family("exodus_migration_info", kGauge, "The migration that runs")
            .metric.push_back(series({{"migration", text("migration")},
                                      {"family", text("family")},
                                      {"strategy", text("strategy")}},
                                     1));
        const std::string state = text("state");
        one_of("exodus_state", "1 for the state of the migration", "state", state,
               {"new", "pretested", "analyzed", "compared", "tested", "copying", "following",
                "ready", "holding", "switched", "committed", "rolled_back", "aborted"});
        family("exodus_committed", kGauge, "The migration is final")
            .metric.push_back(series({}, state == "committed" ? 1 : 0));
        one_of("exodus_authority", "1 for the side that has the authority", "side",
               text("authority"), {"source", "target"});
        const json serves = status_.value("serves", json::object());
        one_of("exodus_serves_writes", "1 for the side that serves writes", "side",
               serves.value("writes", ""), {"source", "target"});
        MetricFamily& reads = family("exodus_serves_reads_ratio", kGauge, "Share of reads served");
        for (const char* side : {"source", "target"}) {
            const auto share =
                number_at(serves, std::string("/reads_") + side + "_percent").value_or(0);
            reads.metric.push_back(series({{"side", side}}, share / 100));
        }
        MetricFamily& gates = family("exodus_gate_open", kGauge, "The gate holds or was skipped");
        for (const json& gate : status_.value("gates", json::array())) {
            const std::string verdict = gate.value("verdict", "");
            gates.metric.push_back(series({{"gate", gate.value("gate", "")}},
                                          verdict == "PASS" || verdict == "SKIPPED" ? 1 : 0));
        }
    }

    void movements() {
        for (const char* direction : {"forward", "reverse"}) {
            const json movement = status_.value(direction, json::object());
            one_of("exodus_movement_stage", "1 for the stage of the movement", "stage",
                   movement.value("stage", ""),
                   {"off", "attaching", "standby", "filling", "following", "repairing", "blocked",
                    "failed"},
                   {{"direction", direction}});
        }
        for (const auto& [name, field, help] :
             {std::tuple{"exodus_movement_blocked", "blocked", "An operator must solve something"},
              {"exodus_movement_degraded", "degraded", "Something is wrong and tried again"},
              {"exodus_movement_throttled", "throttled", "It is slower than it could be"}}) {
            MetricFamily& to = family(name, kGauge, help);
            for (const char* direction : {"forward", "reverse"}) {
                const json movement = status_.value(direction, json::object());
                to.metric.push_back(
                    series({{"direction", direction}}, movement.value(field, "").empty() ? 0 : 1));
            }
        }
    }

    /// In place of mirrored writes: what a write costs on the side that is fed.
    void batches() {
        MetricFamily& to = family("exodus_movement_batch_duration_seconds", MetricType::Summary,
                                  "Transactions on the destination, from sent to answered");
        for (const char* direction : {"forward", "reverse"}) {
            const std::string at = std::string("/") + direction;
            const auto count = number_at(status_, at + "/batches");
            if (!count) continue;
            ClientMetric metric;
            metric.label = {{"direction", direction}};
            metric.summary.sample_count = static_cast<uint64_t>(*count);
            metric.summary.sample_sum = number_at(status_, at + "/batches_us").value_or(0) * 1e-6;
            for (const auto& [share, field] :
                 {std::pair{0.5, "/batch_p50_us"}, {0.99, "/batch_p99_us"}}) {
                if (const auto us = number_at(status_, at + field))
                    metric.summary.quantile.push_back({share, *us * 1e-6});
            }
            to.metric.push_back(std::move(metric));
        }
    }

    void findings_and_divergences() {
        MetricFamily& findings =
            family("exodus_findings", kGauge, "Findings of the last pretest and analyze");
        for (const char* severity : {"fail", "warn", "info", "pass"}) {
            if (const auto count = number_at(status_, std::string("/findings/") + severity))
                findings.metric.push_back(series({{"severity", severity}}, *count));
        }
        MetricFamily& divergences =
            family("exodus_divergences", kGauge, "Divergences of answers by class of commands");
        const json found = status_.value("divergences", json::object());
        const json by_class = found.value("by_class", json::object());
        for (const auto& [name, count] : by_class.items())
            divergences.metric.push_back(series({{"class", name}}, count.get<double>()));
        MetricFamily& data =
            family("exodus_data_differences", kGauge, "Items that differ, of the last comparison");
        for (const char* kind : {"missing", "extra", "different", "unresolved"}) {
            if (const auto count = number_at(status_, std::string("/data/") + kind))
                data.metric.push_back(series({{"kind", kind}}, *count));
        }
    }

    void switches() {
        const json rows = status_.value("switches", json::array());
        std::map<std::pair<std::string, std::string>, double> counts;
        for (const json& row : rows) ++counts[{row.value("what", ""), row.value("outcome", "")}];
        MetricFamily& to =
            family("exodus_switches", kGauge,
                   "Hand-overs by how they ended: the last hundred, and the last twenty of tests");
        for (const auto& [key, count] : counts)
            to.metric.push_back(series({{"what", key.first}, {"outcome", key.second}}, count));
        MetricFamily& hold =
            family("exodus_hold_last_seconds", kGauge, "How long writes were held last");
        if (!rows.empty())
            hold.metric.push_back(
                series({}, static_cast<double>(rows.front().value("hold_us", int64_t{0})) / 1e6));
    }

    static ClientMetric histogram(Labels labels, const Histogram& from_us) {
        // Fixed bounds, whatever was measured: series must not come and go.
        static constexpr std::array<uint64_t, 16> kBounds_us = {
            100,    250,     500,     1'000,   2'500,     5'000,     10'000,    25'000,
            50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000};
        ClientMetric metric;
        metric.label = std::move(labels);
        metric.histogram.sample_count = from_us.count();
        metric.histogram.sample_sum = static_cast<double>(from_us.sum()) / 1e6;
        int index = 0;
        uint64_t below = 0;
        for (const uint64_t bound : kBounds_us) {
            for (; index < Histogram::kBuckets && Histogram::bucket_upper(index) <= bound; ++index)
                below += from_us.bucket(index);
            metric.histogram.bucket.push_back({below, static_cast<double>(bound) / 1e6});
        }
        metric.histogram.bucket.push_back(
            {from_us.count(), std::numeric_limits<double>::infinity()});
        return metric;
    }

    void requests() {
        std::map<std::string, std::pair<double, double>> rows;
        for (const auto& [name, stats] : traffic_.commands) {
            const bool own =
                shown_.contains(name) || shown_.size() < limits::kTelemetryCommands_max;
            if (own) shown_.insert(name);
            auto& row = rows[own ? name : "(other)"];
            row.first += static_cast<double>(stats.requests);
            row.second += static_cast<double>(stats.errors);
        }
        MetricFamily requests{"exodus_requests_total", "Requests answered", kCounter, {}};
        MetricFamily errors{"exodus_request_errors_total", "Answered by an error", kCounter, {}};
        for (const auto& [name, row] : rows) {
            requests.metric.push_back(series({{"command", name}}, row.first));
            errors.metric.push_back(series({{"command", name}}, row.second));
        }
        out_.push_back(std::move(requests));
        out_.push_back(std::move(errors));
        MetricFamily& answered = family("exodus_request_duration_seconds", MetricType::Histogram,
                                        "From sent to answered, mirrored requests too");
        for (const Side side : {Side::source, Side::target}) {
            for (const bool write : {false, true}) {
                answered.metric.push_back(histogram(
                    {{"side", std::string(to_string(side))}, {"kind", write ? "write" : "read"}},
                    traffic_.answered_us[side == Side::target ? 1 : 0][write ? 1 : 0]));
            }
        }
        family("exodus_held_request_duration_seconds", MetricType::Histogram,
               "How long held requests waited")
            .metric.push_back(histogram({}, traffic_.hold_us));
        MetricFamily& mirrored =
            family("exodus_mirrored_total", kCounter, "Mirrored requests by what came of them");
        uint64_t equal = 0;
        uint64_t candidates = 0;
        uint64_t not_comparable = 0;
        for (const auto& [name, stats] : traffic_.commands) {
            equal += stats.equal;
            candidates += stats.candidates;
            not_comparable += stats.not_comparable;
        }
        for (const auto& [result, count] : {std::pair{"equal", equal},
                                            {"candidate", candidates},
                                            {"not_comparable", not_comparable}})
            mirrored.metric.push_back(series({{"result", result}}, static_cast<double>(count)));
        MetricFamily& protocol =
            family("exodus_protocol_errors_total", kCounter, "Broken requests or replies");
        for (const auto& [reason, count] : traffic_.protocol_errors)
            protocol.metric.push_back(series({{"reason", reason}}, static_cast<double>(count)));
    }

    void own() {
        const auto one = [&](const char* name, MetricType type, const char* help, double value) {
            family(name, type, help).metric.push_back(series({}, value));
        };
        one("exodus_snapshot_timestamp_seconds", kGauge, "When these numbers were taken",
            static_cast<double>(counts_.snapshot_ms) / 1000);
        one("exodus_telemetry_clients", kGauge, "Clients that follow the events",
            static_cast<double>(counts_.followers));
        one("exodus_telemetry_clients_dropped_total", kCounter, "Of them dropped, being too slow",
            static_cast<double>(counts_.followers_dropped));
        MetricFamily& events = family("exodus_events_total", kCounter,
                                      "Events since the start of this process, by severity");
        for (const auto& [severity, count] : counts_.events)
            events.metric.push_back(series({{"severity", severity}}, static_cast<double>(count)));
    }

    const json& status_;
    const TrafficStats& traffic_;
    const TelemetryCounts& counts_;
    ShownCommands& shown_;
    std::vector<MetricFamily> out_;
};

}  // namespace

std::string render_metrics(const TelemetrySnapshot& snapshot, const TelemetryCounts& counts,
                           ShownCommands& shown) {
    auto families = Renderer(snapshot, counts, shown).all();
    std::erase_if(families, [](const MetricFamily& family) { return family.metric.empty(); });
    return prometheus::TextSerializer().Serialize(families);
}

}  // namespace exodus
