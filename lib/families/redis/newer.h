// Conflict policy `newer` (redis.md 6): which of two values of one name is newer, by what
// redis.newer_by names, since Redis keeps no time of modification. Reads over the connections it is
// given; writes nothing.
#pragma once

#include <string>
#include <string_view>

#include "families/redis/canonical.h"
#include "families/redis/client.h"

namespace exodus::redis {

struct NewerVerdict {
    enum class Who : uint8_t { source, target, undecidable };
    Who who = Who::undecidable;
    std::string reason;  ///< "expiry 1700000000000 > 1600000000000"
};

/// For a name that differs between the two. Both clients have its database selected. `newer_by`:
/// "expiry" (the later one), "stream_id" (the greater last id), "field:NAME" (the greater number in
/// this field of a hash). Whatever lacks it on either side, or has it equal on both, is
/// undecidable.
Result<NewerVerdict> decide_newer(const std::string& newer_by, std::string_view name,
                                  Client& source, const KeyState& source_state, Client& target,
                                  const KeyState& target_state);

}  // namespace exodus::redis
