// Rollback fidelity (redis.md 4.9): what the target can hold and the source cannot take, so that a
// rollback could not carry it back, or not as it is. Collected from both servers by the check;
// judged here, without them.
#pragma once

#include <string>
#include <vector>

#include "families/redis/checks.h"

namespace exodus::redis {

/// A value as the target writes it.
struct TargetValue {
    std::string kind;  ///< "set/listpack"
    uint8_t type = 0;  ///< RDB type of its DUMP
    int version = 0;   ///< RDB version of its DUMP
};

struct WayBack {
    int source_rdb = 0;  ///< RDB version that the source loads
    bool source_field_expiries = false;
    bool target_field_expiries = false;
    std::vector<TargetValue> values;
    std::vector<std::string> commands;       ///< of the target, unknown to the source
    std::vector<std::string> modules;        ///< of the target, unknown to the source
    std::vector<std::string> module_values;  ///< kinds of the source's values that are a module's
    int target_rdb = 0;
    int64_t source_databases = 0;  ///< 0: unknown; so below
    int64_t target_databases = 0;
    int64_t source_bulk_bytes = 0;  ///< proto-max-bulk-len
    int64_t target_bulk_bytes = 0;
    int64_t source_memory_bytes = 0;  ///< maxmemory; 0: none
    int64_t target_memory_bytes = 0;
};

/// What applications could begin to use on the target is told; what they have already, and could
/// not be carried back, is a warning. Never empty.
Findings judge_way_back(const Check& check, const WayBack& way);

}  // namespace exodus::redis
