// Requests about the connection itself: who the client is, its database, name, ids and modes,
// scripts, cursors, blocking.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/digest.h"
#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

bool is_ok(std::string_view frame) { return frame.starts_with("+OK"); }

}  // namespace

// --- identity
// --------------------------------------------------------------------------------------------------------

bool ClientSession::do_auth(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    if (!need_lease(0, sticky_ == 0)) return std::exchange(answered_here_, false);
    pending_login_ = frame.argc == 2 || frame.argc == 3;
    if (pending_login_) {
        pending_user_ = frame.argc == 3 ? std::string(frame.args[1]) : std::string();
        pending_password_ = Secret(std::string(frame.args[frame.argc - 1]));
    }
    pending_resp_ = 0;
    forward(*link_, row, frame, Job::watched, Kind::auth);
    await_ = true;
    return true;
}

bool ClientSession::do_hello(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    int64_t version = 0;
    const bool plain_version =
        args.size() > 1 && resp::parse_int(args[1], version) && (version == 2 || version == 3);
    std::string name = name_;
    bool login = false;
    std::string user;
    std::string_view password;
    for (std::size_t i = 2; i < args.size(); ++i) {
        if (resp::is_word(args[i], "AUTH") && i + 2 < args.size()) {
            login = true;
            user = args[i + 1];
            password = args[i + 2];
            i += 2;
        } else if (resp::is_word(args[i], "SETNAME") && i + 1 < args.size()) {
            name = args[++i];
        }
    }
    // Without AUTH it must be judged as who the client is; a connection of that version answers the
    // same as an upgraded one.
    const int resp = plain_version ? static_cast<int>(version) : resp_;
    if (!need_lease(0, login && sticky_ == 0, sticky_ == 0 && !login ? resp : 0)) {
        return std::exchange(answered_here_, false);
    }
    pending_login_ = login;
    pending_user_ = std::move(user);
    pending_password_ = login ? Secret(std::string(password)) : Secret();
    pending_resp_ = plain_version ? static_cast<int>(version) : 0;
    if (name != name_) link_->dirty = true;
    pending_name_ = std::move(name);
    forward(*link_, row, frame, Job::watched, Kind::hello);
    await_ = true;
    return true;
}

void ClientSession::learn_identity(BackendLink& link) {
    const auto id = worker_.state().identities.intern(pending_user_, pending_password_.reveal());
    if (id.has_value()) {
        identity_ = *id;
        link.key.identity = *id;
        link.raw = false;
    } else {
        sticky_ |= kOwn;  // it cannot be remembered, so only this connection is logged in
    }
    sampled_ = false;
    slots_ = {nullptr, nullptr};
    worker_.state().identities.saw_use(identity_);
}

bool ClientSession::do_select(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    int64_t number = -1;
    const bool valid = frame.argc == 2 && resp::parse_int(frame.args[1], number) && number >= 0 &&
                       number < 1'000'000;
    if (sticky_ != 0 || !valid) {
        if (!use_lease(row, frame, 0, Job::watched, Kind::select, sticky_ == 0)) return false;
        if (outstanding_ == 0) return true;
        pending_database_ = valid ? static_cast<int>(number) : -1;
        await_ = true;
        return true;
    }
    if (number == database_) return use_either(row, frame, Job::forward, Kind::plain);
    if (outstanding_ > 0) return stall(Stall::drain);
    // The connection of that database has asked the server itself: its SELECT is the verdict.
    const int before = std::exchange(database_, static_cast<int>(number));
    slots_ = {nullptr, nullptr};
    if (use_either(row, frame, Job::forward, Kind::plain) && outstanding_ > 0) return true;
    const bool answered = stall_ == Stall::none;
    database_ = before;
    slots_ = {nullptr, nullptr};
    return answered;
}

void ClientSession::forget_state() {
    resp_ = 2;
    database_ = 0;
    identity_ = kAnonymous;
    name_.clear();
    flags_.clear();
    tracking_.clear();
    reply_off_ = skip_next_ = false;
    in_multi_ = multi_lost_ = multi_writes_ = watch_broken_ = false;
    for (auto& set : channels_) set.clear();
    channel_bytes_ = 0;
    channels_overflow_ = false;
    slots_ = {nullptr, nullptr};
    sampled_ = false;
    sticky_ &= uint32_t{kOwn};
}

