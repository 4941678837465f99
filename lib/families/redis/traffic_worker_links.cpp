// Backend connections of a worker: dialling, our own login, sharing, leasing, and what follows when
// one is lost.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "families/redis/canary_limits.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

std::string unreachable_text(Side side) {
    return "-ERR exodus: " + std::string(to_string(side)) + " is unreachable\r\n";
}

}  // namespace

bool append_login(std::string& out, const ClientLogin& login) {
    if (login.user.empty() && login.password.empty()) return false;
    if (login.user.empty()) {
        resp::append_command(out, "AUTH", login.password.reveal());
    } else {
        resp::append_command(out, "AUTH", login.user, login.password.reveal());
    }
    return true;
}

SharedSlot* TrafficWorker::slot(const LinkKey& key) {
    auto& slots = key.shadow ? shadow_slots_ : slots_;
    for (const auto& entry : slots) {
        if (entry->key == key) return entry.get();
    }
    slots.push_back(std::make_unique<SharedSlot>());
    slots.back()->key = key;
    slots.back()->used_us = io_.now_us();
    return slots.back().get();
}

BackendLink* TrafficWorker::shared_link(SharedSlot& slot) {
    BackendLink* first = slot.links[0];
    if (first == nullptr) {
        if (slot.links[1] != nullptr) {
            std::swap(slot.links[0], slot.links[1]);
            return slot.links[0];
        }
        first = slot.links[0] = dial(slot.key, BackendLink::Role::shared, false);
        if (first != nullptr) first->slot = &slot;
        return first;
    }
    if (first->fifo.size() < limits::kRedisSharedDepth) return first;
    BackendLink* second = slot.links[1];
    if (second == nullptr) {
        second = slot.links[1] = dial(slot.key, BackendLink::Role::shared, false);
        if (second != nullptr) second->slot = &slot;
    }
    const bool better = second != nullptr && second->state == BackendLink::State::ready &&
                        second->fifo.size() < first->fifo.size();
    return better ? second : first;
}

BackendLink* TrafficWorker::lease(const LinkKey& key, ClientSession& owner, bool raw) {
    if (!raw) {
        for (std::size_t i = idle_.size(); i-- > 0;) {
            BackendLink* link = idle_[i];
            if (link->key != key || link->state != BackendLink::State::ready) continue;
            idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
            link->role = BackendLink::Role::leased;
            link->owner = &owner;
            return link;
        }
    }
    BackendLink* link = dial(key, BackendLink::Role::leased, raw);
    if (link != nullptr) link->owner = &owner;
    return link;
}

BackendLink* TrafficWorker::dial(const LinkKey& key, BackendLink::Role role, bool raw) {
    SideHealth& health =
        (key.shadow ? shadow_health_ : health_)[static_cast<std::size_t>(key.side)];
    if (health.retry_at_us > io_.now_us()) return nullptr;
    const ConnId conn = io_.dial(key.side);
    auto link = std::make_unique<BackendLink>();
    link->conn = conn;
    link->key = key;
    link->role = role;
    link->raw = raw;
    // A lease streams early, because its client's reading can stop it; a shared one must not be
    // stopped.
    resp::ReplyLimits reply_limits;
    reply_limits.stream_above_bytes = role == BackendLink::Role::leased
                                          ? limits::kReadChunk_bytes
                                          : limits::kRedisSharedReply_bytes_max;
    link->scanner.set_limits(reply_limits);
    BackendLink* out = link.get();
    peers_[static_cast<uint64_t>(conn)] = Peer{nullptr, out};
    links_[static_cast<uint64_t>(conn)] = std::move(link);
    return out;
}

void TrafficWorker::expect_login(BackendLink& link, Job job) {
    Expected entry;
    entry.job = job;
    entry.sent_us = io_.now_us();
    link.fifo.push(entry);
    ++link.login_left;
}

void TrafficWorker::log_in(BackendLink& link) {
    link.state = BackendLink::State::login;
    link.login_left = 0;
    link.selected_for = false;
    if (link.raw) return became_ready(link);
    std::string out;
    const auto login = state_.login_for(link.key.side, link.key.identity);
    if (!login) {
        link.login_error = "-NOAUTH exodus: this login is not valid any more\r\n";
        return login_failed(link);
    }
    const bool credentials = append_login(out, *login);
    if (credentials) expect_login(link, Job::login);
    if (link.key.resp == 3) {
        resp::append_command(out, "HELLO", "3");
        expect_login(link, Job::login);
    }
    if (link.key.database != 0) {
        resp::append_command(out, "SELECT", std::to_string(link.key.database));
        expect_login(link, credentials ? Job::login_select : Job::login);
    }
    if (link.role == BackendLink::Role::leased && state_.sharing) {
        resp::append_command(out, "CLIENT", "ID");
        expect_login(link, Job::login_id);
    }
    if (!credentials && !link.key.shadow) {
        // Whether a login is wanted decides which limits hold for clients without one.
        resp::append_command(out, "PING");
        expect_login(link, Job::login_rule);
    }
    if (link.login_left == 0) return became_ready(link);
    io_.send(link.conn, out);
    std::fill(out.begin(), out.end(), '\0');
}

