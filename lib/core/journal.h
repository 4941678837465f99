// What a data movement must have durable. Families write through this; store implements it on the
// state file. Every call is durable when it returns. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace exodus {

/// A key, row or document that could not be moved.
struct ItemError {
    int64_t id = 0;         ///< given by the store
    std::string direction;  ///< "forward" | "reverse"
    std::string location;   ///< "db3"
    std::string key;        ///< raw bytes; the store escapes
    std::string reason;
    int attempts = 1;
    int64_t at_ms = 0;
};

/// What a movement did to a key, row or document of its destination besides copying it, or left as
/// it was on purpose: a repair, a conflict.
struct ItemChange {
    int64_t id = 0;         ///< given by the store
    std::string direction;  ///< "forward" | "reverse"
    std::string location;   ///< "db3"
    std::string key;        ///< raw bytes; the store escapes
    std::string side;       ///< whose item it is about: "source" | "target"
    std::string action;     ///< "restored" | "removed" | "kept" | "overwritten" | "conflict" | ...
    std::string reason;     ///< what differed, or what the policy says
    std::string detail;     ///< digests, expiries; never a value
    int64_t at_ms = 0;
};

class Journal {
  public:
    virtual ~Journal() = default;

    /// Named positions, e.g. ("forward", "start"), ("forward", "scan:0"). A value is the family's
    /// own text, <= 64 KiB.
    virtual Status save_position(std::string_view direction, std::string_view name,
                                 std::string_view value) = 0;
    /// Several of one direction, (name, value), in one transaction where the store has any: all or
    /// none, and one wait for the disk.
    virtual Status save_positions(
        std::string_view direction,
        const std::vector<std::pair<std::string_view, std::string>>& positions) {
        for (const auto& [name, value] : positions)
            EXODUS_TRY(save_position(direction, name, value));
        return {};
    }
    virtual Result<std::optional<std::string>> load_position(std::string_view direction,
                                                             std::string_view name) = 0;
    virtual Status erase_positions(std::string_view direction) = 0;

    virtual Status add_item_error(const ItemError& error) = 0;
    virtual Result<std::vector<ItemError>> item_errors(std::string_view direction,
                                                       std::size_t limit) = 0;
    virtual Status resolve_item_error(std::string_view direction, std::string_view location,
                                      std::string_view key) = 0;

    /// All of them or none. Of one item only the newest is kept; beyond limits::kItemChanges_max
    /// rows nothing is added.
    virtual Status add_item_changes(const std::vector<ItemChange>& changes) = 0;
    /// These in place of all rows of the direction with one of these actions; whoever reads sees
    /// the old ones or the new ones.
    virtual Status replace_item_changes(std::string_view direction,
                                        const std::vector<std::string>& actions,
                                        const std::vector<ItemChange>& changes) = 0;

    /// Something the operator should read: severity "info" | "warn" | "critical", a stable code, a
    /// sentence.
    virtual Status add_event(std::string_view severity, std::string_view code,
                             std::string_view text) = 0;
};

}  // namespace exodus
