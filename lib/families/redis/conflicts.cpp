// RedisMovement: what the target holds before the first copy, and what the policy says about it
// (redis.md 6). Runs once per attempt, before its start is durable; only reads both servers.
#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "families/redis/functions.h"
#include "families/redis/newer.h"
#include "families/redis/redis_movement.h"
#include "families/redis/repair_reader.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

int databases_of(Client& client) {
    auto databases = client.config_get("databases");
    return databases && *databases ? static_cast<int>(to_number(**databases).value_or(16)) : 16;
}

/// One pass over the target's names.
class ConflictScan {
  public:
    ConflictScan(Flow& flow, Client& source, const ServerVersion& source_version, Client& target,
                 const ServerVersion& target_version, ForeignKeys before)
        : flow_(flow),
          source_(source),
          target_(target),
          before_(std::move(before)),
          policy_(flow.context.settings.migrate.conflict),
          reader_(source, source_version, target, target_version,
                  // No stream is applied yet: nothing to wait for.
                  [](const StreamPosition&) -> Result<bool> { return true; }) {
        const auto& options = flow.context.settings.family_options;
        if (const auto found = options.find("newer_by"); found != options.end())
            newer_by_ = found->second;
        source_databases_ = databases_of(source);
    }

    Status run(const std::stop_token& stop) {
        const int databases = databases_of(target_);
        for (int db = 0; db < databases && !enough(); ++db) {
            std::string cursor = "0";
            do {
                if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped");
                EXODUS_TRY(target_.select(db));
                auto page =
                    target_.ask({"SCAN", cursor, "COUNT", std::to_string(limits::kScanCount)});
                if (!page) return tl::unexpected<Error>(std::move(page).error());
                cursor = (*page)[0].text();
                EXODUS_TRY(take_page(db, (*page)[1]));
            } while (cursor != "0" && !enough());
        }
        return {};
    }

    ForeignKeys::Names names;
    std::vector<ItemChange> changes;
    uint64_t conflicts = 0;  ///< names that the policy does not decide
    std::string examples;

    /// No need to look further: it will fail anyway.
    [[nodiscard]] bool enough() const { return conflicts >= limits::kConflictNames_max; }

  private:
    Status take_page(int db, ReplyView found) {
        std::vector<std::string_view> page;
        for (std::size_t i = 0; i < found.size(); ++i) {
            const auto name = found[i].text();
            if (flow_.scope.contains(name) && (before_.empty() || was_foreign(db, name)))
                page.push_back(name);
        }
        if (page.empty()) return {};
        if (names.size() + page.size() > limits::kForeignKeys_max) {
            return fail(ErrorCode::safety,
                        fmt::format("the target holds more than {} keys of its own: too many to be "
                                    "decided one by one",
                                    limits::kForeignKeys_max),
                        "empty it, or choose migrate.data_movement = repair");
        }
        std::vector<ComparedKey> compared(page.size());
        const bool listed =
            policy_ == ConflictPolicy::newer || decided_ < limits::kConflictNames_max;
        if (db >= source_databases_) {
            for (auto& key : compared) key.difference = Difference::extra;
        } else if (listed) {
            auto both = reader_.compare(db, page);
            if (!both) return tl::unexpected<Error>(std::move(both).error());
            compared = std::move(**both);
        }
        for (std::size_t i = 0; i < page.size() && !enough(); ++i)
            EXODUS_TRY(decide(db, page[i], compared[i], listed));
        return {};
    }

    [[nodiscard]] bool was_foreign(int db, std::string_view name) const {
        const auto hash = key_hash(db, name);
        return before_.never_written(hash) || before_.doubtful(hash);
    }

    Status decide(int db, std::string_view name, const ComparedKey& key, bool listed) {
        const auto hash = key_hash(db, name);
        const bool only_target = key.difference == Difference::extra;
        std::string action = "kept";
        std::string reason =
            only_target ? "only on the target"
            : key.difference == Difference::none
                ? "on both sides, equal"
                : fmt::format("on both sides, different ({})", to_string(key.difference));
        switch (policy_) {
            case ConflictPolicy::fail:
                action = "conflict";
                break;
            case ConflictPolicy::skip:
                names.kept.push_back(hash);
                break;
            case ConflictPolicy::overwrite:
                names.left.push_back(hash);
                if (!only_target) action = "overwritten";
                break;
            case ConflictPolicy::newer: {
                if (only_target || key.difference == Difference::none) {
                    names.left.push_back(hash);
                    if (!only_target) return {};
                    break;
                }
                EXODUS_TRY(source_.select(db));
                EXODUS_TRY(target_.select(db));
                auto verdict =
                    decide_newer(newer_by_, name, source_, key.origin, target_, key.destination);
                if (!verdict) return tl::unexpected<Error>(std::move(verdict).error());
                using Who = NewerVerdict::Who;
                if (verdict->who == Who::target) names.kept.push_back(hash);
                if (verdict->who == Who::source) names.left.push_back(hash);
                action = verdict->who == Who::target   ? "kept"
                         : verdict->who == Who::source ? "overwritten"
                                                       : "conflict";
                reason = (verdict->who == Who::undecidable ? "cannot tell which is newer: " : "") +
                         verdict->reason;
                break;
            }
        }
        if (action == "conflict") {
            ++conflicts;
            if (conflicts <= kExamples)
                examples += fmt::format("{}db{} \"{}\"", examples.empty() ? "" : ", ", db,
                                        escape_key(name, 120));
        }
        // What cannot be decided is always listed; of the rest a bounded number.
        const bool open = action == "conflict";
        if (!listed || (!open && decided_ >= limits::kConflictNames_max)) return {};
        if (!open) ++decided_;
        changes.push_back({.direction = flow_.name,
                           .location = fmt::format("db{}", db),
                           .key = std::string(name),
                           .side = "target",
                           .action = std::move(action),
                           .reason = std::move(reason),
                           .detail = db < source_databases_ ? key.detail() : std::string()});
        return {};
    }

