// SIGINT, SIGTERM and SIGHUP as requests: the first stops at the next safe point, the second ends
// now. Blocked in every thread and read by one, so that no handler runs in the middle of anything.
#pragma once

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace exodus::cli {

class Signals {
  public:
    /// Call before any other thread starts. `on_first` runs on the signal thread.
    explicit Signals(std::function<void(int)> on_first);
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

    [[nodiscard]] std::stop_token token() const { return stop_.get_token(); }
    /// The first signal that came, 0 none.
    [[nodiscard]] int received() const { return received_.load(); }
    /// 130, 143 or 129 for work that stopped because of the signal (kInterrupted). Else `code`: a
    /// switch that was done or aborted, a gate that is not met, say more than the signal.
    [[nodiscard]] int exit_code(int code) const;
    /// Runs on the signal thread at the second signal, before the process ends.
    void on_second(std::function<void()> action) { on_second_ = std::move(action); }
    /// Asks to stop as a first signal would, for other reasons (--timeout).
    void request_stop() { stop_.request_stop(); }

  private:
    void run();

    std::function<void(int)> on_first_;
    std::function<void()> on_second_;
    std::stop_source stop_;
    std::atomic<int> received_{0};
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

/// What a child process needs undone: an empty signal mask and default actions.
void reset_signals_of_child();

}  // namespace exodus::cli
