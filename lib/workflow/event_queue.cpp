#include "workflow/event_queue.h"

#include <algorithm>
#include <iterator>
#include <spdlog/spdlog.h>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/stop_token.h"
#include "workflow/limits.h"

namespace exodus {

Result<std::unique_ptr<EventQueue>> EventQueue::open(const std::string& state_path,
                                                     int64_t migration) {
    auto store = WorkflowStore::open(state_path, OpenMode::existing);
    if (!store) return tl::unexpected(std::move(store).error());
    (*store)->set_busy(milliseconds(limits::kEventsBusy_ms));
    return std::unique_ptr<EventQueue>(new EventQueue(std::move(*store), migration));
}

EventQueue::EventQueue(std::unique_ptr<WorkflowStore> store, int64_t migration)
    : store_(std::move(store)),
      migration_(migration),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

EventQueue::~EventQueue() {
    thread_.request_stop();
    thread_.join();
    write();
}

void EventQueue::push(NewEvent event) {
    if (event.at_ms == 0) event.at_ms = wall_ms();
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() >= limits::kEventsWaiting_max) {
            waiting_.pop_front();
            ++dropped_;
        }
        waiting_.push_back(std::move(event));
    }
    pushed_.notify_one();
}

void EventQueue::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        {
            std::unique_lock lock(mutex_);
            if (!pushed_.wait(lock, stop, [this] { return !waiting_.empty(); })) return;
        }
        if (!write()) wait_unless_stopped(stop, milliseconds(limits::kEventsAgain_ms));
    }
}

bool EventQueue::write() {
    std::vector<NewEvent> events;
    uint64_t dropped = 0;
    {
        const std::lock_guard lock(mutex_);
        events.assign(std::make_move_iterator(waiting_.begin()),
                      std::make_move_iterator(waiting_.end()));
        waiting_.clear();
        dropped = std::exchange(dropped_, 0);
    }
    if (events.empty()) return true;
    const std::size_t told = events.size();
    if (dropped > 0)
        events.push_back(NewEvent{"warn", "events.dropped",
                                  std::to_string(dropped) +
                                      " older events were dropped: the state file could not be "
                                      "written",
                                  "{}", 0});
    const Status written = store_->add_events(migration_, events);
    if (written) return true;
    spdlog::debug("{} events wait: {}", told, written.error().message);
    events.resize(told);
    const std::lock_guard lock(mutex_);
    waiting_.insert(waiting_.begin(), std::make_move_iterator(events.begin()),
                    std::make_move_iterator(events.end()));
    dropped_ += dropped;
    while (waiting_.size() > limits::kEventsWaiting_max) {
        waiting_.pop_front();
        ++dropped_;
    }
    return false;
}

}  // namespace exodus
