// How fresh the target is: told by the forward lane, asked by the traffic workers of the same
// process before the target answers a canary's read.
#pragma once

#include <atomic>
#include <cstdint>

namespace exodus::redis {

struct Freshness {
    /// Steady µs: when the target last held all that had been written to the source. 0: it does not
    /// follow. Any thread.
    std::atomic<int64_t> current_us{0};
};

}  // namespace exodus::redis
