// RedisMovement: what the destination holds before the first copy, and what the policy says about
// it (redis.md 6).
#include <fmt/format.h>
#include <fstream>

#include "base/limits.h"
#include "families/redis/redis_movement.h"

namespace exodus::redis {

namespace {

constexpr std::size_t kForeignKeys_max = 10'000'000;  // 16 bytes each; beyond, the policy is `fail`

std::string escaped(std::string_view name) {
    std::string out;
    for (const char c : name.substr(0, 120)) {
        if (c >= 32 && c < 127)
            out.push_back(c);
        else
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return out;
}

}  // namespace

/// Runs once, before the first start is durable.
Status RedisMovement::settle_conflicts(const std::stop_token& stop) {
    Journal& journal = flow_.context.journal;
    const ConflictPolicy policy = flow_.context.settings.migrate.conflict;
    auto owned = journal.load_position(flow_.name + "-past", "owned");
    if (!owned) return tl::unexpected<Error>(std::move(owned).error());
    ScanPlace fill;
    // A past attempt of this migration copied what is there: it is made equal again, names that the
    // origin lacks included.
    fill.repair = (*owned && **owned == "1") ||
                  flow_.context.settings.migrate.data_movement == DataMovement::repair;
    flow_.queue.restart(fill);
    const auto& options = flow_.context.settings.family_options;
    const auto extra = options.find("extra");
    if (policy == ConflictPolicy::overwrite && extra != options.end() && extra->second == "delete")
        fill.repair = true;
    flow_.queue.restart(fill);
    if (fill.repair) return {};
    if (policy == ConflictPolicy::newer) {
        return fail(ErrorCode::config,
                    "conflict policy newer: Redis keeps no modification time to decide by",
                    "choose fail, skip or overwrite");
    }
    const bool collect = policy == ConflictPolicy::skip || policy == ConflictPolicy::overwrite;
    auto client = side_client(destination_of(flow_.direction));
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    auto databases = (*client)->config_get("databases");
    const int count =
        databases && *databases ? static_cast<int>(to_number(**databases).value_or(16)) : 16;
    std::string names;
    std::size_t found = 0;
    foreign_.clear();
    for (int db = 0; db < count; ++db) {
        EXODUS_TRY((*client)->select(db));
        std::string cursor = "0";
        do {
            if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped");
            auto page =
                (*client)->ask({"SCAN", cursor, "COUNT", std::to_string(limits::kScanCount)});
            if (!page) return tl::unexpected<Error>(std::move(page).error());
            cursor = (*page)[0].text();
            for (std::size_t i = 0; i < (*page)[1].size(); ++i) {
                const auto name = (*page)[1][i].text();
                if (!flow_.scope.contains(name)) continue;
                if (++found <= 10)
                    names +=
                        fmt::format("{}db{} \"{}\"", names.empty() ? "" : ", ", db, escaped(name));
                if (collect && foreign_.size() < kForeignKeys_max)
                    foreign_.insert(key_hash(db, name));
            }
        } while (cursor != "0" && (collect || found < limits::kConflictNames_max));
    }
    if (found == 0) return {};
    if (collect && found <= kForeignKeys_max) {
        EXODUS_TRY(save_foreign());
        return journal.add_event(
            "warn", "conflicts",
            fmt::format("{} keys were on the destination before: {}", found,
                        policy == ConflictPolicy::skip ? "they are kept as they are"
                                                       : "the origin wins where it has them too"));
    }
    return fail(ErrorCode::safety,
                fmt::format("the destination is not empty: {}{} keys, e.g. {}",
                            found >= limits::kConflictNames_max ? "at least " : "", found, names),
                "empty it, or choose another conflict policy");
}

std::string RedisMovement::foreign_path() const {
    return flow_.context.directory + "/redis-" + flow_.name + ".foreign";
}

/// Survives restarts: with `skip` these names must never be written, also when they were touched
/// since.
Status RedisMovement::save_foreign() {
    std::string bytes;
    bytes.reserve(foreign_.size() * 16);
    for (const auto& hash : foreign_) {
        bytes.append(reinterpret_cast<const char*>(&hash.low), 8);
        bytes.append(reinterpret_cast<const char*>(&hash.high), 8);
    }
    std::ofstream file(foreign_path(), std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.flush();
    if (!file) return fail(ErrorCode::cannot_create, "writing " + foreign_path());
    return flow_.context.journal.save_position(flow_.name, "foreign",
                                               std::to_string(foreign_.size()));
}

/// The names that were on the destination before, as the planner wants them; empty when there were
/// none.
Result<ForeignKeys> RedisMovement::load_foreign() {
    auto count = flow_.context.journal.load_position(flow_.name, "foreign");
    if (!count) return tl::unexpected<Error>(std::move(count).error());
    ForeignKeys keys;
    if (!*count) return keys;
    keys.kept = flow_.context.settings.migrate.conflict == ConflictPolicy::skip;
    std::ifstream file(foreign_path(), std::ios::binary);
    Digest128 hash;
    while (file.read(reinterpret_cast<char*>(&hash.low), 8) &&
           file.read(reinterpret_cast<char*>(&hash.high), 8)) {
        keys.names.insert(hash);
    }
    if (std::to_string(keys.names.size()) != **count) {
        return fail(
            ErrorCode::safety,
            "the list of keys that were on the destination before is damaged: " + foreign_path());
    }
    return keys;
}

}  // namespace exodus::redis
