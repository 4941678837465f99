// The Redis brain of one event loop: sessions, shared and leased backend connections, and the
// shadow. It pairs replies with requests and keeps the counts that a switch waits for (redis.md 3).
// Sans-IO: core/protocol_worker.h.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/protocol_worker.h"
#include "families/redis/backend_link.h"
#include "families/redis/process_state.h"
#include "families/redis/replica_waits.h"
#include "families/redis/session.h"
#include "families/redis/shadow.h"
#include "families/redis/traffic_profile.h"

namespace exodus::redis {

/// Appends AUTH; false when there is nothing to log in with. The caller wipes `out` after use.
bool append_login(std::string& out, const ClientLogin& login);

class TrafficWorker final : public ProtocolWorker {
  public:
    TrafficWorker(ProcessState& state, WorkerIo& io);
    ~TrafficWorker() override;

    void on_accept(ConnId client, const ClientInfo& info) override;
    void on_connected(ConnId backend) override;
    void on_bytes(ConnId conn, std::string_view bytes) override;
    void on_drained(ConnId conn) override;
    void on_closed(ConnId conn, CloseReason reason) override;
    bool on_half_closed(ConnId conn) override;
    void on_timer(TimerId timer) override;
    void on_turn_end() override;
    void adopt(const Route& route) override;
    [[nodiscard]] Quiescence quiescence() const override;
    bool drain() override;
    void collect(TrafficStats& stats) const override;
    bool set_knob(std::string_view name, std::string_view value) override;

    /// With the first route: asks the authority whether it wants a login, before a client comes.
    void ask_login_rule_first() { asks_login_rule_ = !state_.maps; }

    // What sessions use.
    [[nodiscard]] WorkerIo& io() { return io_; }
    [[nodiscard]] ProcessState& state() { return state_; }
    [[nodiscard]] const Route& route() const { return route_; }
    [[nodiscard]] bool writes_paused() const {
        const int64_t until = state_.writes_paused_until_us.load(std::memory_order_relaxed);
        return until != 0 && io_.now_us() < until;
    }
    [[nodiscard]] bool hold_expired() const { return hold_expired_; }
    [[nodiscard]] bool held_too_much() const { return held_bytes_ > limits_held_; }
    [[nodiscard]] uint64_t writes_in_flight() const { return writes_in_flight_; }

