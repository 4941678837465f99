// One client of the interlay: finds its requests, decides where each goes, and keeps what a switch
// must carry over (redis.md 3). A session uses one backend connection at a time and changes it only
// when nothing is unanswered, so replies are in order by construction. Owned and driven by
// TrafficWorker; never blocks, never keeps bytes that it can forward.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"
#include "families/redis/asked_reads.h"
#include "families/redis/backend_link.h"
#include "families/redis/request_kind.h"
#include "families/redis/virtual_id.h"
#include "wire/resp/codec.h"

namespace exodus::redis {

class TrafficWorker;

class ClientSession {
  public:
    ClientSession(TrafficWorker& worker, ConnId conn, int64_t virtual_id, bool own_connection);

    void on_bytes(std::string_view bytes);
    /// The client is gone or must go: everything it holds is let go. Nothing is called on it
    /// afterwards.
    void let_go();

    /// A reply of `link` belongs to this session and is not plainly forwarded.
    void on_watched(BackendLink& link, const Expected& entry, std::string_view frame, char type,
                    bool whole);
    /// An unanswered request lost its connection.
    void on_lost(BackendLink& link, const Expected& entry, bool streaming);
    /// One of its leases is gone (link_, bridge, or one that was coming).
    void on_lease_lost(BackendLink& link, std::string_view login_error);
    /// A connection it waits for is ready, or could not be made (`error`: text for the client,
    /// empty: try again).
    void on_wait_over(BackendLink& link, std::string_view error);
    /// A frame that answers nothing: push, message, monitor line. True when the client shall see
    /// it.
    bool wants_push(const BackendLink& link, std::string_view frame) const;
    void on_unblock_result();
    /// How many replicas have what this session wrote before its WAIT.
    void on_replicas(int64_t count);
    /// CLIENT UNBLOCK while it waits here; `none`: nothing.
    void wake(Wake how);
    /// The client sends no more: it gets what it asked for, then it is closed.
    void on_half_closed();
    /// Where the interlay checks clients itself: who a verified certificate says this is.
    void on_certificate(std::string_view subject);

    /// After outstanding_ was lowered.
    void answered();
    /// Goes on after whatever it stopped for.
    void resume();
    void on_route(bool hold_began);
    void tick(int64_t now_us);

    [[nodiscard]] ConnId conn() const { return conn_; }
    [[nodiscard]] int64_t virtual_id() const { return virtual_id_; }
    [[nodiscard]] bool dead() const { return dead_; }
    [[nodiscard]] bool at_boundary() const;
    [[nodiscard]] bool held() const { return stall_ == Stall::hold; }
    [[nodiscard]] bool waits_for_link() const {
        return stall_ == Stall::link || stall_ == Stall::retry;
    }
    [[nodiscard]] uint32_t outstanding() const { return outstanding_; }
    [[nodiscard]] std::size_t kept_bytes() const {
        return parked_.bytes.size() + backlog_.size() - backlog_at_;
    }
    [[nodiscard]] int protocol() const { return resp_; }
    /// As whom it has sent requests; nullopt: none yet.
    [[nodiscard]] std::optional<IdentityId> user() const {
        return used_ ? std::optional(identity_) : std::nullopt;
    }
    /// The reply of a large or slow kind was seen: the next requests use a lease for a while.
    void slow_until(int64_t at_us) { slow_until_us_ = at_us; }
    [[nodiscard]] BackendLink* link() const { return link_; }
    uint32_t take_answer() { return --outstanding_; }
    /// A write of it has been answered: so long has it been visible at the latest.
    void wrote(int64_t now_us) { last_write_us_ = now_us; }
    /// The side that follows has answered the oldest read that it owed.
    void take_asked() { asked_.answered(); }

    bool queued = false;  ///< in the worker's run list

  private:
    enum class Stall : uint8_t { none, drain, link, retry, hold, window, backend_full, replicas };
    /// Why a lease is kept although nothing is unanswered.
    enum Sticky : uint32_t {
        kMulti = 1,
        kWatch = 2,
        kSubscribed = 4,
        kMonitor = 8,
        kTracking = 16,
        kReplyMode = 32,
        kFlags = 64,
        kWait = 128,
        kOwn = 256,  ///< interlay.sharing = off, REPLCONF, or an identity that could not be kept
        kTunnel = 512,
    };
    /// Losing these with their connection cannot be hidden: the client is closed as the server
    /// would have.
    static constexpr uint32_t kUnhideable =
        kSubscribed | kMonitor | kTracking | kReplyMode | kOwn | kTunnel;

    struct Parked {
        std::string bytes;
        std::array<std::pair<uint32_t, uint32_t>, resp::kIndexedArguments> ranges{};
        std::size_t indexed = 0;
        uint64_t argc = 0;
        std::size_t wire_bytes = 0;
        bool partial = false;
        bool filled = false;
    };

    /// What a request inside MULTI changes of the session when EXEC has run it.
    struct QueuedChange {
        uint32_t index = 0;    ///< of its answer in EXEC's
        int database = 0;      ///< of a SELECT
        std::string tracking;  ///< the CLIENT TRACKING; empty: a SELECT
        std::size_t at = 0;    ///< where that stands in multi_queue_
    };

