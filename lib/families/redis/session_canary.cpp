// Reads that the side that follows may answer (a canary): only while it is current, is there and
// answers, and never what the session may have just written itself. Else the authority does.
#include <utility>

#include "base/limits.h"
#include "families/redis/canary_limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

/// `deferred`: the authority answers what the other side would have.
Side ClientSession::side_for(const resp::CommandRow& row, bool& deferred) {
    const Route& route = worker_.route();
    if (row.effect != resp::Effect::read || sticky_ != 0 || row.keys.empty()) return route.writes;
    const Side side = canary_ && route.canary_percent > 0 ? Side::target : route.reads;
    // Only what can be compared may be answered by the side that follows.
    if (side == route.writes || row.compare == resp::CompareRule::never) return route.writes;
    // Current at most max_lag ago, it has what was answered twice as long ago.
    const int64_t lag_us = worker_.state().canary_lag_us;
    const bool wrote = last_write_us_ != 0 && worker_.io().now_us() - last_write_us_ < 2 * lag_us;
    deferred = wrote || !worker_.target_current() || !answers(side);
    return deferred ? route.writes : side;
}

/// There is a connection of this client's to the side, and it does not hang. Opens one else, for
/// which no read waits.
bool ClientSession::answers(Side side) {
    BackendLink* link = link_;
    if (outstanding_ == 0 || link == nullptr || link->key.side != side) {
        SharedSlot*& slot = slots_[static_cast<std::size_t>(side)];
        if (slot == nullptr) slot = worker_.slot(key_for(side));
        link = worker_.shared_link(*slot);
    }
    return link != nullptr && link->state == BackendLink::State::ready && !worker_.hangs(*link) &&
           worker_.io().unsent_bytes(link->conn) <= limits::kHighWater_bytes;
}

/// Everything unanswered is a read that the other side will not answer: the authority is asked,
/// before what came behind it.
void ClientSession::ask_again() {
    worker_.count("canary_asked_again", asked_.count());
    reissue_.insert(0, asked_.take());
    if (!leased()) link_ = nullptr;
    await_ = false;
    worker_.run_later(*this);
}

/// Of the side that follows, which hangs: whatever it still answers is nobody's.
void ClientSession::take_reads_back() {
    if (asked_.count() == 0 || link_ == nullptr || link_->key.side == home()) return;
    const bool begun = link_->streaming && link_->fifo.front().session == this;
    if (begun || !worker_.hangs(*link_)) return;
    worker_.clean_session_from(*link_, *this);
    outstanding_ = 0;
    ask_again();
}

}  // namespace exodus::redis
