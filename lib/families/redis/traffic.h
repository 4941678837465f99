// Makes the Redis traffic brain: what the workers of one process share, and one ProtocolWorker per
// event loop (redis.md 3). Thread-safe as core/family.h says.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

struct Freshness;

/// `fresh`: how current the target is; without it the target answers no reads.
std::unique_ptr<TrafficShared> make_redis_traffic(const FamilyContext& context,
                                                  std::shared_ptr<const Freshness> fresh = nullptr);

}  // namespace exodus::redis
