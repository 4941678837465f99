// What observed traffic and data mean for a pair of endpoints: compatibility findings, and the plan
// that migrate follows.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "families/redis/checks.h"
#include "families/redis/server_load.h"

namespace exodus::redis {

std::vector<Finding> judge_redis_traffic(Endpoints& ends, const TrafficStats& stats);
/// `during`: what the source itself counted meanwhile; no span when nobody asked it.
Result<nlohmann::json> make_redis_plan(Endpoints& ends, const TrafficStats& stats,
                                       const ServerLoad& during,
                                       const nlohmann::json& data_profile);

/// The traffic profile among the observations; an empty object when there is none.
nlohmann::json traffic_profile_of(const TrafficStats& stats);

}  // namespace exodus::redis