bool ClientSession::do_reset(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    if (outstanding_ > 0) return stall(Stall::drain);
    if (!worker_.state().sharing) {
        if (!use_lease(row, frame, 0, Job::forward, Kind::reset, true)) return false;
        if (leased()) {
            link_->monitor = false;
            link_->subscribed = 0;
        }
        forget_state();
        drop_bridge();
        return true;
    }
    sticky_ &= ~uint32_t{kOwn};
    forget_state();
    drop_bridge();
    if (leased()) {
        link_->dirty = true;
        release_lease(link_);
    }
    if (frame.argc != 1) return local_error("ERR wrong number of arguments for 'reset' command");
    return local_reply("+RESET\r\n");
}

bool ClientSession::do_quit() {
    if (outstanding_ > 0) return stall(Stall::drain);
    local_reply("+OK\r\n");
    worker_.end_session(*this, CloseMode::after_flush);
    return true;
}

// --- CLIENT
// ----------------------------------------------------------------------------------------------------------

bool ClientSession::do_client_kill(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    int64_t id = 0;
    const bool ours = worker_.state().sharing && frame.argc == 4 &&
                      resp::is_word(frame.args[2], "ID") && resp::parse_int(frame.args[3], id) &&
                      id >= kFirstVirtualId;
    if (!ours) return use_lease(row, frame, 0, Job::forward, Kind::plain, true);
    if (outstanding_ > 0) return stall(Stall::drain);
    if (id == virtual_id_) {
        local_reply(":1\r\n");
        worker_.end_session(*this, CloseMode::after_flush);
        return true;
    }
    const bool known = worker_.state().ids.known(id);
    if (ClientSession* session = worker_.find_session(id); session != nullptr) {
        worker_.end_session(*session, CloseMode::now);
    } else if (known) {
        worker_.state().ids.ask_kill(id);
    }
    return local_reply(known ? ":1\r\n" : ":0\r\n");
}

bool ClientSession::do_client_unblock(const resp::CommandRow& row,
                                      const resp::RequestFrame& frame) {
    int64_t id = 0;
    if (!worker_.state().sharing || frame.argc < 3 || frame.argc > 4 ||
        !resp::parse_int(frame.args[2], id) || id < kFirstVirtualId) {
        return use_either(row, frame, Job::forward, Kind::plain);
    }
    const int64_t real = worker_.state().ids.real(id, home());
    if (real == 0) return local_reply(":0\r\n");
    std::string text;
    if (frame.argc == 4) {
        resp::append_command(text, "CLIENT", "UNBLOCK", std::to_string(real), frame.args[3]);
    } else {
        resp::append_command(text, "CLIENT", "UNBLOCK", std::to_string(real));
    }
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    return use_either(row, changed, Job::forward, Kind::plain);
}

bool ClientSession::do_client_reply(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    const std::string_view mode = frame.argc == 3 ? frame.args[2] : std::string_view{};
    const bool on = resp::is_word(mode, "ON");
    const bool off = resp::is_word(mode, "OFF");
    const bool skip = resp::is_word(mode, "SKIP");
    if (!on && !off && !skip) return use_either(row, frame, Job::forward, Kind::plain);
    if (!need_lease(on ? 0U : kReplyMode)) return std::exchange(answered_here_, false);
    link_->dirty = true;
    if (on) {
        reply_off_ = skip_next_ = false;
        sticky_ &= ~uint32_t{kReplyMode};
        forward(*link_, row, frame, Job::forward, Kind::client_reply);
        return true;
    }
    put(*link_, frame);
    if (off) reply_off_ = true;
    if (skip && !reply_off_) skip_next_ = true;
    return true;
}

bool ClientSession::do_tracking(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    std::vector<std::string> words(args.begin(), args.end());
    for (std::size_t i = 3; i + 1 < words.size(); ++i) {
        int64_t id = 0;
        if (!resp::is_word(words[i], "REDIRECT") || !resp::parse_int(words[i + 1], id) ||
            id < kFirstVirtualId)
            continue;
        words[i + 1] = std::to_string(worker_.state().ids.real(id, home()));
    }
    const bool on = args.size() > 2 && resp::is_word(args[2], "ON");
    std::string text;
    resp::append_command(text, std::span<const std::string>(words));
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    if (!use_lease(row, changed, on ? kTracking : 0U, Job::watched, Kind::client_tracking, true))
        return false;
    if (outstanding_ == 0) return true;
    pending_tracking_ = on ? std::string(frame.bytes) : std::string();
    await_ = true;
    return true;
}

