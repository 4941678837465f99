// The lock of a phase command: flock on `<state>.lock`, which the kernel drops when the process
// dies, and inside the file who holds it. Reading commands take none.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "store/records.h"

namespace exodus {

struct LockHolder {
    Owner owner;
    std::string phase;    ///< "migrate"
    std::string command;  ///< as it was typed
    int64_t since_ms = 0;
};

class StateLock {
  public:
    /// Waits up to `timeout`, at least kLockPoll_ms. `waiting` gets who holds it at each look, and
    /// ends the wait with an error of its own. Errors: locked (with who holds it), cannot_create.
    static Result<StateLock> take(
        const std::string& state_path, const Owner& owner, const std::string& phase,
        const std::string& command, milliseconds timeout,
        const std::function<Status(const std::string& holder)>& waiting = nullptr);
    StateLock(StateLock&& other) noexcept;
    StateLock& operator=(StateLock&& other) noexcept;
    StateLock(const StateLock&) = delete;
    StateLock& operator=(const StateLock&) = delete;
    ~StateLock();

  private:
    explicit StateLock(int fd) : fd_(fd) {}
    int fd_ = -1;
};

/// Who holds the lock now; none when it is free.
Result<std::optional<LockHolder>> lock_holder(const std::string& state_path);
std::string lock_path(const std::string& state_path);

}  // namespace exodus
