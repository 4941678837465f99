// The [redis] table of the configuration and what cannot be combined (redis.md 1). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "core/settings.h"

namespace exodus::redis {

/// All errors, not only the first: unknown or malformed options, impossible combinations with the
/// reason.
std::vector<Error> validate_settings(const Settings& settings);

/// redis.stream.ack = durable: the origin hears how far its stream is safe here, as from a replica.
bool acknowledges_durable(const Settings& settings);

/// What the spool may take of a disk with `free_bytes` left: redis.spool.max, else the default.
uint64_t spool_bytes_max(const Settings& settings, uint64_t free_bytes);

}  // namespace exodus::redis
