// What pretest and analyze ask of both servers (redis.md 10): checks, health, fingerprint, data
// profile, plan, strays, residue. Never writes to the source; samples on the target live under
// "exodus:" and are removed.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

std::unique_ptr<Inspector> make_redis_inspector(const FamilyContext& context);

}  // namespace exodus::redis
