// Events of the interlay's process on their way into the state file. Whoever has one to tell never
// waits: a thread of its own writes them, and while the file is locked it tries again each second.
// Bounded: of too many the oldest are dropped, and the number is told.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "store/workflow_store.h"

namespace exodus {

class EventQueue {
  public:
    /// With a connection of its own, which waits for nobody. Errors: as WorkflowStore::open().
    static Result<std::unique_ptr<EventQueue>> open(const std::string& state_path,
                                                    int64_t migration);
    /// Tries once more to write what is left.
    ~EventQueue();
    EventQueue(const EventQueue&) = delete;
    EventQueue& operator=(const EventQueue&) = delete;

    /// Thread-safe, quick. The event keeps the time of this call.
    void push(NewEvent event);

  private:
    EventQueue(std::unique_ptr<WorkflowStore> store, int64_t migration);
    void run(const std::stop_token& stop);
    /// False: nothing was written, everything is kept.
    bool write();

    std::unique_ptr<WorkflowStore> store_;
    const int64_t migration_;
    std::mutex mutex_;
    std::condition_variable_any pushed_;
    std::deque<NewEvent> waiting_;
    uint64_t dropped_ = 0;
    std::jthread thread_;
};

}  // namespace exodus
