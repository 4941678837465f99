#include "telemetry/growing_pool.h"

#include <exception>
#include <system_error>

namespace exodus {

void GrowingPool::enqueue(std::function<void()> work) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return ending_ || queue_.size() < threads_max_; });
    queue_.push_back(std::move(work));
    if (queue_.size() > idle_ && threads_.size() < threads_max_) {
        try {
            threads_.emplace_back([this] { run(); });
            return;
        } catch (const std::system_error&) {
            // No more threads in this system: those that there are do it.
        }
    }
    changed_.notify_one();
}

void GrowingPool::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
        --idle_;
        if (queue_.empty()) return;
        const auto work = std::move(queue_.front());
        queue_.pop_front();
        room_.notify_one();
        lock.unlock();
        try {
            work();
        } catch (const std::exception&) {
            // It was about one client, whose connection is gone.
        }
        lock.lock();
    }
}

void GrowingPool::shutdown() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

}  // namespace exodus
