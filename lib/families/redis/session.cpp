#include "families/redis/session.h"

#include <utility>

#include "base/limits.h"
#include "families/redis/canary_limits.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

ClientSession::ClientSession(TrafficWorker& worker, ConnId conn, int64_t virtual_id,
                             bool own_connection)
    : worker_(worker), conn_(conn), virtual_id_(virtual_id) {
    if (own_connection) sticky_ = kOwn;
    // Sticky by session: a hash of its number decides, so a larger share only adds sessions.
    const auto hash = static_cast<uint64_t>(virtual_id) * 0x9E3779B97F4A7C15ULL;
    canary_ = static_cast<double>(hash >> 40) / 16777216.0 * 100 < worker.route().canary_percent;
}

// --- input
// -----------------------------------------------------------------------------------------------------------

void ClientSession::on_bytes(std::string_view bytes) {
    if (dead_ || closing_) return;
    if (stall_ == Stall::none && backlog_.empty() && !parked_.filled && reissue_.empty()) {
        pump(bytes);
        return;
    }
    if (backlog_at_ > backlog_.size() / 2) {
        backlog_.erase(0, backlog_at_);
        backlog_at_ = 0;
    }
    backlog_.append(bytes);
    if (stall_ == Stall::hold) {
        held_bytes_ += bytes.size();
        worker_.hold_grew(bytes.size());
        if (worker_.held_too_much()) worker_.run_later(*this);
    }
    update_reading();
}

void ClientSession::pump(std::string_view bytes) {
    input_ = bytes;
    scanner_.feed(bytes);
    const bool all = run_input();
    input_ = {};
    if (!all && !dead_ && !closing_) {
        backlog_.assign(scanner_.unread());
        scanner_ =
            resp::RequestScanner();  // it stopped between two frames: what is left is fed again
    }
    update_reading();
}

void ClientSession::resume() {
    if (dead_ || closing_) {
        if (closing_ && !dead_ && outstanding_ == 0) say_goodbye();
        return;
    }
    if (stall_ == Stall::hold) {
        worker_.hold_ended(held_bytes_, worker_.io().now_us() - held_since_us_);
        held_bytes_ = 0;
    }
    stall_ = Stall::none;
    if (outstanding_ == 0) settle();
    if (dead_) return;
    if (moving_ != nullptr ||
        move_wanted_) {  // the connection on its way, or the next try, wakes it again
        stall_ = Stall::link;
        return;
    }
    if (!reissue_.empty()) {
        if (reissue_at_us_ > worker_.io().now_us()) {
            worker_.wait_retry(*this);
            stall_ = Stall::retry;
            return finish_half_closed();
        }
        if (!dispatch_reissue()) return finish_half_closed();
    }
    if (!dead_ && parked_.filled && !dispatch_parked()) {
        update_reading();
        return finish_half_closed();
    }
    // Behind a QUIT or a refusal nothing is read.
    if (dead_ || closing_) return update_reading();
    if (backlog_at_ < backlog_.size()) {
        std::string work;
        work.swap(backlog_);
        input_ = std::string_view(work).substr(backlog_at_);
        backlog_at_ = 0;
        scanner_.feed(input_);
        const bool all = run_input();
        input_ = {};
        if (!all && !dead_ && !closing_) {
            const std::size_t left = scanner_.unread_bytes();
            backlog_at_ = work.size() - left;
            backlog_.swap(work);
            scanner_ = resp::RequestScanner();
        }
    } else {
        backlog_.clear();
        backlog_at_ = 0;
    }
    update_reading();
    finish_half_closed();
}

