// A binary heap of due times; cancelled timers stay in it until they come up or are too many.
#include "net/timers.h"

#include <algorithm>

#include "base/clock.h"

namespace exodus {

namespace {
constexpr auto kLater = [](const auto& a, const auto& b) { return a.at_us > b.at_us; };
constexpr std::size_t kCompactSlack = 64;

TimerId make_id(uint32_t generation, std::size_t slot) {
    return static_cast<TimerId>((static_cast<uint64_t>(generation) << 32) | slot);
}
}  // namespace

Timers::Timers(uv_loop_t* loop) {
    uv_timer_init(loop, &timer_);
    timer_.data = this;
}

Timers::Slot* Timers::find(TimerId timer) {
    const auto index = static_cast<uint64_t>(timer) & 0xffffffffU;
    const auto generation = static_cast<uint32_t>(static_cast<uint64_t>(timer) >> 32);
    if (index >= slots_.size() || slots_[index].generation != generation ||
        slots_[index].target == nullptr)
        return nullptr;
    return &slots_[index];
}

TimerId Timers::arm(int64_t now_us, int64_t delay_us, TimerTarget& target, uint64_t payload) {
    uint32_t index = 0;
    if (free_.empty()) {
        index = static_cast<uint32_t>(slots_.size());
        slots_.emplace_back();
    } else {
        index = free_.back();
        free_.pop_back();
    }
    Slot& slot = slots_[index];
    ++slot.generation;
    slot.target = &target;
    slot.payload = payload;
    const TimerId id = make_id(slot.generation, index);
    ++armed_;
    heap_.push_back({now_us + std::max<int64_t>(delay_us, 0), id});
    std::push_heap(heap_.begin(), heap_.end(), kLater);
    if (!firing_) schedule(now_us);
    return id;
}

void Timers::release(TimerId timer) {
    Slot* slot = find(timer);
    slot->target = nullptr;
    --armed_;
    // A slot whose generations are used up is retired: ids are never reused.
    if (slot->generation != UINT32_MAX)
        free_.push_back(static_cast<uint32_t>(static_cast<uint64_t>(timer) & 0xffffffffU));
}

void Timers::cancel(TimerId timer) {
    if (find(timer) == nullptr) return;
    release(timer);
    if (heap_.size() > 2 * armed_ + kCompactSlack) compact();
}

void Timers::compact() {
    std::erase_if(heap_, [this](const Due& due) { return find(due.id) == nullptr; });
    std::make_heap(heap_.begin(), heap_.end(), kLater);
}

void Timers::schedule(int64_t now_us) {
    if (closed_ || heap_.empty() || heap_.front().at_us == scheduled_us_) return;
    if (scheduled_us_ != INT64_MAX && heap_.front().at_us > scheduled_us_) return;
    scheduled_us_ = heap_.front().at_us;
    const int64_t wait_us = std::max<int64_t>(scheduled_us_ - now_us, 0);
    uv_timer_start(
        &timer_, [](uv_timer_t* handle) { static_cast<Timers*>(handle->data)->fire(); },
        static_cast<uint64_t>((wait_us + 999) / 1000), 0);
}

void Timers::fire() {
    const int64_t now_us = steady_us();
    scheduled_us_ = INT64_MAX;
    firing_ = true;
    // Timers that are armed on the way and are due at once wait for the next round: no starvation.
    std::size_t budget = heap_.size();
    while (!heap_.empty() && heap_.front().at_us <= now_us && budget-- > 0) {
        const TimerId id = heap_.front().id;
        std::pop_heap(heap_.begin(), heap_.end(), kLater);
        heap_.pop_back();
        Slot* slot = find(id);
        if (slot == nullptr) continue;
        TimerTarget* target = slot->target;
        const uint64_t payload = slot->payload;
        release(id);
        target->on_timer_due(id, payload);
    }
    firing_ = false;
    schedule(now_us);
}

void Timers::close() {
    if (closed_) return;
    closed_ = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
}

}  // namespace exodus
