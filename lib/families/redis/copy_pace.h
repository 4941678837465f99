// How fast the copier may read the origin so that the origin's other clients wait little longer
// than without the copy (migrate.throttle.origin_p99_ratio; decision 0023). It is told how long a
// PING took on a connection of its own (origin_probe.h), while nothing is copied and while
// something is. No clock, no connection, one thread.
//
// Two things hold others up: how long one request for a page holds the origin's thread, and which
// share of its time the copy takes. From fast to gentle, first the pages shrink, then the share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace exodus::redis {

class CopyPace {
  public:
    /// 150: others may wait half as long again as without the copy. 0: no limit, full speed.
    void set_limit(int64_t percent);
    /// What PINGs took while nothing was copied, microseconds; not empty. Of the last two calls the
    /// lower one counts: what the machine does meanwhile is not the origin's.
    void learn_idle(std::vector<int64_t> pings_us);
    /// What PINGs took since the last call, while keys were copied.
    void heard(const std::vector<int64_t>& pings_us);

    /// COUNT of a SCAN, which is about the keys of a page.
    [[nodiscard]] int page_keys() const;
    /// How long to leave the origin alone after a page that took so long; never much longer.
    [[nodiscard]] int64_t rest_us(int64_t worked_us) const;
    /// Why it goes slower than it could, for the operator; empty when it does not.
    [[nodiscard]] std::string reason(std::string_view origin) const;

  private:
    void judge();

    int64_t percent_ = 0;
    std::size_t step_ = 0;         ///< in the table of copy_pace.cpp; 0 is the fastest
    std::vector<int64_t> window_;  ///< at this step
    int64_t idle_us_ = 0;          ///< nearly all are answered within this without the copy
    int64_t learned_us_ = 0;       ///< the last learn_idle() alone
    int64_t last_us_ = 0;          ///< the same of the last window
    int good_ = 0;                 ///< windows in a row
    int patience_ = 0;             ///< so many of them before a faster step is tried
    bool trying_ = false;
};

}  // namespace exodus::redis