/// False when it stopped before the end of what was fed.
bool ClientSession::run_input() {
    uint64_t depth = 0;
    bool all = true;
    for (bool go_on = true; go_on && all;) {
        scanner_.set_restricted(without_login() && !await_);
        switch (scanner_.next()) {
            case resp::RequestEvent::need_more:
                go_on = false;
                break;
            case resp::RequestEvent::frame:
                ++depth;
                kept_tried_ = false;
                if (!dispatch(scanner_.frame())) {
                    if (!dead_ && !closing_) park(scanner_.frame());
                    all = false;
                }
                break;
            case resp::RequestEvent::head: {
                const resp::RequestFrame& frame = scanner_.frame();
                const resp::CommandRow& row = worker_.classify(frame.indexed_args());
                if (!kept_tried_ && (in_multi_ || kind_of(row) != Kind::plain)) {
                    kept_tried_ = true;
                    scanner_.keep_whole(limits::kRedisMultiQueue_bytes);
                    break;
                }
                kept_tried_ = false;
                ++depth;
                if (!dispatch(frame)) {
                    if (dead_ || closing_) break;
                    park(frame);
                    // The scanner cannot stop inside a frame: what came of it waits with its
                    // beginning.
                    for (;;) {
                        const resp::RequestEvent event = scanner_.next();
                        if (event != resp::RequestEvent::body) break;
                        parked_.bytes.append(scanner_.piece());
                        if (!scanner_.last_piece()) continue;
                        parked_.partial = false;
                        all = false;
                        break;
                    }
                    go_on = false;
                }
                break;
            }
            case resp::RequestEvent::body:
                body();
                break;
            case resp::RequestEvent::error:
                refuse_input();
                go_on = false;
                break;
        }
        if (dead_ || closing_) break;
    }
    flush_run();
    if (depth != 0) worker_.record_depth(depth);
    return all;
}

void ClientSession::body() {
    if (streaming_to_ != nullptr) {
        flush_run();
        worker_.send(*streaming_to_, scanner_.piece());
        if (scanner_.last_piece()) {
            streaming_to_->partial_request = false;
            streaming_to_ = nullptr;
            worker_.run_later(
                *this);  // its reply may have come already (an error): the lease can go
        } else if (worker_.io().unsent_bytes(streaming_to_->conn) > limits::kHighWater_bytes) {
            worker_.wait_for(*streaming_to_, *this);
            stall(Stall::backend_full);
        }
    } else if (scanner_.last_piece()) {
        skip_body_ = false;
    }
}

void ClientSession::refuse_input() {
    worker_.protocol_error(resp::to_string(scanner_.error().fault));
    refuse(scanner_.error().reply);
}

/// Behind the replies that are still to come; nothing more is read.
void ClientSession::refuse(std::string_view reply) {
    flush_run();
    closing_ = true;
    farewell_ = reply;
    if (outstanding_ == 0) say_goodbye();
}

void ClientSession::say_goodbye() {
    worker_.to_client(*this, farewell_);
    worker_.end_session(*this, CloseMode::after_flush);
}

void ClientSession::park(const resp::RequestFrame& frame) {
    parked_.bytes.assign(frame.bytes);
    parked_.indexed = frame.indexed;
    parked_.argc = frame.argc;
    parked_.wire_bytes = frame.wire_bytes;
    parked_.partial = frame.partial;
    for (std::size_t i = 0; i < frame.indexed; ++i) {
        parked_.ranges[i] = {static_cast<uint32_t>(frame.args[i].data() - frame.bytes.data()),
                             static_cast<uint32_t>(frame.args[i].size())};
    }
    parked_.filled = true;
}

bool ClientSession::dispatch_parked() {
    resp::RequestFrame frame;
    // Moved out, because dispatching may end in parking again.
    std::string bytes;
    bytes.swap(parked_.bytes);
    frame.bytes = bytes;
    frame.argc = parked_.argc;
    frame.indexed = parked_.indexed;
    frame.wire_bytes = parked_.wire_bytes;
    frame.partial = parked_.partial;
    for (std::size_t i = 0; i < parked_.indexed; ++i) {
        frame.args[i] = frame.bytes.substr(parked_.ranges[i].first, parked_.ranges[i].second);
    }
    const bool done = dispatch(frame);
    flush_run();
    if (done || dead_ || closing_) {
        parked_.filled = false;
    } else {
        parked_.bytes.swap(bytes);
    }
    return done;
}

void ClientSession::update_reading() {
    if (dead_) return;
    const bool want = closing_ || (backlog_.size() - backlog_at_ < limits::kRedisBacklog_bytes &&
                                   stall_ != Stall::backend_full);
    if (want == reading_) return;
    reading_ = want;
    worker_.io().set_reading(conn_, want);
}

bool ClientSession::stall(Stall why) {
    stall_ = why;
    return false;
}

// --- the hot path
// ----------------------------------------------------------------------------------------------------