    // session.cpp: the input
    bool run_input();
    void pump(std::string_view bytes);
    void park(const resp::RequestFrame& frame);
    bool dispatch_parked();
    bool dispatch_reissue();
    void stash_unread(bool from_backlog);
    void update_reading();
    bool stall(Stall why);
    bool dispatch(const resp::RequestFrame& frame);
    void flush_run();
    void put(BackendLink& link, const resp::RequestFrame& frame);
    void put_bytes(BackendLink& link, std::string_view bytes);
    void body();
    void refuse_input();
    void say_goodbye();
    void refuse(std::string_view reply);
    void finish_half_closed();
    [[nodiscard]] bool without_login() const;
    bool within_login_limits(const resp::RequestFrame& frame);

    // session_dispatch.cpp: what is not simply shared
    bool dispatch_slow(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    bool dispatch_in_multi(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    void note_queued(Kind kind, const resp::RequestFrame& frame);
    void end_transaction();
    bool dispatch_kind(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    bool stops_in_hold(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    bool hold(const resp::RequestFrame& frame, Kind kind);
    bool use_shared(const resp::CommandRow& row, const resp::RequestFrame& frame, Job job,
                    Kind what);
    bool use_lease(const resp::CommandRow& row, const resp::RequestFrame& frame, uint32_t reason,
                   Job job, Kind what, bool dirty);
    bool use_either(const resp::CommandRow& row, const resp::RequestFrame& frame, Job job,
                    Kind what);
    bool need_lease(uint32_t reason, bool raw = false, int resp = 0);
    bool need_lease_on(Side side, uint32_t reason, bool raw, int resp);
    bool acquire_shared(Side side);
    bool no_connection(Side side);
    bool wait_failed();
    bool refused(std::string_view text);
    void forward(BackendLink& link, const resp::CommandRow& row, const resp::RequestFrame& frame,
                 Job job, Kind what, uint8_t flags = 0, uint32_t more = 1);
    bool local_reply(std::string_view text);
    bool local_error(std::string_view text);
    [[nodiscard]] LinkKey key_for(Side side) const;
    [[nodiscard]] Side home() const;
    [[nodiscard]] bool leased() const {
        return link_ != nullptr && link_->role == BackendLink::Role::leased;
    }
    void mirror(BackendLink& link, Expected& entry, const resp::CommandRow& row,
                const resp::RequestFrame& frame);

    // session_connection.cpp: AUTH, HELLO, SELECT, CLIENT …, RESET; session_again.cpp: scripts,
    // cursors, blocking commands, subscriptions; session_client.cpp
    bool do_auth(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_hello(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_select(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_reset(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_quit();
    bool do_client_kill(const resp::CommandRow& row, const resp::RequestFrame& frame);
    void after_client_kill(std::string_view reply);
    void after_client_unblock(std::string_view reply);
    bool do_client_pause(const resp::CommandRow& row, const resp::RequestFrame& frame);
    void note_pause(const resp::RequestFrame& frame);
    bool do_client_list(const resp::CommandRow& row, const resp::RequestFrame& frame);
    [[nodiscard]] std::string with_virtual_ids(const BackendLink& link,
                                               std::string_view frame) const;
    [[nodiscard]] std::string with_virtual_redirect(std::string_view frame) const;
    [[nodiscard]] std::string with_real_redirect(std::string_view request, Side side) const;
    bool do_client_unblock(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_client_reply(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_tracking(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_flag(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_script(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    bool do_scan(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    bool do_wait(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_wait_aof(const resp::CommandRow& row, const resp::RequestFrame& frame);
    void on_wait_aof(std::string_view frame, char type);
    void begin_wait();
    Wake end_wait();
    bool do_blocking(const resp::CommandRow& row, const resp::RequestFrame& frame);
    bool do_subscribe(const resp::CommandRow& row, Kind kind, const resp::RequestFrame& frame);
    void forget_state();
    void learn_identity(BackendLink& link);
    void become(IdentityId identity);
    void log_in_here(IdentityId identity);
    [[nodiscard]] bool judged_here() const;
    std::optional<IdentityId> known_login(std::string_view user, std::string_view password);
    bool refuse_login();
    bool need_judge();
    void clear_pending();
    void change_as_executed(BackendLink& link, std::string_view exec, bool whole);
    void now_tracks(const BackendLink& link, std::string request);
    void on_blocking_reply(BackendLink& link, std::string_view frame, char type);
    bool retry_script(BackendLink& link, std::string_view frame);

    // session_canary.cpp
    Side side_for(const resp::CommandRow& row, bool& deferred);
    bool answers(Side side);
    void ask_again();
    void take_reads_back();

    // session_move.cpp: a switch
    void settle();
    [[nodiscard]] bool move_waits() const;
    void begin_move();
    void finish_move();
    void queue_again();
    void prepare_other_side();
    void unblock_if_parked(bool reads_too);
    void fence_silent();
    void send_state(BackendLink& link);
    void send_subscriptions(BackendLink& link);
    void replay_multi(BackendLink& link);
    void swallow(BackendLink& link, std::string_view request, uint32_t more = 1,
                 Job job = Job::swallow);
    void drop_bridge();
    void release_lease(BackendLink*& link);
    [[nodiscard]] bool bridge_allowed(Side side) const;

    TrafficWorker& worker_;
    ConnId conn_;
    int64_t virtual_id_;

    // Hot: looked at for each request.
    BackendLink* link_ =
        nullptr;  ///< the connection in use; shared only while something is unanswered
    uint32_t outstanding_ = 0;
    uint32_t sticky_ = 0;
    Stall stall_ = Stall::none;
    bool await_ = false;  ///< the next request waits until everything is answered
    bool in_multi_ = false;
    bool opening_multi_ = false;  ///< while a MULTI looks for its connection
    bool dead_ = false;
    bool canary_ = false;
    bool sampled_ = false;  ///< a key of this identity was noted
    bool used_ = false;     ///< this identity was noted as used
    std::array<SharedSlot*, 2> slots_{nullptr, nullptr};
    std::string_view run_;  ///< frames to forward that lie side by side in the input
    BackendLink* run_link_ = nullptr;
    std::string_view input_;  ///< what was fed, while it is valid
    resp::RequestScanner scanner_;
    int64_t last_write_us_ = 0;  ///< sent or, later, answered
    int64_t slow_until_us_ = 0;

    // Input that waits.
    Parked parked_;
    std::string backlog_;
    std::size_t backlog_at_ = 0;
    std::string reissue_;  ///< requests to be sent again, before everything else
    AskedReads asked_;
    int64_t reissue_at_us_ = 0;  ///< not before
    std::string farewell_;  ///< said before it closes, behind the replies that were still to come
    BackendLink* streaming_to_ = nullptr;
    int64_t held_since_us_ = 0;
    std::size_t held_bytes_ = 0;
    bool reading_ = true;
    bool kept_tried_ = false;
    bool skip_body_ = false;
    bool half_closed_ = false;  ///< the client has shut its sending side down
    bool closing_ = false;      ///< nothing more is read; closes when all is answered
    bool current_partial_ = false;

    // What it is.
    int resp_ = 2;
    int database_ = 0;
    int pending_resp_ = 0;
    int pending_database_ = -1;
    IdentityId identity_ = kAnonymous;
    IdentityId certified_ = kAnonymous;  ///< who its certificate says it is, RESET or not
    std::string name_;
    std::string pending_name_;
    std::string pending_user_;
    Secret pending_password_;
    std::map<std::string, std::string> flags_;  ///< NO-EVICT, READONLY …: the request to repeat
    std::string tracking_;                      ///< CLIENT TRACKING ON …
    std::string pending_tracking_;
    int64_t asked_id_ = 0;  ///< whom its CLIENT KILL or UNBLOCK is about
    Wake asked_wake_ = Wake::none;
    bool identity_lost_ = false;  ///< only its connection knows who it is
    bool pending_login_ = false;
    bool reply_off_ = false;
    bool skip_next_ = false;

    // MULTI and WATCH.
    std::string multi_queue_;
    uint32_t multi_count_ = 0;
    bool multi_writes_ = false;
    bool multi_overflow_ = false;  ///< too long to be replayed
    bool multi_lost_ = false;      ///< its connection is gone: EXEC answers EXECABORT
    bool watch_broken_ = false;    ///< EXEC answers nil
    bool silent_multi_ = false;    ///< queued without answers when a hold began: perhaps refused
    std::vector<QueuedChange> multi_changes_;  ///< moved to pending_changes_ by EXEC
    std::vector<QueuedChange> pending_changes_;

    // Subscriptions: channels, patterns, shard channels.
    std::array<std::set<std::string, std::less<>>, 3> channels_;
    std::size_t channel_bytes_ = 0;

    // Blocking.
    std::string blocked_;  ///< the request that waits on the server
    const resp::CommandRow* blocked_row_ = nullptr;
    int64_t blocked_deadline_us_ = 0;  ///< 0: for ever

    // WAIT and WAITAOF.
    int64_t wait_deadline_us_ = 0;  ///< 0: for ever, or none
    std::optional<int64_t> replicas_;
    std::string wait_aof_;  ///< the request whose short form was sent
    int64_t wait_aof_local_ = 0;
    int64_t wait_aof_replicas_ = 0;
    bool waits_ = false;         ///< the parked request is a WAIT whose time runs
    bool unblock_sent_ = false;  ///< its result is still to come
    bool unblock_wanted_ = false;
    Wake woken_ = Wake::none;

    std::string script_request_;  ///< EVALSHA that may become an EVAL

    std::string
        wait_error_;  ///< why the connection it waited for did not come: answers the parked request
    BackendLink* pending_lease_ = nullptr;
    BackendLink* moving_ = nullptr;
    BackendLink* bridge_ = nullptr;
    bool answered_here_ = false;  ///< the request was answered while a connection was looked for
    bool pending_raw_ = false;
    bool move_wanted_ = false;
    bool channels_overflow_ = false;
};

}  // namespace exodus::redis
