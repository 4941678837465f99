// What analyze found, in lines for people: connections and features, latency per command, hot and
// big keys, types, sizes, TTLs, sizing. The same numbers are in the JSON objects that it reads.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/traffic_stats.h"

namespace exodus::redis {

std::vector<std::string> analyze_report(const TrafficStats& stats, const nlohmann::json& data,
                                        const nlohmann::json& plan);

}  // namespace exodus::redis
