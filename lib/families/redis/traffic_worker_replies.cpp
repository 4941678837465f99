// Replies: framing, pairing with what was asked, delivery to clients in runs, and the comparison of
// mirrored reads.
#include <algorithm>

#include "base/limits.h"
#include "families/redis/normalizer.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

/// First element of a push or array reply, lower case as servers send it; empty when it is no short
/// bulk string.
std::string_view first_element(std::string_view frame) {
    const auto line = frame.find('\n');
    if (line == std::string_view::npos || line + 2 >= frame.size() || frame[line + 1] != '$')
        return {};
    const auto second = frame.find('\n', line + 1);
    if (second == std::string_view::npos || second - line > 5) return {};
    const std::string_view digits = frame.substr(line + 2, second - line - 3);
    std::size_t size = 0;
    for (const char c : digits) {
        if (c < '0' || c > '9') return {};
        size = size * 10 + static_cast<std::size_t>(c - '0');
    }
    return second + 1 + size <= frame.size() ? frame.substr(second + 1, size) : std::string_view{};
}

bool is_confirmation(std::string_view element) {
    return element.ends_with("subscribe") && element.size() <= 12;
}

bool is_message(std::string_view element) {
    return element == "message" || element == "pmessage" || element == "smessage";
}

}  // namespace

void TrafficWorker::on_backend_bytes(BackendLink& link, std::string_view bytes) {
    if (link.opaque) {
        if (link.owner != nullptr) to_client(*link.owner, bytes);
        return;
    }
    feed_ = bytes;
    link.scanner.feed(bytes);
    for (;;) {
        switch (link.scanner.next()) {
            case resp::ReplyEvent::need_more:
                flush_replies();
                if (link.role == BackendLink::Role::leaving && link.fifo.empty()) close_link(link);
                return;
            case resp::ReplyEvent::frame:
                on_frame(link, link.scanner.frame());
                break;
            case resp::ReplyEvent::head:
                on_large_reply(link, link.scanner.frame());
                break;
            case resp::ReplyEvent::body:
                on_reply_piece(link, link.scanner.piece(), link.scanner.last_piece());
                break;
            case resp::ReplyEvent::error:
                flush_replies();
                protocol_error("malformed_reply");
                close_link(link);
                return;
        }
        if (link.opaque) {
            flush_replies();
            if (link.owner != nullptr && link.scanner.unread_bytes() != 0) {
                to_client(*link.owner, link.scanner.unread());
            }
            return;
        }
    }
}

bool TrafficWorker::answers_nothing(BackendLink& link, const resp::ReplyFrame& frame) {
    if (link.role == BackendLink::Role::shared || link.owner == nullptr) return frame.is_push();
    if (frame.is_push()) return true;
    if (link.monitor && frame.type == '+' && frame.value.size() > 2 && frame.value[1] >= '0' &&
        frame.value[1] <= '9') {
        return true;
    }
    if (link.subscribed != 0 && frame.type == '*' && is_message(first_element(frame.value)))
        return true;
    return link.fifo.empty();
}

bool TrafficWorker::confirmation(BackendLink& link, const resp::ReplyFrame& frame) {
    if (frame.type != '>' && frame.type != '*') return false;
    if (link.fifo.empty() || link.fifo.front().job != Job::confirm) return false;
    const std::string_view element = first_element(frame.value);
    if (!is_confirmation(element)) return false;
    const bool unsubscribe = element.find("unsub") != std::string_view::npos;
    if (unsubscribe) {
        if (link.subscribed != 0) --link.subscribed;
    } else {
        ++link.subscribed;
    }
    Expected& entry = link.fifo.front();
    const bool counted = (entry.flags & expects::kCounted) != 0;
    if (counted && entry.session != nullptr) put_reply(*entry.session, frame.bytes);
    if (--entry.more == 0) finish(link, frame.bytes.size(), frame.type);
    return true;
}

