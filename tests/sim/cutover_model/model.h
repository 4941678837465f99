// An explicit-state model of the cutover protocol: two workers that write, a switching process that
// may crash and be run again at every step, stalls (any order of steps), and a clock that may run
// ahead. Breadth-first over all interleavings; a violation comes with its shortest trace. Variants
// leave out one rule each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace exodus::model {

enum class Variant {
    correct,                 ///< hold + fence that cannot expire + durable before visible
    leases_alone,            ///< no fence: workers are trusted to stop when their lease ends
    fence_expires,           ///< the fence ends by itself after a time
    visible_before_durable,  ///< workers learn the switch before it is durable
};

struct Found {
    bool violated = false;
    std::size_t states = 0;
    std::vector<std::string> trace;  ///< of the shortest violation
    bool switched = false;           ///< some run completed: the model is not safe by doing nothing
    bool aborted = false;
};

Found check(Variant variant);

}  // namespace exodus::model