    SharedSlot* slot(const LinkKey& key);
    /// The connection of a slot to use now, perhaps still connecting; nullptr while its side is in
    /// back-off.
    BackendLink* shared_link(SharedSlot& slot);
    /// A connection of one session's own; nullptr while the side is in back-off. `raw`: without any
    /// login of ours.
    BackendLink* lease(const LinkKey& key, ClientSession& owner, bool raw);
    /// Back to the pool, or closed when it cannot be used again.
    void give_back(BackendLink& link);
    /// Not used any more: closed as soon as it owes nothing (at once if that could take for ever).
    void discard(BackendLink& link);
    Expected& expect(BackendLink& link, const Expected& entry);
    void send(BackendLink& link, std::string_view bytes);
    void silent_write(BackendLink& link);
    void wait_for(BackendLink& link, ClientSession& session);
    void wait_retry(ClientSession& session);
    void stop_waiting(ClientSession& session);
    void run_later(ClientSession& session);
    void to_client(ClientSession& session, std::string_view bytes);
    void end_session(ClientSession& session, CloseMode mode);
    /// True when the side has been unreachable for longer than a request may wait.
    [[nodiscard]] bool given_up(Side side) const;
    void protocol_error(std::string_view reason) { ++protocol_errors_[std::string(reason)]; }
    void count(std::string_view name, uint64_t by = 1) { counters_[std::string(name)] += by; }
    /// The target holds what was written to the source until shortly ago: it may answer reads.
    [[nodiscard]] bool target_current() const {
        const int64_t now = io_.now_us();
        const int64_t at = state_.fresh->current_us.load(std::memory_order_relaxed);
        return now - at <= state_.canary_lag_us && now >= target_doubt_until_us_;
    }
    /// Its server lets a read wait for too long.
    [[nodiscard]] bool hangs(const BackendLink& link) const;
    void deferred_from_canary() { ++canary_deferred_; }
    void record_depth(uint64_t depth) { pipeline_depth_.record(depth); }
    void hold_began(ClientSession& session, std::size_t bytes);
    void hold_grew(std::size_t bytes) { held_bytes_ += bytes; }
    void hold_ended(std::size_t bytes, int64_t waited_us);
    bool ask_unblock(ClientSession& session, Side side, int64_t real_id);
    void open_service(Side side);
    bool knows_script(uint64_t hash);
    /// Sends the same read elsewhere (shadow) or again (A/A), if sampled and there is room.
    void mirror(BackendLink& link, Expected& entry, const resp::CommandRow& row,
                std::string_view request);
    [[nodiscard]] bool mirrors() const { return mirror_on_; }
    void transaction_aborted() { profile_.on_aborted(); }
    /// Expected::prefix of the request.
    uint16_t observe(const ClientSession& session, const resp::CommandRow& row,
                     const resp::RequestFrame& frame, int database) {
        if (!row.known) [[unlikely]]
            commands_.sent(frame.indexed_args());
        const uint16_t prefix = observe_ ? profile_.on_request(row, frame, database) : uint16_t{0};
        if (state_.capture.on()) [[unlikely]]
            state_.capture.add(row, frame, database, session.virtual_id(), io_.wall_now_us());
        return prefix;
    }
    bool roll(double percent);
    void local_error_counted(const resp::CommandRow& row);
    ClientSession* find_session(int64_t virtual_id);
    /// The row of a request: the built-in table's, or what the servers say about their own
    /// commands.
    const resp::CommandRow& classify(std::span<const std::string_view> arguments) {
        const resp::CommandRow& row = resp::classify(arguments);
        return row.known ? row : commands_.classify(arguments);
    }
    [[nodiscard]] bool login_required(Side side) const {
        return state_.maps || state_.login_required[static_cast<std::size_t>(side)].load(
                                  std::memory_order_relaxed);
    }
    /// Counts the session's WAIT until enough replicas have what was written so far, or its time is
    /// over; then session.on_replicas(). Again for a session that waits already: nothing.
    void wait_for_replicas(ClientSession& session, Side side, int64_t replicas,
                           int64_t deadline_us);
    /// Ends it; how many replicas have them so far.
    int64_t stop_replica_wait(const ClientSession& session) {
        return replica_waits_.remove(session);
    }
    void clean_session_from(BackendLink& link, const ClientSession& session);

  private:
    struct Peer {
        ClientSession* session = nullptr;
        BackendLink* link = nullptr;
    };
    struct SideHealth {
        int64_t failed_since_us = 0;  ///< 0: not failing
        int64_t retry_at_us = 0;
        int64_t pause_us = 0;
    };

    // traffic_worker_waits.cpp
    void poll_replicas();
    void ask_for_acks(Side side);
    void learn_login_rule_early();
    void on_replica_info(Side side, const resp::ReplyFrame& frame);
    void learn_login_rule(const BackendLink& link, const Expected& entry,
                          const resp::ReplyFrame& frame);

    // traffic_worker_links.cpp
    BackendLink* dial(const LinkKey& key, BackendLink::Role role, bool raw);
    void log_in(BackendLink& link);
    void expect_login(BackendLink& link, Job job);
    bool select_for_client(BackendLink& link);
    void login_done(BackendLink& link);
    void login_failed(BackendLink& link);
    void became_ready(BackendLink& link);
    void lost(BackendLink& link, CloseReason reason);
    void close_link(BackendLink& link);
    void retire(BackendLink& link);
    void expire_idle(int64_t now_us);
    void expire_unused(std::vector<std::unique_ptr<SharedSlot>>& slots, int64_t now_us);

