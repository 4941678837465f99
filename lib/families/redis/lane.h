// The only writer of the destination: applies batches of the stream and copied keys in the
// destination's own MULTI, with the checkpoint inside and WATCH around (redis.md 4.5). One thread.
// This movement runs one lane, so no operation needs a barrier.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <stop_token>

#include "base/histogram.h"
#include "families/redis/big_keys.h"
#include "families/redis/flow.h"
#include "families/redis/foreign_keys.h"
#include "families/redis/planner.h"

namespace exodus::redis {

class Lane {
  public:
    Lane(Flow& flow, ForeignKeys foreign);
    /// Until stopped, or until an operator must help: then an error (second_writer, safety,
    /// permission, data).
    Status run(const std::stop_token& stop);

    /// After run() has ended: where it stands.
    [[nodiscard]] Checkpoint last() const { return {epoch_, applied_, batch_}; }
    /// From any thread.
    [[nodiscard]] bool applied_through(uint64_t offset) const {
        return exact_ && applied_offset_.load() >= offset;
    }
    void shutdown();

  private:
    struct Executed {
        std::vector<StepResult> results;
        std::vector<Reply> exec;  ///< owns the texts that results view
    };

    // lane_open.cpp: connections, take-over of the checkpoint, doubt
    Status open(const std::stop_token& stop);
    Status take_checkpoint();
    Result<uint64_t> origin_offset();
    Status learn_format();

    // lane.cpp
    Status step(const std::stop_token& stop);
    void rest(uint64_t seen, bool standing, bool behind, const std::stop_token& stop);
    Status read_spool();
    Status parse(SpoolBlock block);
    void finish_unit();
    std::size_t batch_size(uint64_t limit) const;
    Status reach_database(int db);
    Status run_batch(const std::vector<StreamCommand>& ops, const CopyQueue::Batch& due);
    Status follow_big_keys(CopyQueue::Batch& due, std::vector<StreamCommand>& ops);
    Result<std::vector<CopyItem>> read_copies(const KeySet& wanted);
    Result<Executed> execute(const Plan& plan, const std::vector<CopyItem>& items,
                             const std::vector<CopyItem>& copies);
    Result<Reply> transact(std::string_view body, std::size_t commands, const StreamPlace& place,
                           std::string* unknown_verb);
    Status look_at_checkpoint();
    [[nodiscard]] Error changed_by_other(ReplyView held) const;
    Status after_batch(const Plan& plan, const std::vector<StreamCommand>& ops,
                       const std::vector<CopyItem>& items, const std::vector<CopyItem>& copies,
                       const std::vector<StepResult>& results);
    Status count_failures(const Plan& plan, const std::vector<CopyItem>& items,
                          const std::vector<CopyItem>& copies,
                          const std::vector<StepResult>& results);
    void advance(const StreamCommand& last);

    // lane_items.cpp: failed items, the destination's own keys, what a repair changes
    Status load_failed();
    Status take_redriven();
    Status before_batch(const Plan& plan, const std::vector<StreamCommand>& ops,
                        const std::vector<CopyItem>& items, const std::vector<CopyItem>& copies);
    [[nodiscard]] ItemChange change_of(const CopyItem& item) const;
    Status report_mixed(const StreamCommand& op, const std::vector<const KeyRef*>& kept);
    void count_repairs(const Plan& plan, const std::vector<CopyItem>& items);
    [[nodiscard]] std::string repair_text() const;
    void count_dropped(const std::vector<StreamCommand>& ops);
    Status fail_item(const Key& key, const std::string& reason);
    Status resolve_failed(const Key& key);
    Status resolve_arrived(const Plan& plan, const std::vector<CopyItem>& items,
                           const std::vector<CopyItem>& copies,
                           const std::vector<StepResult>& results);
    Status finish_fill();
    Status save_least();
    void make_room();
    void count_batch(uint64_t took_us);
    void publish();
    void publish_batches(int64_t now_us);

    // lane_functions.cpp
    Status copy_functions(const StreamPlace& place, const StreamCommand* op);

    // lane_global.cpp: FLUSH, SWAPDB, FUNCTION, unknown verbs
    Status run_global(const StreamCommand& op);
    Status flush(const StreamCommand& op, const std::vector<int>& databases);
    Status swap(const StreamCommand& op);
    [[nodiscard]] bool others_live_there() const;
    Status fill_again(const StreamCommand& op, const std::vector<int>& databases);
    Status forget_failed(const std::vector<int>& databases);
    Status resolve_unknown(StreamCommand& op);

    Flow& flow_;
    KeyReader reader_;
    DestinationFormat format_;
    ForeignKeys foreign_;
    Watermarks watermarks_;
    BigKeys big_;
    Planner planner_;
    std::mutex client_mutex_;  ///< guards the pointers against shutdown()
    std::unique_ptr<Client> destination_;
    std::unique_ptr<Client> origin_;
    bool ready_ = false;
    int destination_databases_ = 16;
    int database_reached_ = 0;  ///< all up to this one exist on the destination

    uint64_t epoch_ = 0;
    uint64_t batch_ = 0;     ///< of the last transaction that was sent
    std::string written_;    ///< the checkpoint as the destination holds it
    std::string in_flight_;  ///< the checkpoint of a transaction whose answer is not known
    StreamPlace applied_;    ///< A
    StreamPlace passed_;     ///< what a checkpoint may say: everything before it has arrived
    std::atomic<uint64_t> applied_offset_{0};
    std::atomic<bool> exact_{false};
    int64_t checkpoint_us_ = 0;  ///< when the destination was last seen to hold written_
    int64_t scan_saved_us_ = 0;
    bool fill_unsaved_ = false;  ///< the place of a fill, or its end, is not durable
    // Of this connection: a destination behind another one may hold less.
    uint64_t functions_at_ = 0;     ///< libraries are the origin's as they were there
    bool functions_known_ = false;  ///< they were copied, or are equal by an exact start

    std::deque<StreamCommand> parsed_;       ///< whole units
    std::vector<StreamCommand> open_group_;  ///< a MULTI whose EXEC has not come
    std::size_t open_group_bytes_ = 0;
    std::deque<std::pair<uint64_t, std::unique_ptr<std::string>>>
        blocks_;  ///< memory of parsed commands, by last end
    KeySet repairs_;
    KeySet refused_;  ///< of them, what the destination refused once; nothing passes them by
    std::unordered_map<Digest128, int, DigestHash> strikes_;
    std::unordered_map<Digest128, Key, DigestHash> failed_;
    // rates
    uint64_t rate_items_ = 0;
    uint64_t rate_changes_ = 0;
    int64_t rate_us_ = 0;
    /// How long batches took on the destination: of this window, and of the one before it.
    std::array<Histogram, 2> batch_us_;
    int64_t batch_window_us_ = 0;  ///< when this window began
};

}  // namespace exodus::redis
