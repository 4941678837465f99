// Compares all keys of both sides, in both directions, while writes go on (redis.md 8): reads carry
// stream offsets, what differs is read again until it is a proven difference or gone.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

/// `direction` says who is the authority: forward compares the target with the source, reverse the
/// other way round. `following` answers for Position texts "<replid>:<offset>" of the authority's
/// stream; empty when nothing follows (both at rest): then nothing is waited for. final_check()
/// takes keys as "<db>:<raw name>".
std::unique_ptr<Verifier> make_redis_verifier(const FamilyContext& context, Direction direction,
                                              Following following);

}  // namespace exodus::redis