/// The client may not SELECT: it came to its database before it logged in, as any client of a
/// server can. So our own user (the default one, if we have none) selects, and the client is logged
/// in again behind it; when that fails the connection is closed. False: that was tried already.
bool TrafficWorker::select_for_client(BackendLink& link) {
    const auto own = state_.login_for(link.key.side, kService);
    const auto login = state_.login_for(link.key.side, link.key.identity);
    if (!own || !login || std::exchange(link.selected_for, true)) return false;
    std::string out;
    // A default user without password takes any.
    if (!append_login(out, *own)) resp::append_command(out, "AUTH", "default", "none");
    expect_login(link, Job::login_own);
    resp::append_command(out, "SELECT", std::to_string(link.key.database));
    expect_login(link, Job::login_select);
    append_login(out, *login);
    expect_login(link, Job::login);
    io_.send(link.conn, out);
    std::fill(out.begin(), out.end(), '\0');
    return true;
}

void TrafficWorker::login_done(BackendLink& link) {
    if (--link.login_left != 0 || link.state != BackendLink::State::login) return;
    if (!link.login_error.empty()) return login_failed(link);
    became_ready(link);
}

void TrafficWorker::login_failed(BackendLink& link) {
    // Only the authority decides who exists: a user that the other side lacks is a finding of
    // ready_for, and its clients go on.
    if (link.key.identity > kService && link.key.side == route_.writes &&
        link.login_error.starts_with("-WRONGPASS")) {
        state_.identities.forget(link.key.identity);
        count("identities_dropped");
    }
    close_link(link);
}

void TrafficWorker::became_ready(BackendLink& link) {
    link.state = BackendLink::State::ready;
    (link.key.shadow ? shadow_health_ : health_)[static_cast<std::size_t>(link.key.side)] =
        SideHealth{};
    if (link.role == BackendLink::Role::leaving) return close_link(link);
    if (link.role == BackendLink::Role::idle) {
        link.idle_since_us = io_.now_us();
        return;
    }
    std::vector<ClientSession*> waiters;
    waiters.swap(link.waiters);
    for (ClientSession* session : waiters) session->on_wait_over(link, {});
}

void TrafficWorker::wait_for(BackendLink& link, ClientSession& session) {
    if (std::find(link.waiters.begin(), link.waiters.end(), &session) == link.waiters.end()) {
        link.waiters.push_back(&session);
    }
}

void TrafficWorker::wait_retry(ClientSession& session) {
    if (std::find(retry_.begin(), retry_.end(), &session) == retry_.end())
        retry_.push_back(&session);
    arm_tick();
}

void TrafficWorker::stop_waiting(ClientSession& session) {
    std::erase(retry_, &session);
    for (auto& [id, link] : links_) std::erase(link->waiters, &session);
    replica_waits_.remove(session);
}

bool TrafficWorker::given_up(Side side) const {
    const SideHealth& health = health_[static_cast<std::size_t>(side)];
    return health.failed_since_us != 0 &&
           io_.now_us() - health.failed_since_us > limits::kBackendConnect_ms * 1000;
}

bool TrafficWorker::hangs(const BackendLink& link) const {
    return !link.fifo.empty() &&
           io_.now_us() - link.fifo.front().sent_us > limits::kCanaryAnswer_us_max;
}

void TrafficWorker::close_link(BackendLink& link) { io_.close(link.conn, CloseMode::now); }

void TrafficWorker::retire(BackendLink& link) {
    if (link.slot != nullptr) {
        for (BackendLink*& entry : link.slot->links) {
            if (entry == &link) entry = nullptr;
        }
        link.slot = nullptr;
    }
    link.role = BackendLink::Role::leaving;
    if (link.fifo.empty()) close_link(link);
}

void TrafficWorker::give_back(BackendLink& link) {
    link.owner = nullptr;
    const bool usable = link.state == BackendLink::State::ready && link.fifo.empty() &&
                        !link.partial_request && !link.opaque && !link.tracked && link.reading &&
                        state_.sharing && idle_.size() < limits::kRedisIdleLeases_max;
    if (!usable) return discard(link);
    link.role = BackendLink::Role::idle;
    link.idle_since_us = io_.now_us();
    idle_.push_back(&link);
    if (!link.dirty) return;
    // RESET takes the login away as well, so it is done again (Redis 6.2; older servers answer with
    // an error: closed).
    link.dirty = false;
    link.name.clear();
    link.monitor = false;
    link.subscribed = 0;
    std::string out;
    resp::append_command(out, "RESET");
    Expected entry;
    entry.job = Job::login;
    link.fifo.push(entry);
    io_.send(link.conn, out);
    link.raw = false;
    log_in(link);
    ++link.login_left;
    if (link.state == BackendLink::State::ready) link.state = BackendLink::State::login;
}

