// What the data of the source look like, for analyze (redis.md 10): a throttled SCAN sample. Reads
// only.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/error.h"
#include "families/redis/client.h"

namespace exodus::redis {

/// A JSON object: types, sizes, expiries, big keys (escaped names), memory. Ends at `time_ms_max`,
/// at kProfileKeys_max keys or with the last key; "complete" says whether all keys were seen.
Result<nlohmann::json> profile_keys(Client& client, int64_t time_ms_max);

}  // namespace exodus::redis
