// Time in named units. Wall time is for timestamps that people and servers see, steady time for
// deadlines.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace exodus {

using std::chrono::milliseconds;

/// Steady microseconds since an arbitrary start; for durations and deadlines.
int64_t steady_us() noexcept;

/// Unix time in milliseconds, as Redis expiries use it.
int64_t wall_ms() noexcept;

/// Unix time in microseconds.
int64_t wall_us() noexcept;

/// "2026-03-02T10:11:12.345Z" from Unix milliseconds.
std::string iso8601(int64_t unix_ms);

/// A point in steady time until which a wait may last.
class Deadline {
  public:
    static Deadline in(milliseconds span) { return Deadline(steady_us() + span.count() * 1000); }
    [[nodiscard]] bool passed() const { return steady_us() >= at_us_; }
    /// Time left, never negative.
    [[nodiscard]] milliseconds left() const {
        const int64_t us = at_us_ - steady_us();
        return milliseconds(us > 0 ? (us + 999) / 1000 : 0);
    }

  private:
    explicit Deadline(int64_t at_us) : at_us_(at_us) {}
    int64_t at_us_;
};

}  // namespace exodus
