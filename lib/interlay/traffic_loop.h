// One event loop with one family's brain: carries bytes between sockets and the brain, and answers
// questions of other threads through the loop's mailbox. Knows no protocol; decides nothing about
// traffic.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "core/endpoint.h"
#include "core/family.h"
#include "interlay/comparator.h"
#include "net/connection_set.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/timers.h"

namespace exodus {

/// What the loops of one process have in common. Outlives them.
struct TrafficParts {
    TrafficShared& traffic;
    const Endpoint& source;
    const Endpoint& target;
    const TlsContext* listener_tls = nullptr;  ///< null: plain
    const TlsContext* source_tls = nullptr;
    const TlsContext* target_tls = nullptr;
    Comparator& comparator;
    std::atomic<std::size_t>& clients;  ///< of all loops, for the bound
};

class TrafficLoop final : public WorkerIo,
                          public ConnectionEvents,
                          public TimerTarget,
                          public TurnHook {
  public:
    /// `on_ended` is called on the loop's thread when it is about to end.
    TrafficLoop(int number, TrafficParts& parts, std::function<void()> on_ended);
    ~TrafficLoop() override;

    // Any thread.
    /// Starts the thread and makes the brain on it, following `route`.
    Status start(const Route& route);
    /// Hands the route to the loop; false when it cannot be reached (ended, or its mailbox is
    /// full).
    bool publish(const Route& route);
    /// Epoch of the route which the brain has adopted.
    [[nodiscard]] uint64_t adopted_epoch() const {
        return adopted_.load(std::memory_order_acquire);
    }
    /// Gives it a client. False: not taken.
    bool serve(Listener::Accepted&& client);
    /// Answered by the loop itself. Error: timeout (the loop stands still) or cancelled (it ended).
    Result<Quiescence> quiescence(Deadline deadline);
    Result<TrafficStats> traffic(Deadline deadline);
    /// Our ends of the connections to a side, as its server sees them.
    Result<std::vector<std::string>> backends(Side side, Deadline deadline);
    Result<bool> set_knob(std::string name, std::string value, Deadline deadline);
    /// Ends sessions at their boundaries, all that is left after `timeout_ms`, and then the loop.
    void drain(int64_t timeout_ms);
    void stop_now();
    [[nodiscard]] bool ended() const { return ended_.load(); }
    void join() { loop_.join(); }

    // WorkerIo: the brain, on the loop's thread.
    ConnId dial(Side side) override;
    void send(ConnId conn, std::string_view bytes) override;
    [[nodiscard]] std::size_t unsent_bytes(ConnId conn) const override;
    void set_reading(ConnId conn, bool on) override;
    void start_tls(ConnId conn) override;
    void close(ConnId conn, CloseMode mode) override;
    TimerId arm_timer(int64_t delay_us) override;
    void cancel_timer(TimerId timer) override;
    [[nodiscard]] int64_t now_us() const override;
    [[nodiscard]] int64_t wall_now_us() const override;
    bool compare(ExchangePair&& pair) override;

  private:
    enum Purpose : uint64_t { kBrainTimer, kDrainTimer, kDrainDeadline };

    void on_open(Connection& connection) override;
    void on_bytes(Connection& connection, std::string_view bytes) override;
    void on_drained(Connection& connection) override;
    bool on_half_closed(Connection& connection) override;
    void on_closed(Connection& connection, CloseReason reason, bool was_open) override;
    void on_timer_due(TimerId timer, uint64_t payload) override;
    void end_turn() override;

    void step_drain();
    void begin_stop();
    template <class T>
    Result<T> ask(std::function<T()> question, Deadline deadline);

    const int number_;
    TrafficParts& parts_;
    std::function<void()> on_ended_;
    Loop loop_;
    std::atomic<uint64_t> adopted_{0};
    std::atomic<bool> ended_{false};

    // Loop thread only.
    std::unique_ptr<Timers> timers_;
    std::unique_ptr<ConnectionSet> connections_;
    std::unique_ptr<ProtocolWorker> brain_;
    Route route_;
    mutable int64_t wall_us_ = 0;  ///< of this turn; 0: not read yet
    bool active_ = false;          ///< the brain was called since its last on_turn_end
    bool draining_ = false;
    bool drained_ = false;
    bool stopping_ = false;
    int64_t last_warning_us_ = 0;
    uint64_t tls_failures_ = 0;
    uint64_t dials_failed_ = 0;
};

}  // namespace exodus
