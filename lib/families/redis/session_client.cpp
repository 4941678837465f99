// CLIENT subcommands that shared connections would falsify (redis.md 3.3). LIST, INFO, GETREDIR and
// TRACKINGINFO: ids are translated on the way there and back; a connection that many sessions share
// keeps the server's id. KILL and UNBLOCK: of sessions, where the server allows it. PAUSE: while it
// lasts, writes take connections of their own.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

bool ClientSession::do_client_list(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    const VirtualIds& ids = worker_.state().ids;
    std::vector<std::string_view> scratch;
    const auto args = resp::all_arguments(frame, scratch);
    const auto id_of = [&](std::string_view word) {
        int64_t id = 0;
        return resp::parse_int(word, id) && id >= kFirstVirtualId ? id : int64_t{0};
    };
    bool ids_from_here = false;
    bool about_itself = row.name == "CLIENT INFO";
    std::size_t first = args.size();
    if (args.size() > 3 && resp::is_word(args[2], "ID")) first = 3;
    for (std::size_t i = first; i < args.size(); ++i) {
        const int64_t id = id_of(args[i]);
        ids_from_here = ids_from_here || id != 0;
        about_itself = about_itself || id == virtual_id_;
    }
    if (about_itself) {
        // The server can only tell about a connection of its own.
        if (!need_lease(0)) return std::exchange(answered_here_, false);
    }
    resp::RequestFrame changed = frame;
    std::string text;
    if (ids_from_here) {
        std::vector<std::string> words(args.begin(), args.end());
        for (std::size_t i = first; i < words.size(); ++i) {
            const int64_t id = id_of(words[i]);
            if (id == virtual_id_) {
                words[i] = std::to_string(link_->real_id);
            } else if (const int64_t real = id == 0 ? 0 : ids.real(id, home()); real != 0) {
                words[i] = std::to_string(real);
            }
        }
        resp::append_command(text, std::span<const std::string>(words));
        changed.bytes = text;
    }
    if (about_itself) {
        forward(*link_, row, changed, Job::watched, Kind::client_list);
        return true;
    }
    return use_either(row, changed, Job::watched, Kind::client_list);
}

/// The server says whether this client may: it is asked about a connection that nobody has, which
/// it answers with 0 (as SKIPME, the default, does for the client itself).
bool ClientSession::do_client_kill(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    int64_t id = 0;
    const bool ours = worker_.state().sharing && frame.argc == 4 &&
                      resp::is_word(frame.args[2], "ID") && resp::parse_int(frame.args[3], id) &&
                      id >= kFirstVirtualId;
    if (!ours) return use_lease(row, frame, 0, Job::forward, Kind::plain, true);
    std::string text;
    resp::append_command(text, "CLIENT", "KILL", "ID",
                         std::to_string(std::numeric_limits<int64_t>::max()));
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    if (!use_either(row, changed, Job::watched, Kind::client_kill)) return false;
    asked_id_ = id;
    await_ = outstanding_ > 0;
    return true;
}

void ClientSession::after_client_kill(std::string_view reply) {
    ProcessState& state = worker_.state();
    const bool killed = reply == ":0\r\n" && asked_id_ != virtual_id_ && state.ids.known(asked_id_);
    worker_.to_client(*this, killed ? ":1\r\n" : reply);
    if (!killed) return;
    if (ClientSession* session = worker_.find_session(asked_id_); session != nullptr) {
        worker_.end_session(*session, CloseMode::now);
    } else {
        state.ids.ask_kill(asked_id_);
    }
}

bool ClientSession::do_client_unblock(const resp::CommandRow& row,
                                      const resp::RequestFrame& frame) {
    int64_t id = 0;
    if (!worker_.state().sharing || frame.argc < 3 || frame.argc > 4 ||
        !resp::parse_int(frame.args[2], id) || id < kFirstVirtualId) {
        return use_either(row, frame, Job::forward, Kind::plain);
    }
    const std::string real = std::to_string(worker_.state().ids.real(id, home()));
    std::string text;
    if (frame.argc == 4) {
        resp::append_command(text, "CLIENT", "UNBLOCK", real, frame.args[3]);
    } else {
        resp::append_command(text, "CLIENT", "UNBLOCK", real);
    }
    const bool with_error = frame.argc == 4 && resp::is_word(frame.args[3], "ERROR");
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    if (!use_either(row, changed, Job::watched, Kind::client_unblock)) return false;
    asked_id_ = id;
    asked_wake_ = with_error ? Wake::error : Wake::timeout;
    await_ = outstanding_ > 0;
    return true;
}

