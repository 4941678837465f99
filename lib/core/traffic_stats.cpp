#include "core/traffic_stats.h"

#include <nlohmann/json.hpp>

namespace exodus {

using nlohmann::json;

namespace {

Histogram histogram_from_json(const json& value) {
    Histogram histogram;
    for (const auto& entry : value.at("buckets")) {
        const auto upper = Histogram::bucket_upper(entry.at(0).get<int>());
        histogram.record_many(upper, entry.at(1).get<uint64_t>());
    }
    histogram.set_totals(value.at("sum").get<uint64_t>(), value.at("max").get<uint64_t>());
    return histogram;
}

void merge_counters(std::map<std::string, uint64_t>& into,
                    const std::map<std::string, uint64_t>& from) {
    for (const auto& [name, value] : from) into[name] += value;
}

/// The plain counters of a CommandStats by their JSON names: one list for reading, writing and
/// adding.
template <class Stats, class Visit>
void visit_counters(Stats& stats, Visit visit) {
    visit("requests", stats.requests);
    visit("errors", stats.errors);
    visit("bytes_in", stats.bytes_in);
    visit("bytes_out", stats.bytes_out);
    visit("mirrored", stats.mirrored);
    visit("equal", stats.equal);
    visit("candidates", stats.candidates);
    visit("not_comparable", stats.not_comparable);
    visit("equal_by_rule", stats.equal_by_rule);
    visit("comparator_dropped", stats.comparator_dropped);
    visit("aa_pairs", stats.aa_pairs);
    visit("aa_unequal", stats.aa_unequal);
}

template <class Stats, class Visit>
void visit_totals(Stats& stats, Visit visit) {
    visit("clients_now", stats.clients_now);
    visit("clients_total", stats.clients_total);
    visit("backend_connections", stats.backend_connections);
    visit("bytes_from_clients", stats.bytes_from_clients);
    visit("bytes_to_clients", stats.bytes_to_clients);
    visit("shadow_queued", stats.shadow_queued);
    visit("shadow_queued_bytes", stats.shadow_queued_bytes);
    visit("shadow_dropped", stats.shadow_dropped);
    visit("comparator_dropped", stats.comparator_dropped);
}

}  // namespace

json to_json(const Histogram& histogram) {
    json buckets = json::array();
    for (int i = 0; i < Histogram::kBuckets; ++i) {
        if (histogram.bucket(i) != 0) buckets.push_back({i, histogram.bucket(i)});
    }
    return {{"count", histogram.count()},
            {"sum", histogram.sum()},
            {"mean", histogram.mean()},
            {"p50", histogram.percentile(0.50)},
            {"p95", histogram.percentile(0.95)},
            {"p99", histogram.percentile(0.99)},
            {"p999", histogram.percentile(0.999)},
            {"max", histogram.max()},
            {"buckets", std::move(buckets)}};
}

void TrafficStats::merge(const TrafficStats& other) {
    for (const auto& [name, stats] : other.commands) {
        CommandStats& mine = commands[name];
        json sums;
        visit_counters(stats, [&](const char* field, uint64_t value) { sums[field] = value; });
        visit_counters(mine, [&](const char* field, uint64_t& value) {
            value += sums[field].get<uint64_t>();
        });
        mine.is_write = mine.is_write || stats.is_write;
        mine.latency_us.merge(stats.latency_us);
        mine.shadow_latency_us.merge(stats.shadow_latency_us);
    }
    json sums;
    visit_totals(other, [&](const char* field, uint64_t value) { sums[field] = value; });
    visit_totals(*this,
                 [&](const char* field, uint64_t& value) { value += sums[field].get<uint64_t>(); });
    merge_counters(protocol_errors, other.protocol_errors);
    merge_counters(counters, other.counters);
    pipeline_depth.merge(other.pipeline_depth);
    hold_us.merge(other.hold_us);
    for (std::size_t side = 0; side < 2; ++side)
        for (std::size_t kind = 0; kind < 2; ++kind)
            answered_us[side][kind].merge(other.answered_us[side][kind]);
    for (const auto& [name, text] : other.observations) observations.emplace(name, text);
}

json TrafficStats::to_json() const {
    json out;
    visit_totals(*this, [&](const char* field, uint64_t value) { out[field] = value; });
    out["protocol_errors"] = protocol_errors;
    out["counters"] = counters;
    out["observations"] = observations;
    out["pipeline_depth"] = exodus::to_json(pipeline_depth);
    out["hold_us"] = exodus::to_json(hold_us);
    json& answered = out["answered_us"] = json::array();
    for (const auto& side : answered_us)
        for (const Histogram& kind : side) answered.push_back(exodus::to_json(kind));
    json& rows = out["commands"] = json::object();
    for (const auto& [name, stats] : commands) {
        json& row = rows[name] = {{"is_write", stats.is_write},
                                  {"latency_us", exodus::to_json(stats.latency_us)},
                                  {"shadow_latency_us", exodus::to_json(stats.shadow_latency_us)}};
        visit_counters(stats, [&](const char* field, uint64_t value) { row[field] = value; });
    }
    return out;
}

TrafficStats TrafficStats::from_json(const json& in) {
    TrafficStats stats;
    visit_totals(stats,
                 [&](const char* field, uint64_t& value) { value = in.value(field, uint64_t{0}); });
    stats.protocol_errors = in.value("protocol_errors", stats.protocol_errors);
    stats.counters = in.value("counters", stats.counters);
    stats.observations = in.value("observations", stats.observations);
    stats.pipeline_depth = histogram_from_json(in.at("pipeline_depth"));
    stats.hold_us = histogram_from_json(in.at("hold_us"));
    for (std::size_t i = 0; i < 4; ++i)
        stats.answered_us[i / 2][i % 2] = histogram_from_json(in.at("answered_us").at(i));
    for (const auto& [name, row] : in.at("commands").items()) {
        CommandStats& command = stats.commands[name];
        visit_counters(command, [&, &fields = row](const char* field, uint64_t& value) {
            value = fields.value(field, uint64_t{0});
        });
        command.is_write = row.value("is_write", false);
        command.latency_us = histogram_from_json(row.at("latency_us"));
        command.shadow_latency_us = histogram_from_json(row.at("shadow_latency_us"));
    }
    return stats;
}

}  // namespace exodus
