// What a session does with requests that are not simply shared: leases, transactions, holds, local
// answers.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

// The servers' own words.
constexpr std::string_view kNoLogin = "NOAUTH Authentication required.";
constexpr std::string_view kHelloWithoutLogin =
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
    "protocol version at the same time";
constexpr std::string_view kPaused = "TRYAGAIN exodus: writes are paused for a switch";

/// What a lease must be reset for afterwards. Commands that only operate the server leave nothing
/// on the connection, and a RESET after each would stand in its slow log and statistics.
bool may_leave_state(const resp::CommandRow& row) {
    return !row.known || row.id > resp::builtin_count() ||  // a module's command
           row.connection != resp::ConnectionClass::leased_until_done || row.name == "SCRIPT DEBUG";
}

/// What a server does not do for a client without login.
bool refuses_anonymous(Kind kind, const resp::RequestFrame& frame) {
    if (kind == Kind::auth || kind == Kind::quit || kind == Kind::reset) return false;
    if (kind != Kind::hello) return true;
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    return std::none_of(args.begin(), args.end(),
                        [](std::string_view word) { return resp::is_word(word, "AUTH"); });
}

}  // namespace

Side ClientSession::home() const { return worker_.route().writes; }

LinkKey ClientSession::key_for(Side side) const {
    LinkKey key;
    key.side = side;
    key.resp = resp_;
    key.database = database_;
    key.identity = identity_;
    return key;
}

bool ClientSession::local_reply(std::string_view text) {
    if (outstanding_ > 0) return stall(Stall::drain);
    flush_run();
    if (current_partial_) skip_body_ = true;
    if (!reply_off_ && !skip_next_) worker_.to_client(*this, text);
    skip_next_ = false;
    return true;
}

bool ClientSession::local_error(std::string_view text) {
    std::string out;
    resp::append_error(out, text);
    return local_reply(out);
}

bool ClientSession::stops_in_hold(const resp::CommandRow& row, Kind kind,
                                  const resp::RequestFrame& frame) {
    if (multi_lost_) return false;  // answered here
    // A write is not even queued: the fence refuses it at that moment too, and EXEC would abort.
    if (in_multi_) return row.writes() || (kind == Kind::exec && multi_writes_);
    if ((sticky_ & kSubscribed) != 0 && resp_ == 2)
        return false;  // the server refuses everything that writes
    if (kind == Kind::blocking && !frame.partial) {
        std::vector<std::string_view> scratch;
        if (resp::may_block(row, resp::all_arguments(frame, scratch))) return true;
    }
    if (kind == Kind::wait || kind == Kind::wait_aof || kind == Kind::sync) return false;
    return row.writes();
}

bool ClientSession::hold(const resp::RequestFrame& frame, Kind kind) {
    if (worker_.hold_expired() || worker_.held_too_much()) {
        if (in_multi_ && outstanding_ == 0 && leased()) {
            // A refused EXEC ends its transaction, as any failed EXEC does; with a refused part of
            // it EXEC answers EXECABORT, as servers do.
            swallow(*link_, "*1\r\n$7\r\nDISCARD\r\n");
            end_transaction();
            multi_lost_ = kind != Kind::exec;
            worker_.run_later(*this);
        }
        if (outstanding_ == 0) worker_.count("hold_refused");
        return local_error(kPaused);
    }
    flush_run();
    held_since_us_ = worker_.io().now_us();
    held_bytes_ = frame.bytes.size() + backlog_.size() - backlog_at_;
    worker_.hold_began(*this, held_bytes_);
    return stall(Stall::hold);
}

