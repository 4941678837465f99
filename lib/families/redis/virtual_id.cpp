#include "families/redis/virtual_id.h"

#include <algorithm>

namespace exodus::redis {

int64_t VirtualIds::open() {
    const std::lock_guard lock(mutex_);
    const int64_t id = next_++;
    open_[id] = {0, 0};
    return id;
}

void VirtualIds::close(int64_t id) {
    const std::lock_guard lock(mutex_);
    open_.erase(id);
    kills_.erase(id);
    waiting_.erase(id);
}

bool VirtualIds::known(int64_t id) const {
    const std::lock_guard lock(mutex_);
    return open_.contains(id);
}

void VirtualIds::set_real(int64_t id, Side side, int64_t real) {
    const std::lock_guard lock(mutex_);
    if (const auto found = open_.find(id); found != open_.end()) {
        found->second[static_cast<std::size_t>(side)] = real;
    }
}

int64_t VirtualIds::real(int64_t id, Side side) const {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(id);
    return found == open_.end() ? 0 : found->second[static_cast<std::size_t>(side)];
}

std::map<int64_t, int64_t> VirtualIds::by_real(Side side) const {
    const std::lock_guard lock(mutex_);
    std::map<int64_t, int64_t> out;
    for (const auto& [id, reals] : open_) {
        if (const int64_t real_id = reals[static_cast<std::size_t>(side)]; real_id != 0)
            out[real_id] = id;
    }
    return out;
}

void VirtualIds::ask_kill(int64_t id) {
    const std::lock_guard lock(mutex_);
    if (open_.contains(id)) kills_.insert(id);
}

bool VirtualIds::take_kill(int64_t id) {
    const std::lock_guard lock(mutex_);
    return kills_.erase(id) != 0;
}

void VirtualIds::set_waiting(int64_t id, bool waits) {
    const std::lock_guard lock(mutex_);
    if (waits) {
        waiting_[id] = Wake::none;
    } else {
        waiting_.erase(id);
    }
}

bool VirtualIds::ask_wake(int64_t id, Wake how) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(id);
    if (found == waiting_.end() || found->second != Wake::none) return false;
    found->second = how;
    return true;
}

Wake VirtualIds::take_wake(int64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(id);
    if (found == waiting_.end() || found->second == Wake::none) return Wake::none;
    const Wake how = found->second;
    waiting_.erase(found);
    return how;
}

bool VirtualIds::anything_asked() const {
    const std::lock_guard lock(mutex_);
    return !kills_.empty() || std::any_of(waiting_.begin(), waiting_.end(), [](const auto& entry) {
        return entry.second != Wake::none;
    });
}

}  // namespace exodus::redis
