// A journal that forgets at the end of the process.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/journal.h"

namespace exodus::test {

class MemoryJournal : public Journal {
  public:
    Status save_position(std::string_view direction, std::string_view name,
                         std::string_view value) override {
        const std::lock_guard lock(mutex_);
        if (value.size() > 64 * 1024) return fail(ErrorCode::internal, "a position is too long");
        positions[std::string(direction)][std::string(name)] = value;
        ++saves;
        return {};
    }
    Result<std::optional<std::string>> load_position(std::string_view direction,
                                                     std::string_view name) override {
        const std::lock_guard lock(mutex_);
        const auto& of_direction = positions[std::string(direction)];
        const auto it = of_direction.find(std::string(name));
        if (it == of_direction.end()) return std::optional<std::string>();
        return std::optional<std::string>(it->second);
    }
    Status erase_positions(std::string_view direction) override {
        const std::lock_guard lock(mutex_);
        positions.erase(std::string(direction));
        return {};
    }
    Status add_item_error(const ItemError& error) override {
        const std::lock_guard lock(mutex_);
        errors.push_back(error);
        return {};
    }
    Result<std::vector<ItemError>> item_errors(std::string_view, std::size_t) override {
        return errors;
    }
    Status resolve_item_error(std::string_view, std::string_view, std::string_view) override {
        return {};
    }
    Status add_item_changes(const std::vector<ItemChange>&) override { return {}; }
    Status replace_item_changes(std::string_view, const std::vector<std::string>&,
                                const std::vector<ItemChange>&) override {
        return {};
    }
    Status add_event(std::string_view, std::string_view code, std::string_view text) override {
        const std::lock_guard lock(mutex_);
        events.push_back(std::string(code) + ": " + std::string(text));
        return {};
    }

    std::map<std::string, std::map<std::string, std::string>> positions;
    std::vector<ItemError> errors;
    std::vector<std::string> events;
    int saves = 0;

  private:
    std::mutex mutex_;
};

}  // namespace exodus::test
