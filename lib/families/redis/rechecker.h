// Decides whether two different answers were a difference of timing or of data (redis.md 7): reads
// the keys of the request on both sides at a known stream offset, then asks the request again. For
// the comparator thread.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

/// `authority` is the side whose answers are ExchangePair::left. `normalizer` judges answers that
/// were asked again; without one only equal bytes are equal. Connects at the first use and again
/// after a failure.
std::unique_ptr<Rechecker> make_redis_rechecker(const FamilyContext& context, Following following,
                                                Side authority = Side::source,
                                                std::unique_ptr<Normalizer> normalizer = nullptr);

}  // namespace exodus::redis
