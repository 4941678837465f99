// Bounds of reads that the target answers for a canary, behind those of base/limits.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace exodus::limits {

/// A cutover.max_lag below this counts as this for reads: an idle lane tells where it is every
/// 50 ms.
inline constexpr int64_t kCanaryLag_ms_min = 100;
/// A target that lets a read wait longer than this hangs: the authority answers it.
inline constexpr int64_t kCanaryAnswer_us_max = 1'000'000;
/// Reads of one session that the target owes and the authority may have to answer instead; then the
/// session waits, as with its unanswered requests (redis.md 2.2).
inline constexpr std::size_t kCanaryAsked_bytes_max = 1024 * 1024;
/// A target whose connection broke may come back without its data: it answers nothing until the
/// lane must have looked.
inline constexpr int64_t kCanaryDoubt_us = (kIdleLook_ms + 1'000) * 1'000;

}  // namespace exodus::limits