/// Who does not wait on the server may wait here.
void ClientSession::after_client_unblock(std::string_view reply) {
    VirtualIds& ids = worker_.state().ids;
    const bool woken = reply == ":0\r\n" && ids.ask_wake(asked_id_, asked_wake_);
    worker_.to_client(*this, woken ? ":1\r\n" : reply);
    if (!woken) return;
    if (ClientSession* session = worker_.find_session(asked_id_); session != nullptr)
        session->wake(ids.take_wake(asked_id_));
}

bool ClientSession::do_client_pause(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    if (!use_lease(row, frame, 0, Job::watched, Kind::client_pause, false)) return false;
    note_pause(frame);  // before the server can know of it
    return true;
}

void ClientSession::note_pause(const resp::RequestFrame& frame) {
    int64_t span_ms = 0;
    if (frame.indexed < 3 || !resp::parse_int(frame.args[2], span_ms)) return;
    span_ms = std::clamp<int64_t>(span_ms, 0, limits::kClientPause_ms_max);
    auto& until = worker_.state().writes_paused_until_us;
    until.store(std::max(until.load(), worker_.io().now_us() + span_ms * 1000));
}

/// The text of a bulk or verbatim reply with the ids that clients know.
std::string ClientSession::with_virtual_ids(const BackendLink& link, std::string_view frame) const {
    const auto head = frame.find('\n');
    if (head == std::string_view::npos || (frame[0] != '$' && frame[0] != '=') ||
        frame.size() < head + 3) {
        return std::string(frame);
    }
    auto known = worker_.state().ids.by_real(link.key.side);
    if (link.owner == this) known[link.real_id] = virtual_id_;
    std::string_view left = frame.substr(head + 1, frame.size() - head - 3);
    std::string text;
    while (!left.empty()) {
        const std::string_view line =
            left.substr(0, std::min(left.find('\n'), left.size() - 1) + 1);
        left.remove_prefix(line.size());
        const auto at = line.find("id=");
        const auto end = line.find(' ', at);
        int64_t id = 0;
        const auto found = at != std::string_view::npos && end != std::string_view::npos &&
                                   resp::parse_int(line.substr(at + 3, end - at - 3), id)
                               ? known.find(id)
                               : known.end();
        if (found == known.end()) {
            text += line;
            continue;
        }
        text += line.substr(0, at + 3);
        text += std::to_string(found->second);
        text += line.substr(end);
    }
    return std::string(1, frame[0]) + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

/// A reply that names whom invalidations are redirected to, with the id that this client named: the
/// server goes on naming its own when that client is gone.
std::string ClientSession::with_virtual_redirect(std::string_view frame) const {
    constexpr std::string_view kField = "$8\r\nredirect\r\n:";
    const auto field = frame.find(kField);
    const std::size_t at = frame.starts_with(':')            ? 1
                           : field != std::string_view::npos ? field + kField.size()
                                                             : frame.size();
    const auto end = frame.find('\r', at);
    int64_t real = 0;
    std::vector<std::string_view> words;
    if (end == std::string_view::npos || !resp::parse_int(frame.substr(at, end - at), real) ||
        real <= 0 || !resp::split_arguments(tracking_, words))
        return std::string(frame);
    for (std::size_t i = 3; i + 1 < words.size(); ++i) {
        if (!resp::is_word(words[i], "REDIRECT")) continue;
        std::string text(frame.substr(0, at));
        text += words[i + 1];
        text += frame.substr(end);
        return text;
    }
    return std::string(frame);
}

/// A CLIENT TRACKING as a server shall see it: whom invalidations go to by that server's own id.
/// One that has no connection there becomes 0, which the server refuses as nobody's.
std::string ClientSession::with_real_redirect(std::string_view request, Side side) const {
    std::vector<std::string_view> args;
    if (!resp::split_arguments(request, args)) return std::string(request);
    std::vector<std::string> words(args.begin(), args.end());
    for (std::size_t i = 3; i + 1 < words.size(); ++i) {
        int64_t id = 0;
        if (!resp::is_word(words[i], "REDIRECT") || !resp::parse_int(words[i + 1], id) ||
            id < kFirstVirtualId)
            continue;
        words[i + 1] = std::to_string(worker_.state().ids.real(id, side));
    }
    std::string text;
    resp::append_command(text, std::span<const std::string>(words));
    return text;
}

}  // namespace exodus::redis