bool ClientSession::dispatch_slow(const resp::CommandRow& row, Kind kind,
                                  const resp::RequestFrame& frame) {
    const Route& route = worker_.route();
    if (slow_until_us_ != 0 && worker_.io().now_us() > slow_until_us_) slow_until_us_ = 0;
    if (moving_ != nullptr || move_wanted_) {
        return stall(outstanding_ == 0 ? Stall::link : Stall::drain);
    }
    if (leased() && sticky_ != 0 && (sticky_ & kTunnel) == 0 && link_->key.side != home() &&
        !move_waits()) {
        // What lives on this connection has to move before anything more is sent.
        if (outstanding_ == 0) worker_.run_later(*this);
        return stall(Stall::drain);
    }
    if (await_ && (outstanding_ > 0 || unblock_sent_)) return stall(Stall::drain);
    if (worker_.state().maps && identity_ == kAnonymous && refuses_anonymous(kind, frame))
        return local_error(kind == Kind::hello ? kHelloWithoutLogin : kNoLogin);
    if (row.refused_while_migrating && route.migrating) {
        if (outstanding_ == 0) worker_.local_error_counted(row);
        return local_error("ERR exodus: refused while a migration runs");
    }
    if (route.hold && stops_in_hold(row, kind, frame)) return hold(frame, kind);
    if (outstanding_ >= limits::kRedisUnanswered_max) return stall(Stall::window);
    if (in_multi_ || multi_lost_) return dispatch_in_multi(row, kind, frame);
    if (frame.partial)
        return use_lease(row, frame, 0, Job::forward, Kind::plain, kind != Kind::plain);
    return dispatch_kind(row, kind, frame);
}

/// On the session's own connection when it has one, else on a shared one.
bool ClientSession::use_either(const resp::CommandRow& row, const resp::RequestFrame& frame,
                               Job job, Kind what) {
    const bool slow = slow_until_us_ != 0 && what == Kind::plain;
    const bool paused = row.writes() && worker_.writes_paused();
    if (sticky_ != 0 || slow || paused) return use_lease(row, frame, 0, job, what, false);
    return use_shared(row, frame, job, what);
}

bool ClientSession::use_lease(const resp::CommandRow& row, const resp::RequestFrame& frame,
                              uint32_t reason, Job job, Kind what, bool dirty) {
    if (!need_lease(reason)) return std::exchange(answered_here_, false);
    link_->dirty = link_->dirty || dirty;
    forward(*link_, row, frame, job, what);
    return true;
}

bool ClientSession::need_lease(uint32_t reason, bool raw, int resp) {
    return need_lease_on(home(), reason, raw, resp);
}

bool ClientSession::need_lease_on(Side side, uint32_t reason, bool raw, int resp) {
    if (wait_failed()) return false;
    const bool keeps = sticky_ != 0 || (!raw && resp == 0);
    if (leased() && link_->key.side == side && keeps &&
        !(link_->raw && link_->key.identity != identity_)) {
        sticky_ |= reason;
        return true;
    }
    if (outstanding_ > 0) return stall(Stall::drain);
    if (leased()) release_lease(link_);
    link_ = nullptr;
    LinkKey key = key_for(side);
    if (resp != 0) key.resp = resp;
    if (raw) key = LinkKey{side, 2, 0, kAnonymous, false};
    if (pending_lease_ != nullptr && (pending_lease_->key != key || pending_raw_ != raw))
        release_lease(pending_lease_);
    if (pending_lease_ == nullptr) {
        pending_lease_ = worker_.lease(key, *this, raw);
        pending_raw_ = raw;
        if (pending_lease_ == nullptr) return no_connection(side);
    }
    if (pending_lease_->state != BackendLink::State::ready) {
        worker_.wait_for(*pending_lease_, *this);
        return stall(Stall::link);
    }
    link_ = std::exchange(pending_lease_, nullptr);
    if (worker_.state().sharing && link_->real_id != 0)
        worker_.state().ids.set_real(virtual_id_, side, link_->real_id);
    sticky_ |= reason;
    if (!raw) send_state(*link_);
    return true;
}

void ClientSession::release_lease(BackendLink*& link) {
    BackendLink* gone = std::exchange(link, nullptr);
    if (gone == nullptr) return;
    if (worker_.state().sharing) worker_.state().ids.set_real(virtual_id_, gone->key.side, 0);
    worker_.give_back(*gone);
}

// --- transactions
// ----------------------------------------------------------------------------------------------------

/// However it ended, nothing is watched any more (transactions.c, discardTransaction).
void ClientSession::end_transaction() {
    in_multi_ = multi_lost_ = multi_writes_ = watch_broken_ = false;
    sticky_ &= ~uint32_t{kMulti | kWatch};
}

