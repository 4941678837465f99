#include "workflow/traffic_delta.h"

#include <algorithm>

namespace exodus {

namespace {

/// A restarted interlay counts from zero: then everything it has counted happened since.
uint64_t minus(uint64_t end, uint64_t start) { return end >= start ? end - start : end; }

std::map<std::string, uint64_t> minus(const std::map<std::string, uint64_t>& end,
                                      const std::map<std::string, uint64_t>& start) {
    std::map<std::string, uint64_t> out;
    for (const auto& [name, value] : end) {
        const auto before = start.find(name);
        out[name] = minus(value, before == start.end() ? 0 : before->second);
    }
    return out;
}

CommandStats minus(const CommandStats& end, const CommandStats& start) {
    CommandStats out = end;
    out.requests = minus(end.requests, start.requests);
    out.errors = minus(end.errors, start.errors);
    out.bytes_in = minus(end.bytes_in, start.bytes_in);
    out.bytes_out = minus(end.bytes_out, start.bytes_out);
    out.latency_us = end.latency_us.since(start.latency_us);
    out.shadow_latency_us = end.shadow_latency_us.since(start.shadow_latency_us);
    out.mirrored = minus(end.mirrored, start.mirrored);
    out.equal = minus(end.equal, start.equal);
    out.candidates = minus(end.candidates, start.candidates);
    out.not_comparable = minus(end.not_comparable, start.not_comparable);
    out.equal_by_rule = minus(end.equal_by_rule, start.equal_by_rule);
    out.comparator_dropped = minus(end.comparator_dropped, start.comparator_dropped);
    out.aa_pairs = minus(end.aa_pairs, start.aa_pairs);
    out.aa_unequal = minus(end.aa_unequal, start.aa_unequal);
    return out;
}

}  // namespace

TrafficStats traffic_between(const TrafficStats& start, const TrafficStats& end) {
    TrafficStats out = end;
    for (auto& [name, row] : out.commands) {
        const auto before = start.commands.find(name);
        if (before != start.commands.end()) row = minus(row, before->second);
    }
    // A class without a request in between is not part of what was seen.
    std::erase_if(out.commands, [](const auto& entry) {
        return entry.second.requests == 0 && entry.second.mirrored == 0 &&
               entry.second.aa_pairs == 0;
    });
    out.clients_total = minus(end.clients_total, start.clients_total);
    out.bytes_from_clients = minus(end.bytes_from_clients, start.bytes_from_clients);
    out.bytes_to_clients = minus(end.bytes_to_clients, start.bytes_to_clients);
    out.shadow_dropped = minus(end.shadow_dropped, start.shadow_dropped);
    out.comparator_dropped = minus(end.comparator_dropped, start.comparator_dropped);
    out.protocol_errors = minus(end.protocol_errors, start.protocol_errors);
    out.counters = minus(end.counters, start.counters);
    out.pipeline_depth = end.pipeline_depth.since(start.pipeline_depth);
    out.hold_us = end.hold_us.since(start.hold_us);
    return out;
}

void TrafficSince::look(TrafficStats now) {
    if (now.bytes_from_clients < last_.bytes_from_clients ||
        now.clients_total < last_.clients_total) {
        TrafficStats gone = traffic_between(start_, last_);
        gone.clients_now = gone.backend_connections = 0;
        gone.shadow_queued = gone.shadow_queued_bytes = 0;
        gone.observations.clear();  // each is of one interlay's whole life
        earlier_.merge(gone);
        start_ = {};
        ++restarts_;
    }
    last_ = std::move(now);
}

TrafficStats TrafficSince::seen() const {
    TrafficStats out = traffic_between(start_, last_);
    if (restarts_ > 0) out.merge(earlier_);
    return out;
}

TrafficTotals totals(const TrafficStats& stats) {
    TrafficTotals out;
    for (const auto& [name, row] : stats.commands) {
        out.requests += row.requests;
        if (row.is_write) out.writes += row.requests;
        out.errors += row.errors;
        out.mirrored += row.mirrored;
        out.equal += row.equal;
        out.candidates += row.candidates;
        out.not_comparable += row.not_comparable;
        out.aa_pairs += row.aa_pairs;
        out.aa_unequal += row.aa_unequal;
        out.latency_us.merge(row.latency_us);
        out.shadow_latency_us.merge(row.shadow_latency_us);
    }
    return out;
}

}  // namespace exodus