bool ClientSession::do_flag(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    const std::string name(row.name == "READWRITE" ? "READONLY" : row.name);
    const bool off =
        row.name == "READWRITE" || (frame.argc == 3 && resp::is_word(frame.args[2], "OFF"));
    if (!use_lease(row, frame, kFlags, Job::forward, Kind::plain, true)) return false;
    if (off) {
        flags_.erase(name);
        if (flags_.empty()) sticky_ &= ~uint32_t{kFlags};
    } else {
        flags_[name] = std::string(frame.bytes);
    }
    return true;
}

// --- scripts and cursors
// ---------------------------------------------------------------------------------------------

bool ClientSession::do_script(const resp::CommandRow& row, Kind kind,
                              const resp::RequestFrame& frame) {
    ProcessState& state = worker_.state();
    const std::size_t body = kind == Kind::eval ? 1 : 2;
    if ((kind == Kind::eval || kind == Kind::script_load) && frame.indexed > body) {
        if (!worker_.knows_script(xxh3_64(frame.args[body])))
            state.scripts.remember(frame.args[body]);
    } else if (kind == Kind::script_flush) {
        state.scripts.clear();
    }
    // An EVALSHA with nothing before it can become an EVAL when the server does not know the
    // script; nothing ran then.
    if (kind == Kind::evalsha && outstanding_ == 0 && !reply_off_ && !skip_next_) {
        if (!use_either(row, frame, Job::watched, kind)) return false;
        if (outstanding_ > 0) {
            script_request_.assign(frame.bytes);
            await_ = true;
        }
        return true;
    }
    return use_either(row, frame, Job::forward, Kind::plain);
}

bool ClientSession::retry_script(BackendLink& link, std::string_view reply) {
    if (!reply.starts_with("-NOSCRIPT")) return false;
    std::vector<std::string_view> args;
    if (!resp::split_arguments(script_request_, args) || args.size() < 3) return false;
    const auto body = worker_.state().scripts.body(args[1]);
    if (!body.has_value()) return false;
    const resp::CommandRow& row = *resp::find_command(args[0]);
    std::vector<std::string> words(args.begin(), args.end());
    words[0] = row.name.ends_with("_RO") ? "EVAL_RO" : "EVAL";
    words[1] = *body;
    std::string text;
    resp::append_command(text, std::span<const std::string>(words));
    worker_.count("scripts_sent_again");
    if (worker_.route().hold && row.writes()) {
        reissue_ = std::move(text);  // waits like any write
        return true;
    }
    Expected entry;
    entry.session = this;
    entry.row = &row;
    entry.sent_us = worker_.io().now_us();
    entry.request_bytes = static_cast<uint32_t>(text.size());
    entry.flags = static_cast<uint8_t>(expects::kCounted | (row.writes() ? expects::kWrite : 0));
    worker_.expect(link, entry);
    ++outstanding_;
    await_ = true;
    worker_.send(link, text);
    return true;
}

bool ClientSession::do_scan(const resp::CommandRow& row, Kind kind,
                            const resp::RequestFrame& frame) {
    const std::size_t at = kind == Kind::scan ? 1 : 2;
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    int64_t cursor = 0;
    const bool restart = args.size() > at && resp::parse_int(args[at], cursor) && cursor != 0 &&
                         worker_.state().cursors.foreign(static_cast<uint64_t>(cursor), home(),
                                                         worker_.io().now_us());
    if (!restart) return use_either(row, frame, Job::watched, kind);
    std::vector<std::string> words(args.begin(), args.end());
    words[at] = "0";
    std::string text;
    resp::append_command(text, std::span<const std::string>(words));
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    worker_.count("cursors_restarted");
    return use_either(row, changed, Job::watched, kind);
}

// --- blocking
// --------------------------------------------------------------------------------------------------------

