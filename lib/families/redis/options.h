// The [redis] table of the configuration and what cannot be combined (redis.md 1). Pure.
#pragma once

#include <vector>

#include "base/error.h"
#include "core/settings.h"

namespace exodus::redis {

/// All errors, not only the first: unknown or malformed options, impossible combinations with the
/// reason.
std::vector<Error> validate_settings(const Settings& settings);

}  // namespace exodus::redis
