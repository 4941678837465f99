// The thread that looks at answers which differ: asks the family whether they mean the same,
// re-reads both sides before it believes a difference, and writes down what is left. Traffic loops
// only ever push; a full queue is their signal to drop.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "core/compare.h"
#include "core/family.h"
#include "core/state.h"

namespace exodus {

class Comparator {
  public:
    Comparator(TrafficShared& traffic, Following following, DivergenceLog& log);
    /// stop() comes first.
    ~Comparator();
    void start();
    /// Ends the thread after the pairs it works on and writes down what it found; what waits is
    /// dropped.
    void stop();
    /// Any thread, never waits for the comparator's work. False: full, the pair is unchanged.
    bool push(ExchangePair&& pair);
    /// Adds its counters ("comparator_…") and, per class, what was equal by rule. Asked before the
    /// loops are, it never tells of a pair that they have not counted yet.
    void collect(TrafficStats& stats) const;

  private:
    void run();
    bool judge(const ExchangePair& pair, std::string& reason);
    void read_again(const std::vector<ExchangePair>& pairs,
                    const std::vector<std::string>& reasons);
    void note(const ExchangePair& pair, const std::string& reason, std::string_view outcome);
    void write_notes();

    TrafficShared& traffic_;
    Following following_;
    DivergenceLog& log_;
    std::unique_ptr<Normalizer> normalizer_;
    std::unique_ptr<Rechecker> rechecker_;
    mutable std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<ExchangePair> queue_;                 ///< guarded by mutex_
    std::size_t queued_bytes_ = 0;                   ///< guarded by mutex_
    bool stopping_ = false;                          ///< guarded by mutex_
    std::map<std::string, uint64_t> equal_by_rule_;  ///< by class; guarded by mutex_
    std::vector<DivergenceSample> notes_;            ///< not yet in the log
    int64_t noted_us_ = 0;                           ///< when the first of them was taken
    bool log_fails_ = false;
    std::thread thread_;

    struct Counters {
        std::atomic<uint64_t> equal{0};
        std::atomic<uint64_t> not_comparable{0};
        std::atomic<uint64_t> candidates{0};
        std::atomic<uint64_t> confirmed{0};
        std::atomic<uint64_t> timing{0};
        std::atomic<uint64_t> unresolved{0};
        std::atomic<uint64_t> failed{0};
        std::atomic<uint64_t> noise{0};
        std::atomic<uint64_t> full{0};
    };
    Counters counters_;
};

}  // namespace exodus
