// The thread that keeps an interlay process on the truth: looks at the state file, publishes its
// route to the traffic loops, and registers the process as a worker that a switch must wait for.
// The file is the truth; a file that cannot be read changes nothing.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "core/state.h"

namespace exodus {

/// The traffic of the process, as the watcher needs it. Thread-safe.
class RouteFollower {
  public:
    virtual ~RouteFollower() = default;
    /// Hands the route to every loop that does not follow it yet.
    virtual void follow(const Route& route) = 0;
    /// True when every loop has adopted this epoch or a later one.
    [[nodiscard]] virtual bool follows(uint64_t epoch) const = 0;
    /// Over all loops, by their own word. Error: a loop that does not answer.
    virtual Result<Quiescence> standing() = 0;
};

class RouteWatcher {
  public:
    RouteWatcher(StateSource& source, WorkerRegistry& registry, RouteFollower& follower);
    /// stop() comes first.
    ~RouteWatcher();

    /// Registers `row` and reads the state for the first time, in this order: a switch that starts
    /// in between waits for this worker. Errors: those of store.
    Result<MigrationRow> open(WorkerRow row);
    /// Starts the thread. After open().
    void start();
    /// Ends it and takes the registration back.
    void stop();
    /// Reads the file at once. The route that every loop follows then. Errors: timeout, those of
    /// store.
    Result<Route> look_now(milliseconds timeout);
    /// The last row that could be read.
    [[nodiscard]] MigrationRow row() const;
    [[nodiscard]] int64_t read_ms() const;

  private:
    void run();
    void tick(bool asked);
    void consider(const MigrationRow& row);
    void register_standing();
    void complain(const Error& error);
    [[nodiscard]] int64_t interval_ms() const;

    StateSource& source_;
    WorkerRegistry& registry_;
    RouteFollower& follower_;

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable looked_;
    MigrationRow row_;                 ///< guarded
    int64_t read_ms_ = 0;              ///< guarded
    uint64_t asked_ = 0;               ///< guarded; look_now calls
    uint64_t answered_ = 0;            ///< guarded; of them, those before the last read
    std::optional<Error> last_error_;  ///< guarded; of the last read
    bool stopping_ = false;            ///< guarded
    std::thread thread_;

    // Watcher thread only, while it runs.
    WorkerRow registered_;
    bool is_registered_ = false;
    int64_t near_until_us_ = 0;
    int64_t registered_us_ = 0;
    int64_t complained_us_ = 0;
    bool failing_ = false;
    bool read_again_ = false;
};

}  // namespace exodus
