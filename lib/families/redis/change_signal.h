// Wakes threads that wait for something to do. Thread-safe.
//
// A thread takes seen() before it looks for work: what is told while it looks ends its wait at
// once.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>

#include "base/clock.h"

namespace exodus::redis {

class ChangeSignal {
  public:
    /// Waits end no sooner than this by themselves, so that a test sees what nobody told. Before
    /// the first wait().
    void set_patience(milliseconds span) { patience_ = span; }
    void tell() {
        {
            const std::lock_guard lock(mutex_);
            ++told_;
        }
        condition_.notify_all();
    }
    [[nodiscard]] uint64_t seen() const {
        const std::lock_guard lock(mutex_);
        return told_;
    }
    /// Until something was told after `seen`, `span` is over or a stop is asked. True: it was told.
    bool wait(uint64_t seen, const std::stop_token& stop, milliseconds span) {
        std::unique_lock lock(mutex_);
        return condition_.wait_for(lock, stop, std::max(span, patience_),
                                   [&] { return told_ != seen; });
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable_any condition_;
    uint64_t told_ = 0;  ///< guarded
    milliseconds patience_{0};
};

}  // namespace exodus::redis