bool ClientSession::dispatch(const resp::RequestFrame& frame) {
    const resp::CommandRow& row = worker_.classify(frame.indexed_args());
    const Kind kind = kind_of(row);
    const Route& route = worker_.route();
    current_partial_ = frame.partial;
    if (without_login() && !await_ && !within_login_limits(frame)) [[unlikely]]
        return false;
    const bool simple = kind == Kind::plain && row.connection == resp::ConnectionClass::shared &&
                        sticky_ == 0 && !multi_lost_ && !await_ && !frame.partial && !skip_next_ &&
                        !row.refused_while_migrating &&
                        !((route.hold || worker_.writes_paused()) && row.writes()) &&
                        slow_until_us_ == 0 && !(identity_ == kAnonymous && worker_.state().maps);
    if (!simple) [[unlikely]]
        return dispatch_slow(row, kind, frame);
    return use_shared(row, frame, Job::forward, kind);
}

bool ClientSession::use_shared(const resp::CommandRow& row, const resp::RequestFrame& frame,
                               Job job, Kind what) {
    if (outstanding_ >= limits::kRedisUnanswered_max) return stall(Stall::window);
    bool deferred = false;
    const Side side = side_for(row, deferred);
    if (side != home() && asked_.bytes() > limits::kCanaryAsked_bytes_max)
        return stall(Stall::window);
    if (outstanding_ == 0) {
        if (leased() && sticky_ == 0) release_lease(link_);
        if (!acquire_shared(side)) return std::exchange(answered_here_, false);
    } else if (link_ == nullptr || link_->key.side != side || link_->raw) {
        return stall(Stall::drain);
    }
    if (deferred) worker_.deferred_from_canary();
    forward(*link_, row, frame, job, what);
    return true;
}

/// The side is in back-off: waits for the next try, or answers when it has been away for too long.
bool ClientSession::no_connection(Side side) {
    if (worker_.given_up(side)) {
        answered_here_ =
            refused("-ERR exodus: " + std::string(to_string(side)) + " is unreachable\r\n");
        return false;
    }
    worker_.wait_retry(*this);
    return stall(Stall::retry);
}

/// The connection that the parked request waited for was refused: the server's words are its
/// answer.
bool ClientSession::wait_failed() {
    if (wait_error_.empty()) return false;
    const std::string text = std::exchange(wait_error_, {});
    answered_here_ = refused(text);
    return true;
}

/// A request that gets no connection. A refused MULTI would leave what follows it in a pipeline to
/// run without it: the transaction begins and is aborted instead.
bool ClientSession::refused(std::string_view text) {
    if (!opening_multi_) return local_reply(text);
    multi_lost_ = local_reply("+OK\r\n");
    return multi_lost_;
}

bool ClientSession::acquire_shared(Side side) {
    if (wait_failed()) return false;
    SharedSlot*& slot = slots_[static_cast<std::size_t>(side)];
    if (slot == nullptr) {
        slot = worker_.slot(key_for(side));
    }
    BackendLink* link = worker_.shared_link(*slot);
    if (link == nullptr) return no_connection(side);
    if (link->state != BackendLink::State::ready) {
        worker_.wait_for(*link, *this);
        return stall(Stall::link);
    }
    if (worker_.io().unsent_bytes(link->conn) > limits::kHighWater_bytes) {
        worker_.wait_for(*link, *this);
        return stall(Stall::backend_full);
    }
    link_ = link;
    return true;
}