void TrafficWorker::on_frame(BackendLink& link, const resp::ReplyFrame& frame) {
    if (confirmation(link, frame)) return;
    if (answers_nothing(link, frame)) [[unlikely]] {
        if (link.owner != nullptr && link.owner->wants_push(link, frame.value))
            put_reply(*link.owner, frame.bytes);
        return;
    }
    if (link.fifo.empty()) [[unlikely]] {
        if (link.state != BackendLink::State::ready && frame.is_error()) {
            link.login_error.assign(
                frame.value);  // "max number of clients reached", before anything was asked
            return;
        }
        if (link.role == BackendLink::Role::leaving) return;
        protocol_error("unexpected_reply");
        close_link(link);
        return;
    }
    Expected& entry = link.fifo.front();
    const bool error = frame.is_error();
    if (entry.job == Job::forward) [[likely]] {
        if (entry.pair != kNoPair) pair_bytes(entry, frame.bytes);
        if (link.key.identity == kAnonymous && !link.raw &&
            (error || login_required(link.key.side)))
            learn_login_rule(link, entry, frame);
        if (entry.session != nullptr) put_reply(*entry.session, frame.bytes);
        finish(link, frame.bytes.size(), frame.type);
        return;
    }
    switch (entry.job) {
        case Job::login_rule:
            state_.login_required[static_cast<std::size_t>(link.key.side)].store(
                frame.value.starts_with("-NOAUTH"));
            // Said to a new connection before it is closed.
            if (frame.value.starts_with("-ERR max number") || frame.value.starts_with("-DENIED"))
                link.login_error.assign(frame.value);
            link.fifo.pop();
            login_done(link);
            return;
        case Job::replicas:
            on_replica_info(link.key.side, frame);
            finish(link, frame.bytes.size(), frame.type);
            return;
        case Job::login:
        case Job::login_select:
        case Job::login_own:
        case Job::login_id:
            if (entry.job == Job::login_id) {
                int64_t id = 0;
                if (frame.type == ':' &&
                    resp::parse_int(frame.value.substr(1, frame.value.size() - 3), id)) {
                    link.real_id = id;
                }
                if (link.state == BackendLink::State::ready) {  // asked for later than the login
                    if (state_.sharing && link.owner != nullptr)
                        state_.ids.set_real(link.owner->virtual_id(), link.key.side, link.real_id);
                    finish(link, frame.bytes.size(), frame.type);
                    return;
                }
            } else if (error && link.login_error.empty() && entry.job != Job::login_own) {
                const bool again = entry.job == Job::login_select &&
                                   frame.value.starts_with("-NOPERM") && select_for_client(link);
                if (!again) link.login_error.assign(frame.value);
            }
            link.fifo.pop();
            login_done(link);
            return;
        case Job::confirm: {
            // The whole (un)subscribe was refused: one error instead of its confirmations.
            ClientSession* session = entry.session;
            if (session != nullptr && (entry.flags & expects::kCounted) != 0)
                put_reply(*session, frame.bytes);
            finish(link, frame.bytes.size(), frame.type);
            return;
        }
        case Job::watched: {
            flush_replies();
            const Expected copy = entry;
            ClientSession* session = entry.session;
            if (session != nullptr) {
                const std::string_view bytes = frame.bytes;
                const char type = frame.type;
                finish(link, bytes.size(), type);
                session->on_watched(link, copy, bytes, type, true);
                session->answered();
            } else {
                finish(link, frame.bytes.size(), frame.type);
            }
            return;
        }
        case Job::mirror:
            pair_bytes(entry, frame.bytes);
            finish(link, frame.bytes.size(), frame.type);
            return;
        case Job::unblock: {
            ClientSession* session = entry.session;
            finish(link, frame.bytes.size(), frame.type);
            if (session != nullptr) session->on_unblock_result();
            return;
        }
        case Job::swallow:
        case Job::forward:
            finish(link, frame.bytes.size(), frame.type);
            return;
    }
}

void TrafficWorker::on_large_reply(BackendLink& link, const resp::ReplyFrame& frame) {
    link.streaming = true;
    link.streamed_bytes = frame.bytes.size();
    link.streamed_type = frame.type;
    if (link.fifo.empty() || frame.is_push() || answers_nothing(link, frame)) {
        // A push too large to keep: only the owner of a lease can get one.
        if (link.owner != nullptr) put_reply(*link.owner, frame.bytes);
        flush_replies();
        if (!link.fifo.empty() || link.owner == nullptr) {
            protocol_error("large_push");
            close_link(link);
        }
        return;
    }
    Expected& entry = link.fifo.front();
    if (entry.pair != kNoPair) drop_pair(entry);
    if (entry.job == Job::watched) {
        if (entry.session != nullptr)
            entry.session->on_watched(link, entry, frame.bytes, frame.type, false);
        entry.job = Job::forward;
    }
    if (entry.session == nullptr || entry.job != Job::forward) return;
    if (link.role == BackendLink::Role::shared) {
        // Nobody new behind it, and its session takes a connection of its own for a while.
        entry.session->slow_until(io_.now_us() + limits::kRedisSlowLease_us);
        retire(link);
    }
    put_reply(*entry.session, frame.bytes);
    flush_replies();
}