bool ClientSession::do_blocking(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    if (!resp::may_block(row, args)) return use_either(row, frame, Job::forward, Kind::plain);
    if (!need_lease(0)) return std::exchange(answered_here_, false);
    const BlockingTimeout timeout = blocking_timeout(row, args);
    const bool silent = reply_off_ || skip_next_;
    forward(*link_, row, frame, Job::watched, Kind::blocking, expects::kBlocking);
    if (silent) return true;
    blocked_.assign(frame.bytes);
    blocked_row_ = &row;
    blocked_deadline_us_ = timeout.argument != 0 && timeout.value_s > 0
                               ? worker_.io().now_us() + static_cast<int64_t>(timeout.value_s * 1e6)
                               : 0;
    if (worker_.state().sharing)
        worker_.state().ids.set_real(virtual_id_, link_->key.side, link_->real_id);
    worker_.open_service(link_->key.side);
    await_ = true;
    return true;
}

void ClientSession::on_blocking_reply(BackendLink& link, std::string_view frame, char type) {
    const resp::CommandRow* row = std::exchange(blocked_row_, nullptr);
    const bool wanted = std::exchange(unblock_wanted_, false);
    const bool nil = type == '_' || frame.starts_with("*-1") || frame.starts_with("$-1");
    const bool thrown_out = frame.starts_with("-UNBLOCKED") && worker_.route().hold;
    const int64_t now = worker_.io().now_us();
    const bool time_left = blocked_deadline_us_ == 0 || blocked_deadline_us_ > now;
    std::vector<std::string_view> args;
    if (row == nullptr || !((nil && wanted && time_left) || thrown_out) ||
        !resp::split_arguments(blocked_, args)) {
        worker_.to_client(*this, frame);
        return;
    }
    // Nothing was taken from any key: it goes again, where the data then is, with the time that is
    // left.
    std::vector<std::string> words(args.begin(), args.end());
    const BlockingTimeout timeout = blocking_timeout(*row, args);
    if (timeout.argument != 0 && blocked_deadline_us_ != 0) {
        const double left_s =
            std::max(static_cast<double>(blocked_deadline_us_ - now) / 1e6, 0.001);
        words[timeout.argument] = timeout.milliseconds ? std::to_string(std::llround(left_s * 1000))
                                                       : std::to_string(left_s);
    }
    reissue_.clear();
    resp::append_command(reissue_, std::span<const std::string>(words));
    worker_.count("blocking_moved");
    worker_.run_later(*this);
    (void)link;
}

void ClientSession::on_unblock_result() {
    unblock_sent_ = false;
    if (outstanding_ == 0) {
        await_ = false;
        worker_.run_later(*this);
    }
}

// --- subscriptions
// ---------------------------------------------------------------------------------------------------

bool ClientSession::do_subscribe(const resp::CommandRow& row, Kind kind,
                                 const resp::RequestFrame& frame) {
    const bool subscribes = kind == Kind::subscribe;
    if (!subscribes && (sticky_ & (kSubscribed | kOwn)) == 0 && sticky_ == 0) {
        if (!need_lease(0)) return std::exchange(answered_here_, false);
    } else if (!need_lease(subscribes ? kSubscribed : 0U)) {
        return std::exchange(answered_here_, false);
    }
    link_->dirty = true;
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    auto& set = channels_[static_cast<std::size_t>(channel_kind(row.name))];
    const auto more =
        args.size() > 1 ? args.size() - 1 : std::max<std::size_t>(subscribes ? 1 : set.size(), 1);
    forward(*link_, row, frame, Job::confirm, kind, 0, static_cast<uint32_t>(more));
    if (bridge_ != nullptr && bridge_->state == BackendLink::State::ready) {
        swallow(*bridge_, frame.bytes, static_cast<uint32_t>(more), Job::confirm);
    }
    if (!subscribes && args.size() == 1) {
        for (const std::string& channel : set) channel_bytes_ -= channel.size();
        set.clear();
    }
    for (std::size_t i = 1; i < args.size(); ++i) {
        if (!subscribes) {
            const auto found = set.find(args[i]);
            if (found == set.end()) continue;
            channel_bytes_ -= found->size();
            set.erase(found);
        } else if (set.size() >= limits::kRedisChannels_max ||
                   channel_bytes_ + args[i].size() > limits::kRedisChannels_bytes) {
            channels_overflow_ = true;
        } else if (set.emplace(args[i]).second) {
            channel_bytes_ += args[i].size();
        }
    }
    if (channels_[0].empty() && channels_[1].empty() && channels_[2].empty() &&
        !channels_overflow_) {
        sticky_ &= ~uint32_t{kSubscribed};
    }
    return true;
}

