// Of which verification a stored one is the beginning, and what goes with the copy that it is
// about.
#include "families/redis/verify_record.h"

#include <doctest/doctest.h>
#include <map>

namespace exodus::redis {
namespace {

class MapJournal : public Journal {
  public:
    Status save_position(std::string_view direction, std::string_view name,
                         std::string_view value) override {
        positions[std::string(direction)][std::string(name)] = value;
        return {};
    }
    Result<std::optional<std::string>> load_position(std::string_view direction,
                                                     std::string_view name) override {
        const auto& of = positions[std::string(direction)];
        const auto found = of.find(std::string(name));
        if (found == of.end()) return std::optional<std::string>{};
        return found->second;
    }
    Status erase_positions(std::string_view direction) override {
        positions.erase(std::string(direction));
        return {};
    }
    Status add_item_error(const ItemError&) override { return {}; }
    Result<std::vector<ItemError>> item_errors(std::string_view, std::size_t) override {
        return std::vector<ItemError>{};
    }
    Status resolve_item_error(std::string_view, std::string_view, std::string_view) override {
        return {};
    }
    Status add_item_changes(const std::vector<ItemChange>&) override { return {}; }
    Status replace_item_changes(std::string_view, const std::vector<std::string>&,
                                const std::vector<ItemChange>&) override {
        return {};
    }
    Status add_event(std::string_view, std::string_view, std::string_view) override { return {}; }

    std::map<std::string, std::map<std::string, std::string>> positions;
};

TEST_CASE("a stored verification goes on for the same copy only, and goes with it") {
    MapJournal journal;
    VerifyRecord record(journal, Direction::forward);
    const VerifyIdentity now{"config", "replid 100 0 0 0", "run-a", "run-b", 60'000};
    VerifyRun run;
    run.result.compared = 7;
    run.result.missing = 1;
    const auto resumes = [&](const VerifyIdentity& identity) {
        VerifyRun found;
        const bool loaded = record.load(identity, found).value();
        CHECK(found.result.missing == (loaded ? 1 : 0));
        return loaded;
    };
    REQUIRE(record.save(now, run).has_value());
    CHECK(resumes(now));
    VerifyIdentity again = now;
    again.lineage = "replid 900 0 0 1";  // copied anew by the same servers
    CHECK_FALSE(resumes(again));
    CHECK_FALSE(resumes(now));  // it is gone, not kept for later

    REQUIRE(record.save(now, run).has_value());
    REQUIRE(record.save_open({{0, "missing"}}).has_value());
    REQUIRE(record.forget().has_value());
    CHECK_FALSE(resumes(now));
    CHECK(record.load_open().value().empty());
}

}  // namespace
}  // namespace exodus::redis
