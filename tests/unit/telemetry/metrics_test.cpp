// The metrics of a snapshot: what is not known has no series, series are bounded, units are base
// units.
#include "telemetry/metrics.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "core/state.h"
#include "telemetry/limits.h"

using namespace exodus;
using nlohmann::json;

namespace {

std::string rendered(const json& status, const TrafficStats& traffic = {}) {
    ShownCommands shown;
    return render_metrics({status, traffic}, {.snapshot_ms = 1'500}, shown);
}

bool has(const std::string& text, const std::string& line) {
    return text.find("\n" + line + "\n") != std::string::npos;
}

std::size_t count(const std::string& text, const std::string& prefix) {
    std::size_t found = 0;
    for (auto at = text.find("\n" + prefix); at != std::string::npos;
         at = text.find("\n" + prefix, at + 1))
        ++found;
    return found;
}

}  // namespace

TEST_CASE("numbers come in base units, and what is not known has no series") {
    const std::string text =
        rendered({{"forward", {{"lag_ms", 1'500}, {"eta_ms_estimate", nullptr}}},
                  {"reverse", {{"lag_ms", nullptr}}},
                  {"source", {{"health", {{"latency_us", 250}}}}},
                  {"target", {{"health", {{"reachable", false}, {"latency_us", nullptr}}}}},
                  {"serves", {{"held", true}}}});
    CHECK(has(text, "exodus_movement_lag_seconds{direction=\"forward\"} 1.5"));
    CHECK(count(text, "exodus_movement_lag_seconds") == 1);
    CHECK(count(text, "exodus_movement_eta_seconds") == 0);
    CHECK(has(text, "exodus_endpoint_probe_seconds{side=\"source\"} 0.00025"));
    CHECK(count(text, "exodus_endpoint_probe_seconds") == 1);
    CHECK(has(text, "exodus_endpoint_up{side=\"target\"} 0"));
    CHECK(has(text, "exodus_writes_held 1"));
    CHECK(has(text, "exodus_snapshot_timestamp_seconds 1.5"));
    CHECK(text.find("exodus_hold_last_seconds") == std::string::npos);
}

TEST_CASE("batches are a summary, and without one lately it has no quantiles") {
    const std::string text = rendered({{"forward",
                                        {{"batches", 40},
                                         {"batches_us", 2'000'000},
                                         {"batch_p50_us", 1'500},
                                         {"batch_p99_us", 90'000}}},
                                       {"reverse",
                                        {{"batches", 0},
                                         {"batches_us", 0},
                                         {"batch_p50_us", nullptr},
                                         {"batch_p99_us", nullptr}}}});
    const std::string name = "exodus_movement_batch_duration_seconds";
    CHECK(has(text, name + "{direction=\"forward\",quantile=\"0.5\"} 0.0015"));
    CHECK(has(text, name + "{direction=\"forward\",quantile=\"0.99\"} 0.09"));
    CHECK(has(text, name + "_sum{direction=\"forward\"} 2"));
    CHECK(has(text, name + "_count{direction=\"forward\"} 40"));
    CHECK(has(text, name + "_count{direction=\"reverse\"} 0"));
    CHECK(count(text, name + "{direction=\"reverse\"") == 0);
}

TEST_CASE("one state, one authority") {
    const std::string text = rendered({{"state", "switched"}, {"authority", "target"}});
    CHECK(has(text, "exodus_state{state=\"switched\"} 1"));
    CHECK(has(text, "exodus_state{state=\"ready\"} 0"));
    CHECK(has(text, "exodus_authority{side=\"target\"} 1"));
    CHECK(has(text, "exodus_authority{side=\"source\"} 0"));
    CHECK(has(text, "exodus_committed 0"));
}

TEST_CASE("every state has its series, under the name of the state file") {
    const auto last = static_cast<int>(MigrationState::aborted);
    for (int i = 0; i <= last; ++i) {
        const std::string state(to_string(static_cast<MigrationState>(i)));
        CAPTURE(state);
        const std::string text = rendered({{"state", state}});
        CHECK(has(text, fmt::format("exodus_state{{state=\"{}\"}} 1", state)));
        CHECK(count(text, "exodus_state{") == static_cast<std::size_t>(last) + 1);
    }
}

TEST_CASE("histograms are cumulative, whatever was measured") {
    TrafficStats traffic;
    Histogram& reads = traffic.answered_us[1][0];
    for (const uint64_t us : {50UL, 90UL, 900UL, 70'000'000UL}) reads.record(us);
    const std::string text = rendered(json::object(), traffic);
    const auto bucket = [](const char* bound) {
        return fmt::format(
            "exodus_request_duration_seconds_bucket{{side=\"target\",kind=\"read\",le=\"{}\"}}",
            bound);
    };
    CHECK(has(text, bucket("0.0001") + " 2"));
    CHECK(has(text, bucket("0.001") + " 3"));
    CHECK(has(text, bucket("10") + " 3"));
    CHECK(has(text, bucket("+Inf") + " 4"));
    CHECK(has(text, "exodus_request_duration_seconds_count{side=\"target\",kind=\"read\"} 4"));
    CHECK(has(text, "exodus_request_duration_seconds_count{side=\"source\",kind=\"write\"} 0"));
}

TEST_CASE("commands beyond the bound are one series, and a name that was shown stays") {
    TrafficStats traffic;
    const auto name = [](std::size_t i) { return fmt::format("COMMAND{:03}", i); };
    for (std::size_t i = 10; i < 10 + limits::kTelemetryCommands_max; ++i)
        traffic.commands[name(i)].requests = 1;
    ShownCommands shown;
    const TelemetryCounts counts;
    std::string text = render_metrics({json::object(), traffic}, counts, shown);
    CHECK(count(text, "exodus_requests_total{") == limits::kTelemetryCommands_max);
    for (std::size_t i = 0; i < 10; ++i) traffic.commands[name(i)].requests = 1'000;
    text = render_metrics({json::object(), traffic}, counts, shown);
    CHECK(count(text, "exodus_requests_total{") == limits::kTelemetryCommands_max + 1);
    CHECK(has(text, "exodus_requests_total{command=\"(other)\"} 10000"));
    CHECK(has(text, fmt::format("exodus_requests_total{{command=\"{}\"}} 1", name(109))));
}
