// What the threads of one movement share: the reader (link to spool), the lane, and the copier.
// Every member says who writes it.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/family.h"
#include "families/redis/bigkey_reader.h"
#include "families/redis/change_signal.h"
#include "families/redis/copy_queue.h"
#include "families/redis/freshness.h"
#include "families/redis/key_reader.h"
#include "families/redis/link.h"
#include "families/redis/scope.h"
#include "families/redis/spool.h"
#include "families/redis/stand.h"

namespace exodus::redis {

/// Only for tests.
struct MovementTuning {
    bool presence_checks = true;
    std::size_t watermarks = limits::kWatermarks_max;  ///< slots of the table
    int64_t lane_stall_ms = 0;                         ///< sleeps before each batch
    int64_t patience_ms = 0;  ///< a lane or copier without work looks for it no sooner, unless told
};

/// What the journal keeps as "start".
struct DurableStart {
    StreamPlace place;
    bool exact = false;      ///< both sides were equal there (arm): no fill, no doubt
    uint64_t epoch_min = 0;  ///< checkpoints of an older epoch belong to an earlier history
    [[nodiscard]] std::string text() const;
    static std::optional<DurableStart> parse(std::string_view text);
};

/// The checkpoint on the destination: "<epoch> <replid> <offset> <db> <batch>".
struct Checkpoint {
    uint64_t epoch = 0;
    StreamPlace place;
    uint64_t batch = 0;  ///< transactions of this history so far: no two checkpoints are alike
    [[nodiscard]] std::string text() const;
    /// Only exactly what text() gives: anything else was not written by exodus.
    static std::optional<Checkpoint> parse(std::string_view text);
};

struct Trouble {
    std::string degraded;  ///< is being retried
    std::string blocked;   ///< an operator must help
};

/// Short hash of a migration's name, and the key of its checkpoint on a direction's destination.
std::string migration_id(std::string_view migration);
std::string checkpoint_key_of(std::string_view migration, Direction direction);

struct Flow {
    Flow(const FamilyContext& context_in, Direction direction_in);

    const FamilyContext& context;
    const Direction direction;
    const std::string name;  ///< "forward" | "reverse"; the journal's key
    const std::string id;    ///< short hash of the migration's name
    const std::string checkpoint_key;
    const std::string big_record;  ///< the set of big keys that are not copied yet; see big_keys.h
    const std::string channel;
    const Endpoint& origin;
    const Endpoint& destination;
    Scope scope;
    MovementTuning tuning;

    /// Made by the reader before the other threads start; under `mutex` for who asks for the
    /// status.
    std::unique_ptr<Spool> spool;
    CopyQueue queue;

    std::mutex mutex;
    ChangeSignal lane_work;    ///< new bytes in the spool, items in the queue, what callers ask
    ChangeSignal copier_work;  ///< a big key's pieces, the pause, what the lane did for a fill
    Stand stand{lane_work};    ///< asked by callers, obeyed by the lane
    std::string replid;        ///< guarded; the history that is followed
    MovementStatus status;     ///< guarded; its troubles are filled in when asked for
    Trouble link_trouble;      ///< guarded
    Trouble lane_trouble;      ///< guarded
    KeySet redrive;            ///< guarded; keys to be copied again
    std::shared_ptr<const BigKeyRound> big_round;         ///< guarded; what the copier reads first
    std::deque<std::pair<int64_t, std::string>> touched;  ///< guarded; steady µs, "db:key"
    std::atomic<uint64_t> link_end{0};                    ///< end of what was read
    std::atomic<uint64_t> origin_end{0};                  ///< end of what the origin has written
    std::atomic<bool> hears_origin{false};  ///< the link is attached; else origin_end is an old one
    std::atomic<int64_t> published_us{0};   ///< when the lane last told what it did
    std::atomic<int64_t> caught_up_us{0};   ///< when all of that was applied, last; 0: not yet
    /// Told by the lane; shared with the traffic workers when the direction is forward.
    std::shared_ptr<Freshness> fresh = std::make_shared<Freshness>();
    std::atomic<bool> fill_open{false};  ///< copier or its items are not done
    std::atomic<bool> paused{false};
    std::atomic<int64_t> bytes_per_s{0};           ///< 0: no limit
    std::atomic<int64_t> origin_p99_percent{150};  ///< of the idle latency; 0: no limit
    std::atomic<bool> spool_short{false};  ///< the lane needs what is before the spool's start
    std::atomic<bool> copy_short{false};   ///< the destination came back with less than was copied
    std::atomic<int> destination_rdb{0};  ///< payload version it writes; 0 until the lane has asked
    std::atomic<bool> spool_pressed{false};  ///< above 80 % of spool.max
    std::atomic<int64_t> spool_write_us{0};  ///< since when the spool is being written; 0: not now

    std::string followed() {
        const std::lock_guard lock(mutex);
        return replid;
    }
    void note(std::string MovementStatus::*field, std::string text) {
        const std::lock_guard lock(mutex);
        status.*field = std::move(text);
    }
    /// What one thread cannot do now; `blocked` when an operator must help. Each has its own, so
    /// that what one of them gets done does not hide what the other cannot.
    void trouble(Trouble Flow::*whose, const Error& error, bool blocked);
    void well(Trouble Flow::*whose);
    /// The checkpoint in the destination's answer to GET; none without a key. Error safety when the
    /// key holds what exodus did not write. Whoever finds that changes nothing there.
    Result<std::optional<Checkpoint>> checkpoint_in(ReplyView held) const;
    /// Error safety when the checkpoint read from the destination, `held`, is not of this history
    /// although one was written: whatever is there, it is not what was copied. Never to be answered
    /// by copying again unasked.
    Status destination_kept(const std::optional<Checkpoint>& held, const DurableStart& start) const;
    [[nodiscard]] Error destination_lost() const;
    /// Keeps how many keys the origin holds, asked on `client`, while it is the one that is
    /// followed.
    Status remember_origin(Client& client);
    /// Asked before every key is read again and what the origin does not hold is removed. Error
    /// safety when the origin came back with less than half of its keys and of what the destination
    /// holds: the destination may have the last copy. `history` is the replid so far; an origin
    /// that goes on with it has only overrun its backlog.
    Status origin_kept(std::string_view history) const;
    /// Between a hand-over or an arming and the first checkpoint nothing on the destination shows
    /// that it kept its data, so the journal keeps which process of the server it was ("run"). A
    /// restart in that time counts as a loss, also of a server that had saved everything.
    Result<bool> same_run(Client& server) const;
    Result<std::unique_ptr<Client>> connect(const Endpoint& endpoint, std::string_view role) const;
};

}  // namespace exodus::redis
