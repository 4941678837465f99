#include "families/redis/traffic_worker.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/limits.h"

namespace exodus::redis {

TrafficWorker::TrafficWorker(ProcessState& state, WorkerIo& io)
    : state_(state),
      io_(io),
      limits_held_(limits::kRedisHeld_bytes_max),
      commands_(state.commands) {}

TrafficWorker::~TrafficWorker() = default;

// --- events
// ----------------------------------------------------------------------------------------------------------

void TrafficWorker::on_accept(ConnId client, const ClientInfo& info) {
    ++clients_total_;
    auto session =
        std::make_unique<ClientSession>(*this, client, state_.ids.open(), !state_.sharing);
    if (state_.maps) session->on_certificate(info.tls_subject);
    peers_[static_cast<uint64_t>(client)] = Peer{session.get(), nullptr};
    sessions_[static_cast<uint64_t>(client)] = std::move(session);
    arm_tick();
    if (draining_) io_.close(client, CloseMode::now);
}

void TrafficWorker::on_connected(ConnId backend) {
    const auto found = peers_.find(static_cast<uint64_t>(backend));
    if (found == peers_.end() || found->second.link == nullptr) return;
    if (found->second.link->state == BackendLink::State::dialing) log_in(*found->second.link);
    run_ready();
}

void TrafficWorker::on_bytes(ConnId conn, std::string_view bytes) {
    const auto found = peers_.find(static_cast<uint64_t>(conn));
    if (found == peers_.end()) return;
    if (found->second.session != nullptr) {
        bytes_from_clients_ += bytes.size();
        found->second.session->on_bytes(bytes);
    } else {
        on_backend_bytes(*found->second.link, bytes);
    }
    run_ready();
}

void TrafficWorker::on_drained(ConnId conn) {
    const auto found = peers_.find(static_cast<uint64_t>(conn));
    if (found == peers_.end()) return;
    if (ClientSession* session = found->second.session; session != nullptr) {
        for (auto& [id, link] : links_) {
            if (link->reading || (link->owner != session &&
                                  (link->fifo.empty() || link->fifo.front().session != session))) {
                continue;
            }
            link->reading = true;
            link->stalled_since_us = 0;
            io_.set_reading(link->conn, true);
        }
    } else {
        BackendLink& link = *found->second.link;
        std::vector<ClientSession*> waiters;
        waiters.swap(link.waiters);
        for (ClientSession* waiting : waiters) run_later(*waiting);
    }
    run_ready();
}

void TrafficWorker::on_closed(ConnId conn, CloseReason reason) {
    const auto found = peers_.find(static_cast<uint64_t>(conn));
    if (found == peers_.end()) return;
    const Peer peer = found->second;
    peers_.erase(found);
    if (peer.session != nullptr) {
        peer.session->let_go();
        stop_waiting(*peer.session);
        state_.ids.close(peer.session->virtual_id());
        const auto owned = sessions_.find(static_cast<uint64_t>(conn));
        dead_sessions_.push_back(std::move(owned->second));
        sessions_.erase(owned);
    } else {
        lost(*peer.link, reason);
        const auto owned = links_.find(static_cast<uint64_t>(conn));
        dead_links_.push_back(std::move(owned->second));
        links_.erase(owned);
    }
    run_ready();
}

/// The client sends no more, and may still read: it gets what it asked for.
bool TrafficWorker::on_half_closed(ConnId conn) {
    const auto found = peers_.find(static_cast<uint64_t>(conn));
    if (found == peers_.end() || found->second.session == nullptr) return false;
    found->second.session->on_half_closed();
    run_ready();
    return true;
}

void TrafficWorker::on_timer(TimerId timer) {
    if (timer == replica_timer_) {
        replica_timer_ = TimerId::none;
        poll_replicas();
        return run_ready();
    }
    if (timer != tick_timer_) return;
    tick_timer_ = TimerId::none;
    tick();
    run_ready();
    if (!sessions_.empty() || !links_.empty()) arm_tick();
}

void TrafficWorker::on_turn_end() { run_ready(); }

void TrafficWorker::run_later(ClientSession& session) {
    if (session.queued || session.dead()) return;
    session.queued = true;
    run_.push_back(&session);
}

void TrafficWorker::run_ready() {
    // A session that goes on may make others ready; the list grows while it is walked.
    for (std::size_t i = 0; i < run_.size(); ++i) {
        ClientSession* session = run_[i];
        session->queued = false;
        if (!session->dead()) session->resume();
    }
    run_.clear();
    sweep();
}

void TrafficWorker::sweep() {
    dead_sessions_.clear();
    dead_links_.clear();
}

void TrafficWorker::arm_tick() {
    if (tick_timer_ == TimerId::none) tick_timer_ = io_.arm_timer(limits::kRedisTick_us);
}

void TrafficWorker::tick() {
    const int64_t now = io_.now_us();
    if (route_.hold && !hold_expired_ && route_.hold_deadline_ms != 0 &&
        io_.wall_now_us() / 1000 > route_.hold_deadline_ms) {
        hold_expired_ = true;
        for (auto& [id, session] : sessions_) {
            if (session->held()) run_later(*session);
        }
    }
    std::vector<ClientSession*> again;
    again.swap(retry_);
    for (ClientSession* session : again) run_later(*session);
    const bool asked = state_.ids.anything_asked();
    std::vector<ClientSession*> ending;
    for (auto& [id, session] : sessions_) {
        session->tick(now);
        if (!asked) continue;
        if (state_.ids.take_kill(session->virtual_id())) ending.push_back(session.get());
        session->wake(state_.ids.take_wake(session->virtual_id()));
    }
    for (ClientSession* session : ending) end_session(*session, CloseMode::now);
    drop_shadow();
    for (auto& [id, link] : links_) {
        if (link->stalled_since_us == 0 || link->fifo.size() < 2 ||
            now - link->stalled_since_us < limits::kRedisSharedStall_us_max) {
            continue;
        }
        // One reader holds up everybody behind it on a shared connection.
        link->stalled_since_us = 0;
        count("slow_readers_closed");
        if (ClientSession* session = link->fifo.front().session; session != nullptr) {
            end_session(*session, CloseMode::now);
        }
        link->reading = true;
        io_.set_reading(link->conn, true);
    }
    if (now - last_expiry_us_ > 1'000'000) {
        last_expiry_us_ = now;
        note_users();
        expire_idle(now);
        expire_unused(slots_, now);
        expire_unused(shadow_slots_, now);
    }
}

void TrafficWorker::note_users() {
    std::set<IdentityId> here;
    for (const auto& [id, session] : sessions_) {
        if (const auto user = session->user()) here.insert(*user);
    }
    for (const IdentityId identity : here)
        state_.seen.saw(state_.identities.name_of(identity), io_.wall_now_us() / 1000);
}

void TrafficWorker::adopt(const Route& route) {
    if (route.epoch < route_.epoch) return;
    const bool hold_began = route.hold && !route_.hold;
    route_ = route;
    state_.authority.store(route.authority);
    hold_expired_ = false;
    mirror_on_ = route.mirror_percent > 0 || route.aa_percent > 0;
    if (std::exchange(asks_login_rule_, false)) learn_login_rule_early();
    for (auto& [id, session] : sessions_) session->on_route(hold_began);
    run_ready();
}

Quiescence TrafficWorker::quiescence() const {
    Quiescence out;
    out.epoch = route_.epoch;
    out.writes_in_flight = writes_in_flight_;
    out.held = held_;
    if (writes_in_flight_ == 0) return out;
    const Expected* oldest = nullptr;
    Side side = Side::source;
    for (const auto& [id, link] : links_) {
        for (std::size_t i = 0; i < link->fifo.size(); ++i) {
            const Expected& entry = link->fifo[i];
            if ((entry.flags & expects::kWrite) == 0) continue;
            if (oldest == nullptr || entry.sent_us < oldest->sent_us) {
                oldest = &entry;
                side = link->key.side;
            }
            break;
        }
    }
    if (oldest == nullptr) {
        out.blocker = "writes under CLIENT REPLY OFF or SKIP";
        return out;
    }
    out.blocker = std::string(oldest->row != nullptr ? oldest->row->name : "a request") + " on " +
                  std::string(to_string(side)) + " for " +
                  std::to_string((io_.now_us() - oldest->sent_us) / 1000) + " ms";
    return out;
}

bool TrafficWorker::drain() {
    draining_ = true;
    std::vector<ClientSession*> ready;
    for (auto& [id, session] : sessions_) {
        if (session->at_boundary()) ready.push_back(session.get());
    }
    for (ClientSession* session : ready) end_session(*session, CloseMode::after_flush);
    sweep();
    return sessions_.empty();
}

bool TrafficWorker::set_knob(std::string_view name, std::string_view value) {
    if (name != "observe") return false;
    observe_ = value != "off" && value != "0";
    if (observe_) profile_.begin_anew();
    return true;
}

// --- counts
// ----------------------------------------------------------------------------------------------------------

CommandStats& TrafficWorker::stats_of(const resp::CommandRow& row) {
    if (row.id >= stats_.size()) {
        stats_.resize(std::size_t{row.id} + 1);
        stats_rows_.resize(std::size_t{row.id} + 1);
    }
    auto& entry = stats_[row.id];
    if (entry == nullptr) {
        entry = std::make_unique<CommandStats>();
        entry->is_write = row.writes();
        stats_rows_[row.id] = &row;
    }
    return *entry;
}

void TrafficWorker::local_error_counted(const resp::CommandRow& row) {
    CommandStats& stats = stats_of(row);
    ++stats.requests;
    ++stats.errors;
}

void TrafficWorker::collect(TrafficStats& out) const {
    TrafficStats mine;
    for (std::size_t i = 0; i < stats_.size(); ++i) {
        if (stats_[i] == nullptr) continue;
        const std::string_view name = stats_rows_[i]->known ? stats_rows_[i]->name : "UNKNOWN";
        mine.commands[std::string(name)] = *stats_[i];
    }
    mine.clients_now = sessions_.size();
    mine.clients_total = clients_total_;
    mine.backend_connections = links_.size();
    mine.bytes_from_clients = bytes_from_clients_;
    mine.bytes_to_clients = bytes_to_clients_;
    mine.shadow_queued = pairs_.open_count();
    mine.shadow_queued_bytes = pairs_.bytes();
    mine.shadow_dropped = shadow_dropped_;
    mine.comparator_dropped = comparator_dropped_;
    for (const auto& [name, value] : protocol_errors_) mine.protocol_errors[name] = value;
    for (const auto& [name, value] : counters_) mine.counters[name] = value;
    for (const auto& [name, count] : commands_.unknown())
        mine.counters[kUnknownCommandCounter + name] = count;
    if (canary_answered_ != 0) mine.counters["canary_answered"] = canary_answered_;
    if (canary_deferred_ != 0) mine.counters["canary_deferred"] = canary_deferred_;
    mine.pipeline_depth = pipeline_depth_;
    mine.hold_us = hold_us_;
    mine.answered_us = answered_us_;
    out.merge(mine);
    profile_.add_to(out);
}

void TrafficWorker::hold_began(ClientSession&, std::size_t bytes) {
    ++held_;
    held_bytes_ += bytes;
    arm_tick();
}

void TrafficWorker::hold_ended(std::size_t bytes, int64_t waited_us) {
    --held_;
    held_bytes_ -= std::min(bytes, held_bytes_);
    hold_us_.record(static_cast<uint64_t>(std::max<int64_t>(waited_us, 0)));
}

bool TrafficWorker::knows_script(uint64_t hash) {
    if (scripts_seen_.size() >= limits::kRedisScripts_max) scripts_seen_.clear();
    return !scripts_seen_.insert(hash).second;
}

ClientSession* TrafficWorker::find_session(int64_t virtual_id) {
    for (auto& [id, session] : sessions_) {
        if (session->virtual_id() == virtual_id) return session.get();
    }
    return nullptr;
}

void TrafficWorker::end_session(ClientSession& session, CloseMode mode) {
    if (session.dead()) return;
    session.let_go();
    stop_waiting(session);
    io_.close(session.conn(), mode);
}

bool TrafficWorker::roll(double percent) {
    if (percent >= 100) return true;
    if (percent <= 0) return false;
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return static_cast<double>(random_ >> 11) * (100.0 / 9007199254740992.0) < percent;
}

// --- requests that are not a client's
// --------------------------------------------------------------------------------

Expected& TrafficWorker::expect(BackendLink& link, const Expected& entry) {
    if ((entry.flags & expects::kWrite) != 0) ++writes_in_flight_;
    return link.fifo.push(entry);
}

void TrafficWorker::send(BackendLink& link, std::string_view bytes) { io_.send(link.conn, bytes); }

void TrafficWorker::silent_write(BackendLink& link) {
    ++link.silent_writes;
    ++writes_in_flight_;
}

void TrafficWorker::open_service(Side side) {
    LinkKey key;
    key.side = side;
    key.identity = kService;
    shared_link(*slot(key));
}

bool TrafficWorker::ask_unblock(ClientSession& session, Side side, int64_t real_id) {
    LinkKey key;
    key.side = side;
    key.identity = kService;
    BackendLink* link = shared_link(*slot(key));
    if (link == nullptr || link->state != BackendLink::State::ready) return false;
    std::string out;
    resp::append_command(out, "CLIENT", "UNBLOCK", std::to_string(real_id));
    Expected entry;
    entry.session = &session;
    entry.job = Job::unblock;
    entry.sent_us = io_.now_us();
    expect(*link, entry);
    send(*link, out);
    return true;
}

}  // namespace exodus::redis