bool ClientSession::dispatch_in_multi(const resp::CommandRow& row, Kind kind,
                                      const resp::RequestFrame& frame) {
    if (multi_lost_) {
        switch (kind) {
            case Kind::exec:
            case Kind::discard: {
                const bool done =
                    kind == Kind::discard
                        ? local_reply("+OK\r\n")
                        : local_error(
                              "EXECABORT Transaction discarded because of previous errors.");
                if (done) end_transaction();
                return done;
            }
            case Kind::quit:
                return do_quit();
            case Kind::reset:
                end_transaction();
                return do_reset(row, frame);
            default:
                return local_reply("+QUEUED\r\n");
        }
    }
    const bool login = kind == Kind::auth || (kind == Kind::hello && worker_.state().maps);
    if (login && judged_here())
        return local_error("ERR exodus: AUTH inside MULTI is not possible with target.auth");
    switch (kind) {
        case Kind::exec: {
            if (!leased()) return stall(Stall::drain);
            const bool silent = reply_off_ || skip_next_;
            if (watch_broken_) {
                // The keys were watched on the other side: the transaction must not run.
                if (outstanding_ > 0) return stall(Stall::drain);
                swallow(*link_, "*1\r\n$7\r\nDISCARD\r\n");
                std::string nil;
                resp::append_null_array(nil, resp_);
                local_reply(nil);
            } else {
                const bool changes = !multi_changes_.empty();
                forward(*link_, row, frame, changes && !silent ? Job::watched : Job::forward,
                        Kind::exec);
                link_->dirty = link_->dirty || changes;
                pending_changes_ = std::exchange(multi_changes_, {});
                await_ = changes;
                if (silent && changes) change_as_executed(*link_, {}, false);
            }
            end_transaction();
            if (outstanding_ == 0) worker_.run_later(*this);
            return true;
        }
        case Kind::discard:
            if (!leased()) return stall(Stall::drain);
            forward(*link_, row, frame, Job::forward, Kind::plain);
            end_transaction();
            if (outstanding_ == 0) worker_.run_later(*this);
            return true;
        case Kind::quit:
            return do_quit();
        case Kind::reset:
            return do_reset(row, frame);
        default:
            break;
    }
    if (!leased()) return stall(Stall::drain);
    if (kind == Kind::multi || kind == Kind::watch) {
        // Refused without being queued and without breaking the transaction.
        forward(*link_, row, frame, Job::forward, Kind::plain);
        return true;
    }
    multi_writes_ = multi_writes_ || row.writes();
    if (frame.partial || multi_count_ >= limits::kRedisMultiQueue_max ||
        multi_queue_.size() + frame.bytes.size() > limits::kRedisMultiQueue_bytes) {
        multi_overflow_ = true;
        multi_queue_.clear();
    }
    note_queued(kind, frame);
    ++multi_count_;
    if (!multi_overflow_) multi_queue_.append(frame.bytes);
    resp::RequestFrame changed = frame;
    std::string text;
    if (kind == Kind::client_tracking && !frame.partial) {
        text = with_real_redirect(frame.bytes, link_->key.side);
        changed.bytes = text;
    }
    forward(*link_, row, changed, Job::forward, Kind::plain);
    return true;
}

/// What EXEC will change of this session; it stands in the queue at its end.
void ClientSession::note_queued(Kind kind, const resp::RequestFrame& frame) {
    const bool room = multi_changes_.size() < limits::kRedisMultiQueue_max;
    if (kind == Kind::select && frame.indexed > 1) {
        int64_t number = 0;
        if (room && resp::parse_int(frame.args[1], number) && number >= 0 && number < 1'000'000)
            multi_changes_.push_back({multi_count_, static_cast<int>(number), {}, 0});
    } else if (kind == Kind::client_tracking && room && !multi_overflow_) {
        link_->dirty = link_->tracked = true;
        multi_changes_.push_back({multi_count_, 0, std::string(frame.bytes), multi_queue_.size()});
    } else if (kind == Kind::auth || kind == Kind::hello || kind == Kind::client_tracking) {
        // Cannot be followed: the connection stays this client's.
        sticky_ |= kOwn;
        link_->dirty = true;
        link_->tracked = link_->tracked || kind == Kind::client_tracking;
    } else if (kind == Kind::client_pause) {
        note_pause(frame);
    } else if (kind == Kind::eval && frame.indexed > 1 && !frame.partial) {
        worker_.state().scripts.remember(frame.args[1]);
    }
}

// --- by kind
// ---------------------------------------------------------------------------------------------------------

