// Requests that may have to be sent again or changed: scripts, cursors, blocking commands,
// subscriptions.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/digest.h"
#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

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
        if (!use_lease(row, frame, 0, Job::watched, kind, false)) return false;
        if (outstanding_ > 0) {
            script_request_.assign(frame.bytes);
            await_ = true;
        }
        return true;
    }
    if (row.connection == resp::ConnectionClass::leased_until_done)
        return use_lease(row, frame, 0, Job::forward, Kind::plain, false);
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

/// False when it stopped before the end; what is left goes first the next time.
bool ClientSession::dispatch_reissue() {
    std::string work;
    work.swap(reissue_);
    resp::RequestScanner scanner;
    scanner.feed(work);
    for (;;) {
        resp::RequestEvent event = scanner.next();
        if (event == resp::RequestEvent::head) {
            scanner.keep_whole(limits::kRedisMultiQueue_bytes);
            event = scanner.next();
        }
        if (event != resp::RequestEvent::frame || dead_ || closing_) return true;
        const bool done = dispatch(scanner.frame());
        flush_run();
        if (done) continue;
        reissue_ = scanner.frame().bytes;
        reissue_ += scanner.unread();
        return false;
    }
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
    // A connection that its client logged in itself has not told its id yet: without it nobody
    // could wake what is parked on it.
    if (!silent && link_->real_id == 0)
        swallow(*link_, "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n", 1, Job::login_id);
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

}  // namespace exodus::redis
