// A switch as one session lives it: parked requests are woken, what lives on a connection (MULTI,
// WATCH, subscriptions, tracking, modes) is made again on the other side, and the client's own
// connection stays (redis.md 3.3, 9).
#include <utility>

#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {
constexpr std::string_view kInvalidateAll3 = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
constexpr std::string_view kInvalidateAll2 =
    "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*-1\r\n";
}  // namespace

/// With nothing unanswered: leases that are not needed go back, those of the wrong side move.
void ClientSession::settle() {
    if (streaming_to_ != nullptr) return;
    if (!leased()) {
        link_ = nullptr;
        move_wanted_ = false;
        return;
    }
    if (sticky_ == 0) {
        release_lease(link_);
        move_wanted_ = false;
        return;
    }
    move_wanted_ = false;  // the route may have come back before the move succeeded
    if (link_->key.side != home()) begin_move();
}

/// A transaction that writes is queued nowhere during a hold: either side may be fenced, and what
/// the fence refuses makes EXEC abort. Until the release it stays where it is.
bool ClientSession::move_waits() const {
    return in_multi_ && multi_writes_ && worker_.route().hold;
}

void ClientSession::begin_move() {
    move_wanted_ = false;
    if ((sticky_ & kTunnel) != 0) return;  // a replication tunnel belongs to its server
    if (move_waits()) return;
    if (moving_ != nullptr) {
        if (moving_->state == BackendLink::State::ready) finish_move();
        return;
    }
    if ((sticky_ & kWatch) != 0) watch_broken_ = true;
    if (!in_multi_) sticky_ &= ~uint32_t{kWatch};
    constexpr uint32_t kLives =
        kMulti | kSubscribed | kMonitor | kTracking | kReplyMode | kFlags | kOwn;
    if ((sticky_ & kLives) == 0) {
        // Nothing lives on the connection: the next request takes one where the data is.
        link_->dirty = true;
        release_lease(link_);
        return;
    }
    if (identity_lost_) {
        // Logged in as somebody who could not be remembered: nobody can log in for it elsewhere.
        worker_.count("moves_refused");
        worker_.end_session(*this, CloseMode::after_flush);
        return;
    }
    if (channels_overflow_) {
        worker_.count("subscriptions_too_many_to_move");
        worker_.end_session(*this, CloseMode::after_flush);
        return;
    }
    if (bridge_ != nullptr && bridge_->key.side == home() &&
        bridge_->state == BackendLink::State::ready) {
        moving_ = std::exchange(bridge_, nullptr);
        finish_move();
        return;
    }
    drop_bridge();
    moving_ = worker_.lease(key_for(home()), *this, false);
    if (moving_ == nullptr) {
        move_wanted_ = true;
        worker_.wait_retry(*this);
    } else if (moving_->state == BackendLink::State::ready) {
        finish_move();
    } else {
        worker_.wait_for(*moving_, *this);
    }
}

void ClientSession::finish_move() {
    BackendLink* old = link_;
    link_ = std::exchange(moving_, nullptr);
    const bool bridged = link_->subscribed != 0 || !link_->fifo.empty();
    send_state(*link_);
    if ((sticky_ & kSubscribed) != 0 && !bridged) send_subscriptions(*link_);
    if ((sticky_ & kMonitor) != 0) {
        swallow(*link_, "*1\r\n$7\r\nMONITOR\r\n");
        link_->monitor = true;
    }
    if (in_multi_) replay_multi(*link_);
    if ((sticky_ & kTracking) != 0 && resp_ == 3) worker_.to_client(*this, kInvalidateAll3);
    if (resp_ == 2 && channels_[0].contains("__redis__:invalidate"))
        worker_.to_client(*this, kInvalidateAll2);
    if (old != nullptr) {
        if ((sticky_ & kSubscribed) != 0 && bridge_allowed(old->key.side)) {
            bridge_ = old;
        } else {
            old->dirty = true;
            worker_.clean_session_from(*old, *this);
            worker_.discard(*old);
        }
    }
    worker_.count("sessions_moved");
}

bool ClientSession::bridge_allowed(Side side) const {
    const Route& route = worker_.route();
    if (route.hold) return true;
    return side == Side::source && route.writes == Side::target && route.migrating;
}

void ClientSession::drop_bridge() {
    if (bridge_ == nullptr) return;
    worker_.clean_session_from(*bridge_, *this);
    worker_.discard(*std::exchange(bridge_, nullptr));
}

void ClientSession::swallow(BackendLink& link, std::string_view request, uint32_t more, Job job) {
    flush_run();
    Expected entry;
    entry.job = job;
    entry.more = more;
    entry.sent_us = worker_.io().now_us();
    worker_.expect(link, entry);
    worker_.send(link, request);
}

