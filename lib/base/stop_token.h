// Asking long work to stop: std::stop_token under the project's name, with a wait that ends early
// when asked.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "base/clock.h"

namespace exodus {

/// Sleeps at most `span`; false when a stop was requested meanwhile.
inline bool wait_unless_stopped(const std::stop_token& stop, milliseconds span) {
    std::mutex mutex;
    std::condition_variable_any condition;
    std::unique_lock lock(mutex);
    condition.wait_for(lock, stop, span, [] { return false; });
    return !stop.stop_requested();
}

}  // namespace exodus
