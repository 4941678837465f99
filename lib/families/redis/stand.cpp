#include "families/redis/stand.h"

#include "families/redis/watermarks.h"

namespace exodus::redis {

bool Stand::holds(uint64_t ticket) const {
    return ticket != 0 && ticket == ticket_ && steady_us() < until_us_;
}

Result<uint64_t> Stand::begin(milliseconds span) {
    std::unique_lock lock(mutex_);
    if (holds(ticket_))
        return fail(ErrorCode::locked, "the stream already stands for another comparison");
    const uint64_t mine = ++tickets_;
    ticket_ = mine;
    until_us_ = steady_us() + span.count() * 1000;
    limit_ = 0;
    at_.reset();
    lane_work_.tell();
    reached_.wait_for(lock, span, [&] { return !holds(mine) || at_.has_value(); });
    if (holds(mine) && at_) return mine;
    if (ticket_ == mine) ticket_ = 0;
    return fail(ErrorCode::timeout, "the stream did not come to a stand");
}

Status Stand::advance(uint64_t ticket, uint64_t offset) {
    std::unique_lock lock(mutex_);
    if (holds(ticket) && at_ && at_->offset > offset)
        return fail(ErrorCode::gap, "the stream stands behind the position");
    if (holds(ticket)) {
        limit_ = offset;
        at_.reset();
        lane_work_.tell();
        const milliseconds rest((until_us_ - steady_us()) / 1000);
        reached_.wait_for(lock, rest, [&] {
            return !holds(ticket) || (at_ && at_->exact && at_->offset == offset);
        });
    }
    if (holds(ticket) && at_ && at_->exact && at_->offset == offset) return {};
    return fail(ErrorCode::timeout, "the stream did not come to the position in time");
}

bool Stand::end(uint64_t ticket) {
    const std::lock_guard lock(mutex_);
    const bool stood = holds(ticket);
    if (ticket != 0 && ticket == ticket_) ticket_ = 0;
    lane_work_.tell();
    return stood;
}

void Stand::drop() {
    const std::lock_guard lock(mutex_);
    ticket_ = 0;
    reached_.notify_all();
    lane_work_.tell();
}

uint64_t Stand::limit() {
    const std::lock_guard lock(mutex_);
    return holds(ticket_) ? limit_ : kNoOffset;
}

void Stand::reached(uint64_t offset, bool exact) {
    const std::lock_guard lock(mutex_);
    if (ticket_ == 0) return;
    at_ = Place{offset, exact};
    reached_.notify_all();
}

}  // namespace exodus::redis
