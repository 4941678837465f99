// The operator's own fence (redis.fence.command), for servers whose ACLs cannot be used: a security
// group, a provider's API.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/error.h"

namespace exodus::redis {

/// Runs `sh -c "COMMAND ARGUMENT"` to its end: exit code 0 or an error (safety; timeout: it was
/// killed with its children).
Status run_fence_command(const std::string& command, const std::string& argument,
                         Deadline deadline);

}  // namespace exodus::redis