/// What this session set on its connection, repeated on a fresh one.
void ClientSession::send_state(BackendLink& link) {
    std::string out;
    if (link.name != name_) {
        resp::append_command(out, "CLIENT", "SETNAME", name_);
        swallow(link, out);
        link.name = name_;
    }
    for (const auto& [name, request] : flags_) swallow(link, request);
    if (!tracking_.empty()) {
        link.tracked = true;
        swallow(link, with_real_redirect(tracking_, link.key.side));
    }
    if (worker_.state().sharing && (sticky_ & (kTracking | kSubscribed)) != 0) {
        worker_.state().ids.set_real(virtual_id_, link.key.side, link.real_id);
    }
    if (!flags_.empty() || !tracking_.empty()) link.dirty = true;
    if (reply_off_) worker_.send(link, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
    if (skip_next_) worker_.send(link, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n");
}

void ClientSession::send_subscriptions(BackendLink& link) {
    static constexpr std::array<std::string_view, 3> kVerbs{"SUBSCRIBE", "PSUBSCRIBE",
                                                            "SSUBSCRIBE"};
    for (std::size_t i = 0; i < kVerbs.size(); ++i) {
        if (channels_[i].empty()) continue;
        std::vector<std::string_view> words{kVerbs[i]};
        words.insert(words.end(), channels_[i].begin(), channels_[i].end());
        std::string out;
        resp::append_command(out, std::span<const std::string_view>(words));
        swallow(link, out, static_cast<uint32_t>(channels_[i].size()), Job::confirm);
    }
    link.dirty = true;
}

void ClientSession::replay_multi(BackendLink& link) {
    // Nothing of it has run: the queue is sent again, where EXEC will run it.
    if (multi_overflow_) {
        end_transaction();
        multi_lost_ = true;
        return;
    }
    flush_run();
    for (uint32_t i = 0; i <= multi_count_ && !reply_off_; ++i) {
        Expected entry;
        entry.job = Job::swallow;
        entry.flags = multi_writes_ ? expects::kWrite : uint8_t{0};
        entry.sent_us = worker_.io().now_us();
        worker_.expect(link, entry);
    }
    worker_.send(link, "*1\r\n$5\r\nMULTI\r\n");
    std::string_view left = multi_queue_;
    for (const QueuedChange& change : multi_changes_) {
        if (change.tracking.empty()) continue;
        const std::size_t at = multi_queue_.size() - left.size();
        worker_.send(link, left.substr(0, change.at - at));
        worker_.send(link, with_real_redirect(change.tracking, link.key.side));
        left.remove_prefix(change.at - at + change.tracking.size());
    }
    worker_.send(link, left);
}

/// After a hold that changed nothing, for a client without replies: the fence may have refused what
/// was on its way to the queue.
void ClientSession::queue_again() {
    if (!std::exchange(silent_multi_, false) || !in_multi_ || !leased()) return;
    if (link_->key.side != home()) return;  // it moves, and is queued again there
    flush_run();
    worker_.send(*link_, "*1\r\n$7\r\nDISCARD\r\n");
    if ((sticky_ & kWatch) != 0) watch_broken_ = true;
    replay_multi(*link_);
}

// --- events
// ----------------------------------------------------------------------------------------------------------

void ClientSession::on_route(bool hold_began) {
    if (dead_) return;
    const Route& route = worker_.route();
    const auto hash = static_cast<uint64_t>(virtual_id_) * 0x9E3779B97F4A7C15ULL;
    canary_ = static_cast<double>(hash >> 40) / 16777216.0 * 100 < route.canary_percent;
    if (hold_began) {
        unblock_if_parked(false);
        fence_silent();
        prepare_other_side();
        silent_multi_ = in_multi_ && multi_writes_ && reply_off_;
    } else if (!route.hold) {
        queue_again();
    }
    const bool away = leased() && link_->key.side != home();
    if (away && blocked_row_ != nullptr) unblock_if_parked(true);
    if (!route.hold) {
        if (bridge_ != nullptr &&
            (!leased() || (bridge_->key.side != home() && !bridge_allowed(bridge_->key.side)))) {
            drop_bridge();
        }
        if (moving_ != nullptr && moving_->key.side != home()) {
            worker_.clean_session_from(*moving_, *this);
            worker_.discard(*std::exchange(moving_, nullptr));
        }
    }
    if (stall_ == Stall::hold || stall_ == Stall::replicas || (away && outstanding_ == 0) ||
        stall_ == Stall::link)
        worker_.run_later(*this);
}

/// A request that waits on the server would keep the drain from ending: it is woken and goes again
/// after the switch.
void ClientSession::unblock_if_parked(bool reads_too) {
    if (blocked_row_ == nullptr || unblock_sent_ || !leased()) return;
    if (!blocked_row_->writes() && !reads_too) return;
    unblock_wanted_ = true;
    if (link_->real_id != 0 && worker_.ask_unblock(*this, link_->key.side, link_->real_id))
        unblock_sent_ = true;
}

/// Writes that get no answers (CLIENT REPLY) are proven executed by a request that gets one.
void ClientSession::fence_silent() {
    if (!leased() || link_->silent_writes == 0 || in_multi_) return;
    if (reply_off_) {
        swallow(*link_, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n");
        worker_.send(*link_, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
        return;
    }
    if (skip_next_) worker_.send(*link_, "*1\r\n$4\r\nPING\r\n");  // this one is skipped
    swallow(*link_, "*1\r\n$4\r\nPING\r\n");
    if (skip_next_) worker_.send(*link_, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n");
}

/// Subscribed on the other side before it can become the authority: no message of its first moments
/// is missed.
void ClientSession::prepare_other_side() {
    if ((sticky_ & kSubscribed) == 0 || bridge_ != nullptr || channels_overflow_ || !leased())
        return;
    if (moving_ != nullptr) return;  // it gets there by itself, and the old one becomes the bridge
    bridge_ = worker_.lease(key_for(other(link_->key.side)), *this, false);
    if (bridge_ == nullptr) return;
    if (bridge_->state == BackendLink::State::ready) {
        send_subscriptions(*bridge_);
    } else {
        worker_.wait_for(*bridge_, *this);
    }
}

void ClientSession::tick(int64_t now_us) {
    for (SharedSlot* slot : slots_) {
        if (slot != nullptr) slot->used_us = now_us;
    }
    if (dead_) return;
    take_reads_back();
    const Route& route = worker_.route();
    const bool away = leased() && link_->key.side != home();
    if (blocked_row_ != nullptr && !unblock_sent_ && (away || route.hold)) {
        unblock_if_parked(away || worker_.writes_in_flight() == 0);
    }
    if (route.hold && leased() && link_->silent_writes != 0 && link_->fifo.empty()) fence_silent();
    if (away && outstanding_ == 0 && moving_ == nullptr && !move_waits()) worker_.run_later(*this);
}

void ClientSession::on_wait_over(BackendLink& link, std::string_view error) {
    if (dead_) return;
    if (&link == bridge_) {
        if (error.empty() && link.state == BackendLink::State::ready) {
            send_subscriptions(link);
        }
        return;
    }
    if (&link == moving_) {
        if (link.state == BackendLink::State::ready) {
            if (outstanding_ == 0 && !move_waits()) finish_move();
            worker_.run_later(*this);
        }
        return;
    }
    wait_error_ = error;
    worker_.run_later(*this);
}

void ClientSession::on_lease_lost(BackendLink& link, std::string_view error) {
    if (dead_) return;
    if (&link == bridge_) {
        bridge_ = nullptr;
        return;
    }
    if (&link == moving_) {
        moving_ = nullptr;
        move_wanted_ = error.empty();
        if (!error.empty()) {
            // The other side does not let this client in: its state cannot follow it.
            worker_.count("moves_refused");
            worker_.end_session(*this, CloseMode::after_flush);
            return;
        }
        worker_.wait_retry(*this);
        return;
    }
    if (&link == pending_lease_) {
        pending_lease_ = nullptr;
        return;  // on_wait_over follows
    }
    if (&link != link_) return;
    flush_run();
    link_ = nullptr;
    if (streaming_to_ == &link) {
        streaming_to_ = nullptr;
        skip_body_ = true;
    }
    blocked_row_ = nullptr;
    if (worker_.state().sharing) worker_.state().ids.set_real(virtual_id_, link.key.side, 0);
    if ((sticky_ & kUnhideable) != 0) {
        worker_.end_session(*this, CloseMode::after_flush);
        return;
    }
    if (in_multi_) multi_lost_ = true;
    if ((sticky_ & kWatch) != 0 && !in_multi_) watch_broken_ = true;
    in_multi_ = false;
    sticky_ = 0;
    worker_.run_later(*this);
}

void ClientSession::on_lost(BackendLink& link, const Expected& entry, bool streaming) {
    if (dead_) return;
    if (entry.job == Job::unblock) {
        on_unblock_result();
        return;
    }
    if (!wait_aof_.empty()) end_wait();
    if ((entry.flags & expects::kAskAgain) != 0 && !streaming) {
        if (link.key.side != home()) {
            if (outstanding_ == 0) ask_again();
            return;
        }
        asked_.answered();  // the authority since: what was sent to it behind is lost as well
    }
    if (streaming) {
        worker_.end_session(*this,
                            CloseMode::after_flush);  // half a reply cannot be ended any other way
        return;
    }
    if ((sticky_ & kOwn) == 0) {
        worker_.to_client(*this, "-ERR exodus: connection to " +
                                     std::string(to_string(link.key.side)) +
                                     " lost, outcome unknown\r\n");
    }
    if (link.role != BackendLink::Role::leased && link_ == &link && outstanding_ == 0)
        link_ = nullptr;
    if (outstanding_ == 0) {
        await_ = unblock_sent_;
        worker_.run_later(*this);
    }
}

}  // namespace exodus::redis
