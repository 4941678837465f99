// Do two different replies mean the same? The Redis rules of redis.md 7, on complete frames of
// either protocol version. Pure, no I/O; one instance per comparator thread.
#pragma once

#include <memory>
#include <string_view>

#include "base/digest.h"
#include "core/compare.h"
#include "core/settings.h"

namespace exodus::redis {

/// Knows the commands' compare rules and, before them, the user's: `exact`, `unordered`, `ignore`
/// by command name.
std::unique_ptr<Normalizer> make_redis_normalizer(const CompareSettings& settings);

/// XXH3-128 over the values of one complete reply: the RESP2 and the RESP3 form of an answer give
/// the same digest (map and flat array, double and string, boolean and 0/1, the nulls, verbatim and
/// bulk). Attributes do not count. Cheap enough for every mirrored reply on the traffic thread; a
/// malformed frame is digested as bytes.
Digest128 reply_digest(std::string_view frame);

}  // namespace exodus::redis