    // traffic_worker_replies.cpp
    void on_backend_bytes(BackendLink& link, std::string_view bytes);
    void on_frame(BackendLink& link, const resp::ReplyFrame& frame);
    void on_large_reply(BackendLink& link, const resp::ReplyFrame& frame);
    void on_reply_piece(BackendLink& link, std::string_view piece, bool last);
    bool answers_nothing(BackendLink& link, const resp::ReplyFrame& frame);
    bool confirmation(BackendLink& link, const resp::ReplyFrame& frame);
    void finish(BackendLink& link, std::size_t reply_bytes, char type);
    void put_reply(ClientSession& session, std::string_view bytes);
    void flush_replies();
    void check_reader(ClientSession& session);
    void pair_bytes(Expected& entry, std::string_view bytes);
    void pair_done(uint32_t index, bool left);
    void drop_pair(Expected& entry);
    void drop_shadow();
    BackendLink* shadow_link(Side side, const LinkKey& like);

    void note_users();
    void run_ready();
    void sweep();
    void tick();
    void arm_tick();
    CommandStats& stats_of(const resp::CommandRow& row);

    ProcessState& state_;
    WorkerIo& io_;
    Route route_;
    bool hold_expired_ = false;
    bool draining_ = false;
    bool mirror_on_ = false;
    std::size_t limits_held_;
    std::unordered_map<uint64_t, Peer> peers_;
    std::unordered_map<uint64_t, std::unique_ptr<ClientSession>> sessions_;
    std::unordered_map<uint64_t, std::unique_ptr<BackendLink>> links_;
    std::vector<std::unique_ptr<SharedSlot>> slots_;
    std::vector<BackendLink*> idle_;
    std::vector<ClientSession*> run_;
    std::vector<ClientSession*> retry_;
    std::vector<std::unique_ptr<ClientSession>> dead_sessions_;
    std::vector<std::unique_ptr<BackendLink>> dead_links_;
    std::array<SideHealth, 2> health_;
    TimerId tick_timer_ = TimerId::none;
    int64_t last_expiry_us_ = 0;

    // The replies that are collected for one client within one read of a backend.
    std::string_view feed_;
    std::string_view reply_run_;
    ClientSession* reply_to_ = nullptr;

    ShadowPairs pairs_;
    bool shadow_stuck_ = false;
    std::array<SideHealth, 2> shadow_health_;
    uint64_t random_ = 0x9E3779B97F4A7C15ULL;

    uint64_t writes_in_flight_ = 0;
    uint64_t held_ = 0;
    std::size_t held_bytes_ = 0;
    uint64_t clients_total_ = 0;
    uint64_t bytes_from_clients_ = 0;
    uint64_t bytes_to_clients_ = 0;
    int64_t target_doubt_until_us_ = 0;
    uint64_t canary_answered_ = 0;
    uint64_t canary_deferred_ = 0;
    uint64_t shadow_dropped_ = 0;
    uint64_t comparator_dropped_ = 0;
    std::vector<std::unique_ptr<CommandStats>> stats_;
    std::vector<const resp::CommandRow*> stats_rows_;
    std::unordered_map<std::string, uint64_t> protocol_errors_;
    std::unordered_map<std::string, uint64_t> counters_;
    Histogram pipeline_depth_;
    Histogram hold_us_;
    std::array<std::array<Histogram, 2>, 2> answered_us_;  ///< by [side][write]
    TrafficProfile profile_;
    bool observe_ = true;
    std::unordered_set<uint64_t> scripts_seen_;
    std::vector<std::unique_ptr<SharedSlot>> shadow_slots_;
    CommandView commands_;
    ReplicaWaits replica_waits_;
    TimerId replica_timer_ = TimerId::none;
    bool asks_login_rule_ = false;
};

}  // namespace exodus::redis
