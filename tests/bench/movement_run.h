// One data movement between two test servers, as the benches of it run one: in this process, with
// the product's own settings, its journal in memory.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "core/family.h"
#include "net/dialer.h"
#include "tests/support/memory_journal.h"
#include "tests/support/process.h"

namespace exodus::test {

/// Prints what a run reports.
class PrintingJournal final : public MemoryJournal {
  public:
    Status add_item_error(const ItemError& error) override;
    Status add_event(std::string_view severity, std::string_view code,
                     std::string_view text) override;
};

class MovementRun {
  public:
    /// `throttle`: as [migrate] throttle. Throws what the movement refuses.
    MovementRun(std::string name, int source_port, int target_port,
                std::map<std::string, std::string> throttle);
    ~MovementRun() { movement_->stop(); }
    MovementRun(const MovementRun&) = delete;
    MovementRun& operator=(const MovementRun&) = delete;

    /// Starts the copy. Attaching takes its time once, whatever the number of keys: returns the
    /// keys that were copied when the first were seen.
    uint64_t start();
    [[nodiscard]] bool copied() const {
        return movement_->status().stage == MovementStage::following;
    }
    Movement& operator*() { return *movement_; }
    Movement* operator->() { return movement_.get(); }

  private:
    Settings settings_;
    TempDir directory_;
    std::unique_ptr<Dialer> dialer_;
    PrintingJournal journal_;
    FamilyContext context_;
    std::unique_ptr<Movement> movement_;
};

template <class Condition>
void wait_until(Condition condition) {
    if (!eventually(milliseconds(300'000), condition, milliseconds(1)))
        throw std::runtime_error("did not end in time");
}

}  // namespace exodus::test
