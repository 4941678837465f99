// The verifier's look at FUNCTION libraries: the same set with the same code on both sides, but for
// what the conflict policy lets differ.
#pragma once

#include "core/compare.h"
#include "families/redis/pair_reader.h"

namespace exodus::redis {

/// Adds what differs to `result`, as a Divergence at "functions". The authority may change its
/// libraries meanwhile: a difference counts when it had the same ones before and after the other
/// side was read; when it never stands still, all that differs is unresolved. Errors: those of the
/// connections, permission when a side refuses FUNCTION LIST.
Status verify_functions(PairReader& pair, const FamilyContext& context, Direction direction,
                        VerifyResult& result, const PairReader::OnWait& on_wait = {});

}  // namespace exodus::redis
