// A telemetry source whose numbers, events and stalls a test decides.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "core/telemetry.h"

namespace exodus::test {

class FakeSource final : public TelemetrySource {
  public:
    Result<TelemetrySnapshot> snapshot() override {
        ++snapshots;
        while (stalls) std::this_thread::sleep_for(milliseconds(5));
        const std::lock_guard lock(mutex_);
        if (!error_.empty()) return fail(ErrorCode::locked, error_);
        return value_;
    }
    Result<std::vector<TelemetryEvent>> events_after(int64_t id, std::size_t limit) override {
        const std::lock_guard lock(mutex_);
        std::vector<TelemetryEvent> out;
        for (const TelemetryEvent& event : events_) {
            if (event.id > id && out.size() < limit) out.push_back(event);
        }
        return out;
    }
    Result<int64_t> newest_event() override {
        const std::lock_guard lock(mutex_);
        return events_.empty() ? 0 : events_.back().id;
    }

    void add_event(const std::string& severity = "info", std::size_t padding = 0) {
        const std::lock_guard lock(mutex_);
        const int64_t id = events_.empty() ? 1 : events_.back().id + 1;
        events_.push_back(
            {id, severity,
             "{\"id\":" + std::to_string(id) + ",\"pad\":\"" + std::string(padding, 'x') + "\"}"});
    }
    void set(TelemetrySnapshot value) {
        const std::lock_guard lock(mutex_);
        value_ = std::move(value);
    }
    void fail_with(std::string error) {
        const std::lock_guard lock(mutex_);
        error_ = std::move(error);
    }

    std::atomic<int> snapshots{0};
    std::atomic<bool> stalls{false};

  private:
    std::mutex mutex_;
    TelemetrySnapshot value_;
    std::string error_;
    std::vector<TelemetryEvent> events_;
};

}  // namespace exodus::test
