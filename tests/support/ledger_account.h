// What one thread of the ledger counts and judges: every reply that its client got, sorted into
// what it means for the ledger. Only documented errors pass; any other is a violation.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/ledger.h"

namespace exodus::test {

inline constexpr std::size_t kViolations_max = 50;

enum class Outcome { acknowledged, unknown, refused };

class LedgerAccount {
  public:
    /// `faults`: connections may be lost, and what exodus says of a lost connection is documented.
    explicit LedgerAccount(bool faults) : faults_(faults) {}

    void violation(std::string text);
    void count(Outcome outcome, int64_t latency_us);
    void read(int64_t latency_us);
    void watch_broken();
    void lost();
    /// One reply, of any request. An error that is not documented is a violation.
    Outcome judge(const redisReply* reply, const std::string& request);
    void add_to(LedgerSummary& total, std::vector<std::string>& all) const;
    Histogram take_latency();

  private:
    const bool faults_;
    mutable std::mutex mutex_;  ///< never contended: one account per thread
    LedgerSummary summary_;
    std::vector<std::string> violations_;
};

/// What all threads of a ledger share with its owner.
struct LedgerSwitches {
    std::atomic<bool> stopping{false};
    std::atomic<bool> paused{false};
    std::atomic<int> active{0};  ///< batches in flight
    /// Counts a batch in, waiting while paused; false when stopping.
    bool enter();
    void leave() { --active; }
};

/// Logged in and in its database, or empty after 30 s or when stopping.
ContextPtr open_client(const LedgerOptions& options, int database,
                       const std::atomic<bool>& stopping);

}  // namespace exodus::test