void ClientSession::forward(BackendLink& link, const resp::CommandRow& row,
                            const resp::RequestFrame& frame, Job job, Kind what, uint8_t flags,
                            uint32_t more) {
    if (!used_ && row.effect != resp::Effect::connection) [[unlikely]] {
        used_ = true;
        worker_.state().saw_use(identity_, link.key.side, worker_.io().wall_now_us() / 1000);
    }
    if (!sampled_ && row.writes()) [[unlikely]] {
        // The fence is proven with a key that this identity really writes.
        const std::string_view key = resp::first_key(row, frame.indexed_args());
        if (key.data() != nullptr)
            sampled_ = worker_.state().identities.saw_key(identity_, key, database_);
    }
    const bool silent = (reply_off_ || skip_next_) && what != Kind::client_reply;
    if (skip_next_ && what != Kind::client_reply) skip_next_ = false;
    const uint16_t prefix = worker_.observe(*this, row, frame, database_);
    // One that is only queued counts as well: it must be answered before the fence rises.
    const bool write = row.writes() || (what == Kind::exec && multi_writes_);
    if (write) last_write_us_ = worker_.io().now_us();
    if (silent) {
        // Nothing can prove that a server has queued; silent_multi_ queues again after a hold.
        const bool only_queued = in_multi_ && what != Kind::exec;
        if (write && !only_queued) worker_.silent_write(link);
        put(link, frame);
        return;
    }
    Expected entry;
    entry.session = this;
    entry.row = &row;
    entry.sent_us = worker_.io().now_us();
    entry.request_bytes = static_cast<uint32_t>(frame.wire_bytes);
    entry.job = job;
    entry.what = static_cast<uint8_t>(what) & 0x3f;
    entry.prefix = prefix & 0x3ff;
    entry.flags = static_cast<uint8_t>(flags | expects::kCounted | (write ? expects::kWrite : 0));
    entry.more = more;
    if (link.key.side != home() && link.role != BackendLink::Role::leased) {
        entry.flags |= expects::kAskAgain;
        asked_.add(frame.bytes);
    }
    if (worker_.mirrors() && row.compare != resp::CompareRule::never &&
        row.effect == resp::Effect::read && sticky_ == 0 && job == Job::forward && !frame.partial) {
        worker_.mirror(link, entry, row, frame.bytes);
    }
    worker_.expect(link, entry);
    ++outstanding_;
    put(link, frame);
    if (frame.partial) {
        flush_run();
        link.partial_request = true;
        streaming_to_ = &link;
    }
}

void ClientSession::put(BackendLink& link, const resp::RequestFrame& frame) {
    put_bytes(link, frame.bytes);
}

void ClientSession::put_bytes(BackendLink& link, std::string_view bytes) {
    if (run_link_ == &link && run_.data() + run_.size() == bytes.data()) {
        run_ = {run_.data(), run_.size() + bytes.size()};
        return;
    }
    flush_run();
    const bool in_input = bytes.data() >= input_.data() &&
                          bytes.data() + bytes.size() <= input_.data() + input_.size();
    if (!in_input) {  // kept or re-encoded by the scanner: valid until its next step only
        worker_.send(link, bytes);
        return;
    }
    run_link_ = &link;
    run_ = bytes;
}

void ClientSession::flush_run() {
    if (run_link_ == nullptr) return;
    worker_.send(*run_link_, run_);
    run_link_ = nullptr;
    run_ = {};
}

// --- answers
// ---------------------------------------------------------------------------------------------------------

void ClientSession::answered() {
    if (outstanding_ == 0) {
        await_ = unblock_sent_;
        if (leased() || closing_ || half_closed_ || stall_ == Stall::drain ||
            stall_ == Stall::window) {
            worker_.run_later(*this);
        } else {
            link_ = nullptr;
        }
    } else if (stall_ == Stall::window && outstanding_ <= limits::kRedisUnanswered_max / 2) {
        worker_.run_later(*this);
    }
}

bool ClientSession::at_boundary() const {
    return outstanding_ == 0 && !parked_.filled && reissue_.empty() &&
           backlog_.size() == backlog_at_ && scanner_.idle() && !in_multi_ &&
           (sticky_ & ~uint32_t{kOwn | kWait | kFlags}) == 0 && moving_ == nullptr &&
           streaming_to_ == nullptr && !skip_body_;
}

void ClientSession::let_go() {
    if (dead_) return;
    dead_ = true;
    flush_run();
    if (stall_ == Stall::hold)
        worker_.hold_ended(held_bytes_, worker_.io().now_us() - held_since_us_);
    stall_ = Stall::none;
    if (link_ != nullptr) worker_.clean_session_from(*link_, *this);
    if (unblock_sent_) {
        for (const Side side : {Side::source, Side::target}) {
            LinkKey key;
            key.side = side;
            key.identity = kService;
            for (BackendLink* link : worker_.slot(key)->links) {
                if (link != nullptr) worker_.clean_session_from(*link, *this);
            }
        }
    }
    if (leased()) worker_.discard(*link_);
    link_ = nullptr;
    for (BackendLink** link : {&pending_lease_, &moving_, &bridge_}) {
        if (*link == nullptr) continue;
        worker_.clean_session_from(**link, *this);
        worker_.discard(**link);
        *link = nullptr;
    }
}

}  // namespace exodus::redis
