// Bounds of the pretest's checks on Redis that came behind those of base/limits.h.
#pragma once

#include <cstddef>

namespace exodus::limits {

/// Payload samples: of so many databases at most, and of each that has keys at least so many of the
/// keys that kPretestSample_keys allows for all of them together.
inline constexpr std::size_t kPretestSampleDatabases_max = 256;
inline constexpr std::size_t kPretestSampleKeys_min = 64;
/// Names that one finding lists; more is told as a number.
inline constexpr std::size_t kPretestNames_max = 8;

}  // namespace exodus::limits
