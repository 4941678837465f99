// One thread with one libuv loop, a mailbox through which other threads reach it, and a hook at the
// end of each turn, when everything that was readable has been delivered. Knows nothing of sockets.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"

struct uv_loop_s;

namespace exodus {

/// What runs at the end of each turn of a loop, on its thread.
class TurnHook {
  public:
    virtual ~TurnHook() = default;
    virtual void end_turn() = 0;
};

class Loop {
  public:
    /// `name` is the thread's name (15 bytes are kept).
    explicit Loop(std::string name);
    /// stop() and join() come first when it was started.
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Starts the thread; `first` runs on it before the first turn, `last` when the loop ended. The
    /// thread takes no signals. Once only.
    Status start(TurnHook& hook, std::function<void()> first, std::function<void()> last);
    /// Runs a task on the loop's thread, in order. Thread-safe. False: the loop has ended or its
    /// mailbox is full; the task was not and will not be run.
    bool post(std::function<void()> task);
    /// On the loop's thread: the loop ends when its last handle is closed. Handles and requests of
    /// the owner must be on their way to be closed.
    void stop();
    void join();
    /// For the owner's handles, on the loop's thread.
    [[nodiscard]] uv_loop_s* raw() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace exodus
