// One world: an origin that is written at random, the copier, and the lane that brings both to a
// destination. The planner, the watermarks, the queue and the copies of big keys are the real
// ones; what the lane does around them is done here as lane.cpp, lane_open.cpp, lane_results.cpp
// and (world_global.cpp) lane_global.cpp do it, because those need servers.
//
// A scoped world moves only some of the names; the destination has the others for itself, so none
// of its databases may be emptied or swapped.
#pragma once

#include <memory>
#include <optional>

#include "copier.h"
#include "families/redis/bigkey.h"
#include "families/redis/planner.h"

namespace exodus::redis::sim {

/// What happened in a world: a simulator that never came to it proves nothing.
struct Counts {
    int installed = 0;     ///< copies of keys that were set aside
    int flushed = 0;       ///< FLUSHDB, FLUSHALL
    int swapped = 0;       ///< SWAPDB, verbatim
    int filled_again = 0;  ///< SWAPDB while it could not be
    int repaired = 0;      ///< fills that replaced a flush or swap in a scoped world
    int exact = 0;         ///< times that the destination was said to be the origin
    void add(const Counts& other);
};

class World {
  public:
    World(uint64_t seed, bool checks);
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    /// Keys that differ when the lane says for the first time that none does; 0: none ever did.
    int run();
    [[nodiscard]] const Counts& counts() const { return counts_; }

  private:
    void live(int steps);
    void drain();
    void call_copier();
    [[nodiscard]] bool in_scope(std::string_view name) const;
    [[nodiscard]] bool exact() const;
    [[nodiscard]] int differences() const;

    // the lane
    void start_process();
    void crash();
    void open();
    void step();
    static StreamCommand parse(const Logged& entry);
    std::size_t read_stream(std::vector<StreamCommand>& ops);
    void follow_aside(std::vector<CopyItem>& items, std::vector<StreamCommand>& ops);
    bool run_batch(const std::vector<StreamCommand>& ops, const std::vector<CopyItem>& items);
    std::vector<StepResult> execute(const Plan& plan, const std::vector<CopyItem>& items,
                                    const std::vector<CopyItem>& copies);
    void checkpoint(uint64_t place, std::size_t next);
    void finish_fill();
    void make_room();
    void publish();
    PlannerOptions planner_options();

    // world_global.cpp
    struct Command {
        int db;
        std::vector<std::string> words;
    };
    void run_global();
    bool flush(const StreamCommand& op, const std::vector<int>& databases);
    bool swap(const StreamCommand& op);
    bool fill_again(const StreamCommand& op, const std::vector<int>& databases);
    bool transact(const StreamCommand& op, const std::vector<Command>& body);
    void drop_aside(int db);
    [[nodiscard]] bool any_aside_in(int db) const;

    Dice dice_;
    const bool checks_;
    const bool scoped_;
    const std::size_t capacity_;
    int64_t now_ = 1'000'000;
    Origin origin_;
    Server target_;
    Counts counts_;
    int wrong_ = 0;
    bool calm_ = false;  ///< every answer comes

    std::unique_ptr<CopyQueue> queue_;
    std::unique_ptr<Copier> copier_;
    std::string journal_ = ScanPlace{}.text();  ///< the fill's place, durable
    bool fill_open_ = true;

    std::size_t next_ = 0;  ///< of the origin's log
    uint64_t applied_ = 0;
    uint64_t told_ = 0;  ///< `applied_` as the copier knows it
    // What the destination keeps beside the keys.
    uint64_t checkpoint_ = 0;
    std::size_t checkpoint_next_ = 0;
    KeySet recorded_;

    KeySet repairs_;
    struct Active {
        BigKeyCopy copy;
        CopyItem item;
    };
    KeySet aside_;
    std::optional<Active> active_;
    std::unique_ptr<Watermarks> watermarks_;
    std::unique_ptr<Planner> planner_;
};

}  // namespace exodus::redis::sim
