// The movement of one direction for Redis and Valkey: made by the family's factory, driven by
// workflow's mover.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

struct Freshness;
struct MovementTuning;

std::unique_ptr<Movement> make_redis_movement(const FamilyContext& context, Direction direction);

/// Tells `fresh` how current the destination is, from a thread of its own.
std::unique_ptr<Movement> make_redis_movement(const FamilyContext& context, Direction direction,
                                              std::shared_ptr<Freshness> fresh);

/// With knobs that only tests use.
std::unique_ptr<Movement> make_redis_movement(const FamilyContext& context, Direction direction,
                                              const MovementTuning& tuning);

}  // namespace exodus::redis