void TrafficWorker::discard(BackendLink& link) {
    link.owner = nullptr;
    link.role = BackendLink::Role::leaving;
    std::erase(idle_, &link);
    bool endless = link.partial_request || link.opaque || link.monitor ||
                   link.state != BackendLink::State::ready;
    for (std::size_t i = 0; i < link.fifo.size(); ++i) {
        endless = endless || (link.fifo[i].flags & expects::kBlocking) != 0;
    }
    if (link.fifo.empty() || endless) return close_link(link);
    if (!link.reading) {
        link.reading = true;
        io_.set_reading(link.conn, true);
    }
}

void TrafficWorker::lost(BackendLink& link, CloseReason reason) {
    if (link.slot != nullptr) {
        for (BackendLink*& entry : link.slot->links) {
            if (entry == &link) entry = nullptr;
        }
    }
    std::erase(idle_, &link);
    if (reply_to_ != nullptr) flush_replies();
    SideHealth& health =
        (link.key.shadow ? shadow_health_ : health_)[static_cast<std::size_t>(link.key.side)];
    const bool never_ready = link.state != BackendLink::State::ready;
    if (never_ready && reason != CloseReason::local) {
        const int64_t now = io_.now_us();
        if (health.failed_since_us == 0) health.failed_since_us = now;
        health.pause_us = health.pause_us == 0
                              ? limits::kRedisRetryFirst_us
                              : std::min(health.pause_us * 2, limits::kRedisRetryLast_us);
        health.retry_at_us = now + health.pause_us;
        arm_tick();
    }
    // What comes back may be another version with other commands.
    if (!never_ready && reason != CloseReason::local) state_.commands.ask(link.key.side);
    if (!never_ready && reason != CloseReason::local && link.key.side == Side::target)
        target_doubt_until_us_ = io_.now_us() + limits::kCanaryDoubt_us;
    writes_in_flight_ -= link.silent_writes;
    link.silent_writes = 0;
    bool streaming = link.streaming;
    while (!link.fifo.empty()) {
        Expected entry = link.fifo.front();
        link.fifo.pop();
        if ((entry.flags & expects::kWrite) != 0) --writes_in_flight_;
        if (entry.job == Job::replicas) replica_waits_.poll_lost(link.key.side);
        drop_pair(entry);
        if (entry.session != nullptr) {
            if ((entry.flags & expects::kCounted) != 0) entry.session->take_answer();
            entry.session->on_lost(link, entry, streaming);
        }
        streaming = false;
    }
    std::string text = link.login_error;
    if (text.empty() && never_ready && given_up(link.key.side))
        text = unreachable_text(link.key.side);
    std::vector<ClientSession*> waiters;
    waiters.swap(link.waiters);
    ClientSession* owner = link.owner;
    link.owner = nullptr;
    link.role = BackendLink::Role::leaving;
    if (owner != nullptr) owner->on_lease_lost(link, text);
    for (ClientSession* session : waiters) {
        if (!session->dead()) session->on_wait_over(link, text);
    }
}

void TrafficWorker::expire_idle(int64_t now_us) {
    for (std::size_t i = idle_.size(); i-- > 0;) {
        BackendLink* link = idle_[i];
        if (now_us - link->idle_since_us < limits::kRedisIdleLease_us) continue;
        discard(*link);
    }
}

/// Each is a login on a server: without this those of clients that went away stayed for ever. Our
/// own stay. No session can hold the slot: ClientSession::tick() has just said which it uses.
void TrafficWorker::expire_unused(std::vector<std::unique_ptr<SharedSlot>>& slots, int64_t now_us) {
    std::erase_if(slots, [&](const std::unique_ptr<SharedSlot>& slot) {
        if (slot->key.identity == kService ||
            now_us - slot->used_us < limits::kRedisUnusedShared_us)
            return false;
        for (BackendLink* link : slot->links) {
            if (link != nullptr) retire(*link);
        }
        return true;
    });
}

void TrafficWorker::clean_session_from(BackendLink& link, const ClientSession& session) {
    for (std::size_t i = 0; i < link.fifo.size(); ++i) {
        if (link.fifo[i].session == &session) link.fifo[i].session = nullptr;
    }
    if (link.owner == &session) link.owner = nullptr;
}

}  // namespace exodus::redis