void TrafficWorker::on_reply_piece(BackendLink& link, std::string_view piece, bool last) {
    if (link.fifo.empty()) {
        if (link.owner != nullptr) {
            put_reply(*link.owner, piece);
            flush_replies();
        }
        if (last) link.streaming = false;
        return;
    }
    link.streamed_bytes += piece.size();
    Expected& entry = link.fifo.front();
    if (entry.session != nullptr && entry.job == Job::forward) {
        put_reply(*entry.session, piece);
        flush_replies();
    }
    if (last) {
        link.streaming = false;
        finish(link, link.streamed_bytes, link.streamed_type);
    }
}

void TrafficWorker::finish(BackendLink& link, std::size_t reply_bytes, char type) {
    const Expected entry = link.fifo.front();
    link.fifo.pop();
    if (link.silent_writes != 0) [[unlikely]] {
        writes_in_flight_ -= link.silent_writes;
        link.silent_writes = 0;
        if (entry.session != nullptr) entry.session->wrote(io_.now_us());
    }
    const int64_t now = io_.now_us();
    if ((entry.flags & expects::kWrite) != 0) {
        --writes_in_flight_;
        if (entry.session != nullptr) entry.session->wrote(now);
    }
    if ((entry.flags & expects::kAskAgain) != 0 && entry.session != nullptr) {
        ++canary_answered_;
        entry.session->take_asked();
    }
    const auto latency = static_cast<uint64_t>(std::max<int64_t>(now - entry.sent_us, 0));
    auto& answered = answered_us_[link.key.side == Side::target ? 1 : 0];
    if (entry.job == Job::mirror) {
        answered[0].record(latency);
        if (entry.row != nullptr) stats_of(*entry.row).shadow_latency_us.record(latency);
    } else if ((entry.flags & expects::kCounted) != 0) {
        CommandStats& stats = stats_of(*entry.row);
        ++stats.requests;
        stats.errors += type == '-' || type == '!' ? 1 : 0;
        stats.bytes_in += entry.request_bytes;
        stats.bytes_out += reply_bytes;
        stats.latency_us.record(latency);
        // How long a blocking command waits says nothing about the server.
        if ((entry.row->flags & resp::flag::kBlocking) == 0)
            answered[stats.is_write ? 1 : 0].record(latency);
        if (entry.prefix != 0) [[unlikely]]
            profile_.on_answer(entry.prefix, *entry.row, latency, type, reply_bytes);
    }
    if (entry.pair != kNoPair) pair_done(entry.pair, entry.job != Job::mirror);
    if ((entry.flags & expects::kCounted) != 0 && entry.session != nullptr) {
        entry.session->take_answer();
        if (entry.job != Job::watched) entry.session->answered();
    }
    if (link.role == BackendLink::Role::leaving && link.fifo.empty() && !link.streaming) {
        flush_replies();
        close_link(link);
    }
}

// --- to clients
// ------------------------------------------------------------------------------------------------------

void TrafficWorker::put_reply(ClientSession& session, std::string_view bytes) {
    if (reply_to_ == &session && reply_run_.data() + reply_run_.size() == bytes.data()) {
        reply_run_ = {reply_run_.data(), reply_run_.size() + bytes.size()};
        return;
    }
    flush_replies();
    reply_to_ = &session;
    reply_run_ = bytes;
    // Bytes that the scanner keeps itself are only valid until its next step.
    const bool in_feed =
        bytes.data() >= feed_.data() && bytes.data() + bytes.size() <= feed_.data() + feed_.size();
    if (!in_feed) flush_replies();
}

void TrafficWorker::flush_replies() {
    ClientSession* session = reply_to_;
    if (session == nullptr) return;
    reply_to_ = nullptr;
    to_client(*session, reply_run_);
    reply_run_ = {};
}

void TrafficWorker::to_client(ClientSession& session, std::string_view bytes) {
    if (session.dead() || bytes.empty()) return;
    bytes_to_clients_ += bytes.size();
    io_.send(session.conn(), bytes);
    if (io_.unsent_bytes(session.conn()) > limits::kHighWater_bytes) [[unlikely]]
        check_reader(session);
}

void TrafficWorker::check_reader(ClientSession& session) {
    const std::size_t unsent = io_.unsent_bytes(session.conn());
    session.slow_until(io_.now_us() + limits::kRedisSlowLease_us);
    BackendLink* link = session.link();
    if (unsent > limits::kRedisUnread_bytes_max) {
        count("slow_readers_closed");
        end_session(session, CloseMode::now);
        return;
    }
    if (link == nullptr || !link->reading) return;
    const bool alone = link->role == BackendLink::Role::leased;
    if (!alone && !link->streaming)
        return;  // small replies on a shared connection: bounded by what is unanswered
    link->reading = false;
    link->stalled_since_us = alone ? 0 : io_.now_us();
    io_.set_reading(link->conn, false);
    arm_tick();
}

