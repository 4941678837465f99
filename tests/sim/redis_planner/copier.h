// The copier of a world, as backfill.cpp and backfill_repair.cpp go about it with a queue that is
// the real one: it scans a page, announces chunks, reads and delivers them. Between any two of its
// steps the lane may do anything.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "dice.h"
#include "families/redis/copy_queue.h"
#include "origin.h"

namespace exodus::redis::sim {

class Copier {
  public:
    using InScope = std::function<bool(std::string_view name)>;
    Copier(Dice& dice, const int64_t& now, const Origin& origin, const Server& destination,
           CopyQueue& queue, InScope in_scope)
        : dice_(dice),
          now_(now),
          origin_(origin),
          destination_(destination),
          queue_(queue),
          in_scope_(std::move(in_scope)),
          generation_(queue.generation()),
          place_(queue.place()) {}

    /// `applied`: the lane's place, as it has told.
    void step(uint64_t applied);

  private:
    enum class Doing : uint8_t { nothing, comparing, copying, sweeping };
    /// A chunk that was announced.
    struct Part {
        uint64_t id = 0;
        std::vector<Key> keys;
        std::optional<std::vector<CopyItem>> items;  ///< when they were read
    };

    void scan();
    void compare(uint64_t applied);
    void copy();
    void sweep(uint64_t applied);
    void end_page();
    void announce(std::vector<Key> keys);
    void read(Part& part) const;
    bool deliver(std::vector<CopyItem> items, const ScanPlace& after);
    [[nodiscard]] bool called_back() const { return queue_.generation() != generation_; }
    [[nodiscard]] bool on_destination(const CopyItem& item) const;

    Dice& dice_;
    const int64_t& now_;
    const Origin& origin_;
    const Server& destination_;
    CopyQueue& queue_;
    InScope in_scope_;
    uint64_t generation_;
    ScanPlace place_;  ///< of the next SCAN
    Doing doing_ = Doing::nothing;
    ScanPlace after_;         ///< behind the page
    std::vector<Key> keys_;   ///< of the page, not announced yet
    bool announced_ = false;  ///< a chunk of the page; one without keys has one, too
    std::deque<Part> parts_;
};

}  // namespace exodus::redis::sim
