// The Redis/Valkey family: one function that makes it. redis.md is its design.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

std::unique_ptr<Family> make_redis_family();

}  // namespace exodus::redis