    static constexpr uint64_t kExamples = 10;

    Flow& flow_;
    Client& source_;
    Client& target_;
    ForeignKeys before_;
    ConflictPolicy policy_;
    std::string newer_by_;
    RepairReader reader_;
    int source_databases_ = 16;
    std::size_t decided_ = 0;  ///< rows about names that the policy decides
};

}  // namespace

/// Runs before the start is durable. A name that nobody may decide about stops the attempt.
Status RedisMovement::settle_conflicts(const std::stop_token& stop) {
    const FamilyContext& context = flow_.context;
    Journal& journal = context.journal;
    const MigrateSettings& want = context.settings.migrate;
    auto owned = journal.load_position(flow_.name + "-past", "owned");
    if (!owned) return tl::unexpected<Error>(std::move(owned).error());
    const bool source_wins = authority_wins(context.settings);
    const bool again = *owned && **owned == "1";
    ScanPlace fill;
    // A past attempt of this migration copied what is there: it is made equal again, names that the
    // origin lacks included.
    fill.repair = again || source_wins;
    flow_.queue.restart(fill);
    if (flow_.direction == Direction::reverse) return {};  // the target is the authority there
    const std::vector<std::string> actions{"conflict", "kept", "overwritten"};
    if (source_wins) {
        EXODUS_TRY(save_library_names(journal, "forward-past", "functions-kept", {}));
        EXODUS_TRY(journal.replace_item_changes(flow_.name, actions, {}));
        return ForeignKeys::save(context, {});
    }
    auto before = again ? ForeignKeys::load(context, flow_.direction) : ForeignKeys();
    if (!before) return tl::unexpected<Error>(std::move(before).error());
    const bool keys_settled = again && before->empty();
    auto kept_before = kept_libraries(journal);
    if (!kept_before) return tl::unexpected<Error>(std::move(kept_before).error());
    if (keys_settled && kept_before->empty()) return {};

    auto source = side_client(Side::source);
    if (!source) return tl::unexpected<Error>(std::move(source).error());
    auto target = side_client(Side::target);
    if (!target) return tl::unexpected<Error>(std::move(target).error());
    auto source_version = (*source)->server_version();
    if (!source_version) return tl::unexpected<Error>(std::move(source_version).error());
    auto target_version = (*target)->server_version();
    if (!target_version) return tl::unexpected<Error>(std::move(target_version).error());
    auto source_libraries = read_libraries(**source);
    if (!source_libraries) return tl::unexpected<Error>(std::move(source_libraries).error());
    auto target_libraries = read_libraries(**target);
    if (!target_libraries) return tl::unexpected<Error>(std::move(target_libraries).error());
    if (again) {  // of the others it is known whose they are
        std::erase_if(*target_libraries,
                      [&](const auto& entry) { return !kept_before->contains(entry.first); });
    }
    LibraryVerdict libraries = judge_libraries(*source_libraries, *target_libraries, want.conflict);
    ConflictScan scan(flow_, **source, *source_version, **target, *target_version,
                      std::move(*before));
    if (!keys_settled) EXODUS_TRY(scan.run(stop));
    std::vector<ItemChange> changes = std::move(libraries.changes);
    const std::size_t library_rows = changes.size();
    changes.insert(changes.end(), scan.changes.begin(), scan.changes.end());
    EXODUS_TRY(journal.replace_item_changes(flow_.name, actions, changes));
    if (scan.conflicts + libraries.conflicts > 0) {
        const bool undecided = want.conflict == ConflictPolicy::newer;
        std::string what;
        if (scan.conflicts > 0)
            what = fmt::format("{}{} keys, e.g. {}", scan.enough() ? "at least " : "",
                               scan.conflicts, scan.examples);
        if (libraries.conflicts > 0)
            what += fmt::format("{}{} function libraries", what.empty() ? "" : "; ",
                                libraries.conflicts);
        return fail(ErrorCode::safety,
                    (undecided ? "of names on both sides it cannot be told which is newer: "
                               : "the destination is not empty: ") +
                        what,
                    "exodus divergences changes lists them; remove them from the target, or choose "
                    "another conflict policy");
    }
    EXODUS_TRY(save_library_names(journal, "forward-past", "functions-kept", libraries.kept));
    if (library_rows > 0) {
        (void)journal.add_event(
            "warn", "conflicts",
            fmt::format(
                "{} function libraries of the target differ from the source's: {} stay, the "
                "others are replaced (exodus divergences changes)",
                library_rows, libraries.kept.size()));
    }
    if (keys_settled) return {};
    const std::size_t kept = scan.names.kept.size();
    const std::size_t left = scan.names.left.size();
    EXODUS_TRY(ForeignKeys::save(context, std::move(scan.names)));
    if (kept + left == 0) return {};
    return journal.add_event(
        "warn", "conflicts",
        fmt::format("the target held {} keys before: {} stay as they are whatever the source has; "
                    "of {} the source's value wins, and what the source lacks is left alone "
                    "(exodus divergences changes)",
                    kept + left, kept, left));
}

}  // namespace exodus::redis
