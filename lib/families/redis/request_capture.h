// Writes the requests that clients send to a file, for `test --replay` and `analyze
// --from-capture`: loops only push, a thread of its own formats and writes, a full queue or file
// drops and counts. A line is "@MS r|w [DB CLIENT] "WORD" "WORD"…". What logs in, administers or
// keeps a connection is left out whole, so no credential is ever kept.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "wire/resp/command_table.h"
#include "wire/resp/request_scanner.h"

namespace exodus::redis {

class RequestCapture {
  public:
    struct Counts {
        uint64_t written = 0;
        uint64_t dropped = 0;  ///< the queue or the file was full, or the request too large
        uint64_t bytes = 0;
    };

    ~RequestCapture();
    /// Makes `path` (mode 0600; it must not exist). Ends a capture that runs. Errors:
    /// cannot_create.
    Status begin(const std::string& path);
    /// Writes what waits and closes the file. Errors: not_allowed (none runs), io (disk full).
    Result<Counts> end();

    [[nodiscard]] bool on() const { return on_.load(std::memory_order_relaxed); }
    /// A loop's thread; `client` is any number that tells connections apart.
    void add(const resp::CommandRow& row, const resp::RequestFrame& frame, int database,
             int64_t client, int64_t wall_us);

  private:
    struct Request {
        int64_t wall_us = 0;
        int64_t client = 0;
        int database = 0;
        bool reads = false;
        std::string frame;
    };
    void run();
    bool write(std::string_view bytes);

    std::atomic<bool> on_{false};
    std::mutex calls_;  ///< begin and end, one at a time
    std::thread thread_;
    // The thread's own while it runs:
    int fd_ = -1;
    int64_t began_us_ = 0;
    int errno_ = 0;
    uint64_t written_ = 0;
    uint64_t bytes_ = 0;

    std::mutex mutex_;  ///< guards what follows
    std::condition_variable ready_;
    std::deque<Request> queue_;
    std::size_t queued_bytes_ = 0;
    uint64_t dropped_ = 0;
    bool ending_ = false;
};

}  // namespace exodus::redis