bool ClientSession::wants_push(const BackendLink& link, std::string_view frame) const {
    // Appliers write on the side that follows: its keyspace events would double those of the
    // authority.
    if (link.key.side == home()) return &link == link_ || &link == bridge_;
    if (&link != link_ && &link != bridge_) return false;
    return frame.find("__key") == std::string_view::npos &&
           frame.find("invalidate") == std::string_view::npos;
}

// --- watched replies
// -------------------------------------------------------------------------------------------------

void ClientSession::on_watched(BackendLink& link, const Expected& entry, std::string_view frame,
                               char type, bool whole) {
    const bool error = type == '-' || type == '!';
    const bool ok = is_ok(frame);
    const bool sharing = worker_.state().sharing;
    switch (static_cast<Kind>(entry.what)) {
        case Kind::auth:
            if (ok && pending_login_) learn_identity(link);
            clear_pending();
            break;
        case Kind::hello: {
            if (error) {
                clear_pending();
                break;
            }
            if (pending_login_) learn_identity(link);
            if (pending_resp_ != 0) {
                resp_ = pending_resp_;
                link.key.resp = pending_resp_;
                slots_ = {nullptr, nullptr};
            }
            name_ = pending_name_;
            clear_pending();
            const auto at = frame.find("$2\r\nid\r\n:");
            if (!sharing || at == std::string_view::npos || !whole) break;
            const auto end = frame.find('\r', at + 9);
            std::string text(frame.substr(0, at + 9));
            text += std::to_string(virtual_id_);
            text += frame.substr(end);
            worker_.to_client(*this, text);
            return;
        }
        case Kind::select:
            if (ok && pending_database_ >= 0) {
                database_ = link.key.database = pending_database_;
                slots_ = {nullptr, nullptr};
            }
            break;
        case Kind::exec:
            if (!error && type != '_' && !frame.starts_with("*-1") && pending_database_ >= 0) {
                database_ = link.key.database = pending_database_;
                slots_ = {nullptr, nullptr};
            }
            break;
        case Kind::multi:
            if (error && outstanding_ == 0) {
                in_multi_ = false;
                sticky_ &= ~uint32_t{kMulti};
            }
            break;
        case Kind::evalsha:
            if (whole && retry_script(link, frame)) return;
            break;
        case Kind::scan:
        case Kind::key_scan: {
            // *2 $n <cursor> …
            const auto first = frame.find('\n');
            const auto second =
                first == std::string_view::npos ? first : frame.find('\n', first + 1);
            if (!frame.starts_with("*2") || second == std::string_view::npos) break;
            uint64_t cursor = 0;
            for (std::size_t i = second + 1; i < frame.size() && frame[i] >= '0' && frame[i] <= '9';
                 ++i) {
                cursor = cursor * 10 + static_cast<uint64_t>(frame[i] - '0');
            }
            worker_.state().cursors.issued(cursor, link.key.side, worker_.io().now_us());
            break;
        }
        case Kind::client_id:
            if (error) break;
            worker_.to_client(*this, ":" + std::to_string(virtual_id_) + "\r\n");
            return;
        case Kind::client_getname: {
            if (error) break;
            std::string text;
            if (name_.empty()) {
                resp::append_null(text, resp_);
            } else {
                resp::append_bulk(text, name_);
            }
            worker_.to_client(*this, text);
            return;
        }
        case Kind::client_name:
            if (ok) {
                name_ = pending_name_;
                if (leased()) link.dirty = true;
            }
            break;
        case Kind::client_tracking:
            if (ok) {
                tracking_ = pending_tracking_;
                if (!tracking_.empty())
                    worker_.state().ids.set_real(virtual_id_, link.key.side, link.real_id);
            }
            if (tracking_.empty()) sticky_ &= ~uint32_t{kTracking};
            break;
        case Kind::blocking:
            if (!whole) {
                blocked_row_ = nullptr;
                unblock_wanted_ = false;
                return;
            }
            on_blocking_reply(link, frame, type);
            return;
        default:
            break;
    }
    if (whole) worker_.to_client(*this, frame);
}

void ClientSession::clear_pending() {
    pending_password_ = Secret();
    pending_user_.clear();
    pending_login_ = false;
}

}  // namespace exodus::redis
