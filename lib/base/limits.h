// Every bound of the program, each with its reason. Nothing else defines a limit or a default time-out; config may
// override those that say so. Sections are per layer; units are last in the name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace exodus::limits {

// --- core and interlay -------------------------------------------------------------------------------------------
/// One read of a socket: large enough to batch a deep pipeline, small enough to stay in the L2 cache.
inline constexpr std::size_t kReadChunk_bytes = 64 * 1024;
/// A client that does not read: where the brain stops reading the other side, and where it goes on.
inline constexpr std::size_t kHighWater_bytes = 1024 * 1024;
inline constexpr std::size_t kLowWater_bytes = 256 * 1024;
/// Shadow queue per worker (redis.md 2.2): a slow target costs this much memory at the most, then drops are counted.
inline constexpr std::size_t kShadowRequests_max = 10'000;
inline constexpr std::size_t kShadowQueue_bytes = 16 * 1024 * 1024;
inline constexpr int64_t kShadowAge_us_max = 1'000'000;
/// Pairs waiting for the comparator thread; beyond, they are dropped and counted, never waited for.
inline constexpr std::size_t kComparatorQueue_max = 4'096;
/// How long connecting to a backend may take before the client gets an error.
inline constexpr int64_t kBackendConnect_ms = 5'000;
/// One control message; they are small JSON objects, a profile is the largest.
inline constexpr std::size_t kControlMessage_bytes = 4 * 1024 * 1024;
/// A control request that is not answered by then counts as an unreachable worker.
inline constexpr int64_t kControlTimeout_ms = 5'000;

// --- wire/resp ---------------------------------------------------------------------------------------------------
inline constexpr std::size_t kRespBulk_bytes_max = 512ULL * 1024 * 1024;   ///< proto-max-bulk-len's default
inline constexpr std::size_t kRespInline_bytes_max = 64 * 1024;            ///< PROTO_INLINE_MAX_SIZE of the servers
inline constexpr int64_t kRespArguments_max = 1024 * 1024;                 ///< multibulk limit of the servers
inline constexpr int kRespDepth_max = 64;                                  ///< nested replies; servers use 5 at most
inline constexpr int64_t kRespUnauthArguments_max = 10;                    ///< before AUTH, as the servers do
inline constexpr std::size_t kRespUnauthBulk_bytes_max = 16 * 1024;

}  // namespace exodus::limits
