// Threads for a server whose clients mostly wait: one more is started when none is idle, up to a
// bound. As much work again queues; more than that waits outside, in the kernel's backlog.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <httplib.h>
#include <mutex>
#include <thread>
#include <vector>

namespace exodus {

class GrowingPool final : public httplib::TaskQueue {
  public:
    explicit GrowingPool(std::size_t threads_max) : threads_max_(threads_max) {}

    void enqueue(std::function<void()> work) override;
    void shutdown() override;

  private:
    void run();

    const std::size_t threads_max_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable room_;
    std::deque<std::function<void()>> queue_;
    std::vector<std::thread> threads_;
    std::size_t idle_ = 0;
    bool ending_ = false;
};

}  // namespace exodus
