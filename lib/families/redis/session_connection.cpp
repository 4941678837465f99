// Requests about the connection itself: who the client is, its database, name, ids and modes; and
// the replies that a session looks at.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

bool is_ok(std::string_view frame) { return frame.starts_with("+OK"); }

}  // namespace

// --- identity
// --------------------------------------------------------------------------------------------------------

/// Whether servers do not know whom clients say they are: with target.auth = map nowhere, with
/// service not on the target, where everybody is one user.
bool ClientSession::judged_here() const {
    return worker_.state().maps || (home() == Side::target && worker_.state().target_service);
}

/// By the configuration, or by what the source let in before.
std::optional<IdentityId> ClientSession::known_login(std::string_view user,
                                                     std::string_view password) {
    ProcessState& state = worker_.state();
    return state.maps ? state.judge(user, password) : state.identities.find(user, password);
}

bool ClientSession::refuse_login() {
    return local_reply("-WRONGPASS invalid username-password pair or user is disabled.\r\n");
}

void ClientSession::on_certificate(std::string_view subject) {
    if (const auto identity = worker_.state().judge_certificate(subject))
        become(certified_ = *identity);
}

/// A connection to the source that judges a login; what follows goes back to the target.
bool ClientSession::need_judge() {
    if (worker_.state().maps) {
        answered_here_ = refuse_login();
        return false;
    }
    if ((sticky_ & ~uint32_t{kOwn}) != 0) {
        answered_here_ = refuse_login();
        return false;
    }
    return need_lease_on(Side::source, 0, true, 0);
}

void ClientSession::become(IdentityId identity) {
    identity_ = identity;
    identity_lost_ = false;
    sampled_ = used_ = false;
    slots_ = {nullptr, nullptr};
}

bool ClientSession::do_auth(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    if (judged_here() && (frame.argc == 2 || frame.argc == 3) && frame.indexed == frame.argc) {
        const auto known = known_login(frame.argc == 3 ? frame.args[1] : std::string_view{},
                                       frame.args[frame.argc - 1]);
        if (known.has_value()) {
            if (outstanding_ > 0) return stall(Stall::drain);
            log_in_here(*known);
            return local_reply("+OK\r\n");
        }
        if (!need_judge()) return std::exchange(answered_here_, false);
    } else if (!need_lease(0, sticky_ == 0)) {
        return std::exchange(answered_here_, false);
    }
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
    resp::RequestFrame changed = frame;
    std::string text;
    bool judge = login && judged_here();
    if (judge && plain_version) {
        const auto known = known_login(user, password);
        if (known.has_value()) {
            if (outstanding_ > 0) return stall(Stall::drain);
            log_in_here(*known);
            if (name == name_) {
                resp::append_command(text, "HELLO", args[1]);
            } else {
                resp::append_command(text, "HELLO", args[1], "SETNAME", name);
            }
            changed.bytes = text;
            judge = login = false;
        }
    }
    const bool ready =
        judge ? need_judge()
              : need_lease(0, login && sticky_ == 0, sticky_ == 0 && !login ? resp : 0);
    if (!ready) return std::exchange(answered_here_, false);
    pending_login_ = login;
    pending_user_ = std::move(user);
    pending_password_ = login ? Secret(std::string(password)) : Secret();
    pending_resp_ = plain_version ? static_cast<int>(version) : 0;
    if (name != name_) link_->dirty = true;
    pending_name_ = std::move(name);
    forward(*link_, row, changed, Job::watched, Kind::hello);
    await_ = true;
    return true;
}

void ClientSession::learn_identity(BackendLink& link) {
    const auto id = worker_.state().identities.intern(pending_user_, pending_password_.reveal());
    if (id.has_value()) {
        become(*id);
        link.key.identity = *id;
        link.raw = false;
    } else {
        sticky_ |= kOwn;  // it cannot be remembered, so only this connection is logged in
        identity_lost_ = true;
    }
}

/// A client whose login was accepted without asking a server. The connection it holds is logged in
/// anew, unless everybody is the same user there anyway.
void ClientSession::log_in_here(IdentityId identity) {
    const bool anonymous = identity_ == kAnonymous;
    become(identity);
    if (!leased() || sticky_ == 0) return;
    link_->key.identity = identity;
    if (!anonymous && !worker_.state().maps) return;
    std::string out;
    const auto login = worker_.state().login_for(link_->key.side, identity);
    if (login && append_login(out, *login)) swallow(*link_, out);
    std::fill(out.begin(), out.end(), '\0');
}

