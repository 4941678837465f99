// What other clients of the origin wait for: a thread that sends PINGs on a connection of its own,
// one at a time, and keeps how long each took. All calls from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "families/redis/client.h"

namespace exodus::redis {

class OriginProbe {
  public:
    /// Its thread begins at once, with the priority of the one that makes it, and rests.
    OriginProbe() : thread_([this](const std::stop_token& stop) { run(stop); }) {}
    ~OriginProbe() { end(); }
    OriginProbe(const OriginProbe&) = delete;
    OriginProbe& operator=(const OriginProbe&) = delete;

    void begin(std::unique_ptr<Client> client);
    void end();
    /// Between begin() and end(), also when it could not go on.
    [[nodiscard]] bool runs();
    /// From one answer to the next request.
    void set_interval(milliseconds interval) { interval_ms_ = interval.count(); }
    /// Microseconds of each PING since the last call. The error that keeps it from going on, once
    /// there is one.
    Result<std::vector<int64_t>> take();
    /// Ends a wait for the server.
    void shutdown();

  private:
    void run(const std::stop_token& stop);

    std::atomic<int64_t> interval_ms_{5};
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::shared_ptr<Client> client_;  ///< guarded
    std::vector<int64_t> taken_us_;   ///< guarded
    std::optional<Error> failed_;     ///< guarded
    std::jthread thread_;             ///< last: it uses all of the above
};

}  // namespace exodus::redis