bool ClientSession::dispatch_kind(const resp::CommandRow& row, Kind kind,
                                  const resp::RequestFrame& frame) {
    switch (kind) {
        case Kind::plain: {
            const bool shared = row.connection == resp::ConnectionClass::shared ||
                                row.effect == resp::Effect::connection;
            if (shared && row.known) return use_either(row, frame, Job::forward, Kind::plain);
            // REPLCONF says what the SYNC behind it means.
            const bool pinned = row.connection == resp::ConnectionClass::pinned;
            return use_lease(row, frame, pinned ? uint32_t{kOwn} : 0, Job::forward, Kind::plain,
                             may_leave_state(row));
        }
        case Kind::auth:
            return do_auth(row, frame);
        case Kind::hello:
            return do_hello(row, frame);
        case Kind::select:
            return do_select(row, frame);
        case Kind::reset:
            return do_reset(row, frame);
        case Kind::quit:
            return do_quit();
        case Kind::multi: {
            opening_multi_ = true;
            const bool done = use_lease(row, frame, kMulti, Job::watched, Kind::multi, false);
            opening_multi_ = false;
            if (!done || !leased()) return done;
            in_multi_ = true;
            multi_queue_.clear();
            multi_count_ = 0;
            multi_writes_ = multi_overflow_ = false;
            multi_changes_.clear();
            return true;
        }
        case Kind::exec:
        case Kind::discard:
            return use_either(row, frame, Job::forward,
                              Kind::plain);  // outside MULTI: the server's error
        case Kind::watch:
            return use_lease(row, frame, kWatch, Job::forward, Kind::plain, true);
        case Kind::unwatch: {
            const bool done = use_either(row, frame, Job::forward, Kind::plain);
            if (done) {
                sticky_ &= ~uint32_t{kWatch};
                watch_broken_ = false;
            }
            return done;
        }
        case Kind::subscribe:
        case Kind::unsubscribe:
            return do_subscribe(row, kind, frame);
        case Kind::monitor: {
            const bool done = use_lease(row, frame, kMonitor, Job::forward, Kind::plain, true);
            if (done && leased()) link_->monitor = true;
            return done;
        }
        case Kind::sync: {
            const bool done =
                use_lease(row, frame, kTunnel | kOwn, Job::forward, Kind::plain, true);
            if (done && leased()) {
                // What follows is no dialogue of requests and replies.
                flush_run();
                worker_.clean_session_from(*link_, *this);
                link_->owner = this;
                link_->opaque = true;
                outstanding_ = 0;
            }
            return done;
        }
        case Kind::wait:
            return do_wait(row, frame);
        case Kind::wait_aof:
            return do_wait_aof(row, frame);
        case Kind::blocking:
            return do_blocking(row, frame);
        case Kind::eval:
        case Kind::evalsha:
        case Kind::script_load:
        case Kind::script_flush:
            return do_script(row, kind, frame);
        case Kind::scan:
        case Kind::key_scan:
            return do_scan(row, kind, frame);
        case Kind::client_id:
        case Kind::client_getname:
        case Kind::client_redirect:
            return use_either(row, frame, worker_.state().sharing ? Job::watched : Job::forward,
                              kind);
        case Kind::client_name: {
            // Never on a shared connection, which would then bear the name of one of many.
            const bool done = use_lease(row, frame, 0, Job::watched, kind, false);
            if (done && outstanding_ > 0) {
                pending_name_ =
                    frame.indexed > 1 ? std::string(frame.args[frame.indexed - 1]) : std::string();
                await_ = true;
            }
            return done;
        }
        case Kind::client_pause:
            return do_client_pause(row, frame);
        case Kind::client_list:
            if (!worker_.state().sharing) return use_either(row, frame, Job::forward, Kind::plain);
            return do_client_list(row, frame);
        case Kind::client_kill:
            return do_client_kill(row, frame);
        case Kind::client_unblock:
            return do_client_unblock(row, frame);
        case Kind::client_reply:
            return do_client_reply(row, frame);
        case Kind::client_tracking:
            return do_tracking(row, frame);
        case Kind::client_flag:
            return do_flag(row, frame);
        case Kind::client_harmless:
            return use_either(row, frame, Job::forward, Kind::plain);
    }
    return use_lease(row, frame, 0, Job::forward, Kind::plain, true);
}

}  // namespace exodus::redis