// --- mirror
// ----------------------------------------------------------------------------------------------------------

BackendLink* TrafficWorker::shadow_link(Side side, const LinkKey& like) {
    LinkKey key = like;
    key.side = side;
    key.shadow = true;
    SharedSlot& shadow = *slot(key);
    shadow.used_us = io_.now_us();
    BackendLink* link = shared_link(shadow);
    return link != nullptr && link->state == BackendLink::State::ready ? link : nullptr;
}

void TrafficWorker::mirror(BackendLink& link, Expected& entry, const resp::CommandRow& row,
                           std::string_view request) {
    const bool aa = roll(route_.aa_percent);
    if (!aa && !roll(route_.mirror_percent)) return;
    CommandStats& stats = stats_of(row);
    if (!aa) ++stats.mirrored;
    BackendLink* second = shadow_stuck_ && !aa
                              ? nullptr
                              : shadow_link(aa ? link.key.side : other(link.key.side), link.key);
    const bool room = second != nullptr && pairs_.has_room(request.size()) &&
                      io_.unsent_bytes(second->conn) + request.size() <= limits::kShadowQueue_bytes;
    if (!room) {
        ++shadow_dropped_;
        if (!aa) ++stats.not_comparable;
        return;
    }
    const uint32_t pair = pairs_.open(row, request, link.key.database, link.key.resp, aa,
                                      io_.now_us(), io_.wall_now_us());
    entry.pair = pair;
    Expected twin;
    twin.row = &row;
    twin.sent_us = io_.now_us();
    twin.job = Job::mirror;
    twin.pair = pair;
    expect(*second, twin);
    send(*second, request);
}

void TrafficWorker::pair_bytes(Expected& entry, std::string_view bytes) {
    if (entry.pair == kNoPair) return;
    pairs_.add(entry.pair, entry.job != Job::mirror, bytes);
}

void TrafficWorker::drop_pair(Expected& entry) {
    if (entry.pair == kNoPair) return;
    pairs_.drop(entry.pair);
    pair_done(entry.pair, entry.job != Job::mirror);
    entry.pair = kNoPair;
}

void TrafficWorker::pair_done(uint32_t index, bool left) {
    ShadowPairs::Pair& pair = pairs_.at(index);
    (left ? pair.left_wall_us : pair.right_wall_us) = io_.wall_now_us();
    if (!pairs_.done(index, left)) return;
    CommandStats& stats = stats_of(*pair.row);
    if (pair.aa) ++stats.aa_pairs;
    if (pair.dropped) {
        ++shadow_dropped_;
        if (!pair.aa) ++stats.not_comparable;
    } else if (pair.left == pair.right || reply_digest(pair.left) == reply_digest(pair.right)) {
        if (!pair.aa) ++stats.equal;
    } else {
        ExchangePair out;
        out.command = std::string(pair.row->name);
        out.request = pair.request;
        out.left = pair.left;
        out.right = pair.right;
        out.database = pair.database;
        out.left_protocol = out.right_protocol = pair.protocol;
        out.aa = pair.aa;
        out.sent_us = pair.sent_wall_us;
        out.left_us = pair.left_wall_us;
        out.right_us = pair.right_wall_us;
        if (!io_.compare(std::move(out))) {
            ++comparator_dropped_;
            if (!pair.aa) {
                ++stats.not_comparable;
                ++stats.comparator_dropped;
            }
        } else if (pair.aa) {
            ++stats.aa_unequal;
        } else {
            ++stats.candidates;
        }
    }
    pairs_.free(index);
}

void TrafficWorker::drop_shadow() {
    // A shadow that does not answer within its age gets nothing more, and what it owes is given up.
    bool stuck = false;
    const int64_t oldest = io_.now_us() - limits::kShadowAge_us_max;
    for (auto& [id, link] : links_) {
        if (!link->key.shadow || link->fifo.empty() || link->fifo.front().sent_us > oldest)
            continue;
        if (link->fifo.front().job != Job::mirror) continue;
        stuck = true;
        for (std::size_t i = 0; i < link->fifo.size() && link->fifo[i].sent_us <= oldest; ++i) {
            drop_pair(link->fifo[i]);
        }
    }
    shadow_stuck_ = stuck;
}

}  // namespace exodus::redis