bool ClientSession::do_select(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    int64_t number = -1;
    const bool valid = frame.argc == 2 && resp::parse_int(frame.args[1], number) && number >= 0 &&
                       number < 1'000'000;
    if (sticky_ != 0 || !valid) {
        const bool silent = reply_off_ || skip_next_;
        if (!use_lease(row, frame, 0, Job::watched, Kind::select, sticky_ == 0)) return false;
        if (silent && valid && leased()) {  // no reply will tell: taken as having worked
            database_ = link_->key.database = static_cast<int>(number);
            slots_ = {nullptr, nullptr};
            return true;
        }
        if (outstanding_ == 0) return true;
        pending_database_ = valid ? static_cast<int>(number) : -1;
        await_ = true;
        return true;
    }
    if (number == database_) return use_either(row, frame, Job::forward, Kind::plain);
    if (outstanding_ > 0) return stall(Stall::drain);
    // Sent on a connection of that database, whoever selected it there: the server's answer is
    // about the client's own right.
    const int before = std::exchange(database_, static_cast<int>(number));
    slots_ = {nullptr, nullptr};
    const bool sent = use_either(row, frame, Job::watched, Kind::select) && outstanding_ > 0;
    database_ = before;
    slots_ = {nullptr, nullptr};
    if (!sent) return stall_ == Stall::none;
    pending_database_ = static_cast<int>(number);
    await_ = true;
    return true;
}

void ClientSession::forget_state() {
    resp_ = 2;
    database_ = 0;
    identity_ = kAnonymous;
    name_.clear();
    flags_.clear();
    tracking_.clear();
    reply_off_ = skip_next_ = false;
    end_transaction();
    for (auto& set : channels_) set.clear();
    channel_bytes_ = 0;
    channels_overflow_ = false;
    slots_ = {nullptr, nullptr};
    sampled_ = used_ = identity_lost_ = false;
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
        if (certified_ != kAnonymous) log_in_here(certified_);
        return true;
    }
    sticky_ &= ~uint32_t{kOwn};
    forget_state();
    if (certified_ != kAnonymous) become(certified_);
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
    const bool on = frame.indexed > 2 && resp::is_word(frame.args[2], "ON");
    const std::string text = with_real_redirect(frame.bytes, home());
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    if (!use_lease(row, changed, on ? kTracking : 0U, Job::watched, Kind::client_tracking, true))
        return false;
    if (outstanding_ == 0) return true;
    link_->tracked = link_->tracked || on;
    pending_tracking_ = frame.bytes;
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
            name_ = link.name = pending_name_;
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
            if (type == '_' || frame.starts_with("*-1"))
                worker_.transaction_aborted();
            else if (!error)
                change_as_executed(link, frame, whole);
            pending_changes_.clear();
            link.key.database = database_;
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
        case Kind::client_pause:
            // UNPAUSE; a PAUSE that was refused only costs connections for as long as it named.
            if (ok && entry.row->name == "CLIENT UNPAUSE")
                worker_.state().writes_paused_until_us.store(0);
            break;
        case Kind::client_list:
            if (!whole) break;
            worker_.to_client(*this, with_virtual_ids(link, frame));
            return;
        case Kind::client_kill:
            after_client_kill(frame);
            return;
        case Kind::client_unblock:
            after_client_unblock(frame);
            return;
        case Kind::client_redirect:
            if (!whole) break;
            worker_.to_client(*this, with_virtual_redirect(frame));
            return;
        case Kind::client_name:
            if (ok) name_ = link.name = pending_name_;
            break;
        case Kind::client_tracking:
            now_tracks(link, ok ? pending_tracking_ : tracking_);
            break;
        case Kind::wait_aof:
            if (whole) on_wait_aof(frame, type);
            return;
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

/// What a transaction changed of the session: what EXEC's answer calls OK. An answer that is not
/// there whole (streamed, or silenced) is taken as having worked.
void ClientSession::change_as_executed(BackendLink& link, std::string_view exec, bool whole) {
    const auto answers = whole ? resp::parse_reply(exec) : Result<resp::Value>(resp::Value{});
    for (QueuedChange& change : pending_changes_) {
        const bool known = whole && answers && change.index < answers->items.size();
        if (whole && !(known && answers->items[change.index].text == "OK")) continue;
        if (!change.tracking.empty()) {
            now_tracks(link, std::move(change.tracking));
            continue;
        }
        database_ = change.database;
        slots_ = {nullptr, nullptr};
    }
}

/// `request`: the CLIENT TRACKING in force, or empty. OFF is the same as none.
void ClientSession::now_tracks(const BackendLink& link, std::string request) {
    std::vector<std::string_view> args;
    const bool on =
        resp::split_arguments(request, args) && args.size() > 2 && resp::is_word(args[2], "ON");
    tracking_ = on ? std::move(request) : std::string();
    sticky_ = on ? sticky_ | kTracking : sticky_ & ~uint32_t{kTracking};
    if (on && worker_.state().sharing)
        worker_.state().ids.set_real(virtual_id_, link.key.side, link.real_id);
}

void ClientSession::clear_pending() {
    pending_password_ = Secret();
    pending_user_.clear();
    pending_login_ = false;
}

}  // namespace exodus::redis
