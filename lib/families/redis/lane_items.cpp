// Lane: single items that need more than being applied: those that failed, those that are the
// destination's own (redis.md 6, conflicts), and what a repair changes. Rows about them are durable
// before the transaction that they tell about.
#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "families/redis/lane.h"

namespace exodus::redis {

namespace {

std::string location_of(int db) { return fmt::format("db{}", db); }

}  // namespace

// --- failed items

/// What failed before this process began, or before the connection was lost, still has not arrived.
Status Lane::load_failed() {
    auto rows = flow_.context.journal.item_errors(flow_.name, limits::kTouchedKeys_max);
    if (!rows) return tl::unexpected<Error>(std::move(rows).error());
    failed_.clear();
    for (const auto& row : *rows) {
        const auto db = row.location.starts_with("db")
                            ? to_number(std::string_view(row.location).substr(2))
                            : std::nullopt;
        if (!db) continue;
        const Key key{static_cast<int>(*db), row.key, key_hash(static_cast<int>(*db), row.key)};
        failed_.emplace(key.hash, key);
        watermarks_.put(key.hash, {kNoOffset, 0, key.db, false});
    }
    const std::lock_guard lock(flow_.mutex);
    flow_.status.failed_items = failed_.size();
    return {};
}

/// Its operations are dropped until it is driven again: what they would be applied to is not there.
/// Without a row nobody would know: then the lane opens anew and meets the item again.
Status Lane::fail_item(const Key& key, const std::string& reason) {
    ItemError error;
    error.direction = flow_.name;
    error.location = location_of(key.db);
    error.key = key.name;
    error.reason = reason;
    error.at_ms = wall_ms();
    EXODUS_TRY(flow_.context.journal.add_item_error(error));
    watermarks_.put(key.hash, {kNoOffset, 0, key.db, false});
    repairs_.erase(key.hash);
    refused_.erase(key.hash);
    big_.copied(key.hash);
    failed_.emplace(key.hash, key);
    const std::lock_guard lock(flow_.mutex);
    flow_.status.failed_items = failed_.size();
    return {};
}

Status Lane::resolve_failed(const Key& key) {
    if (!failed_.contains(key.hash)) return {};
    EXODUS_TRY(save_least());
    EXODUS_TRY(flow_.context.journal.resolve_item_error(flow_.name, location_of(key.db), key.name));
    failed_.erase(key.hash);
    const std::lock_guard lock(flow_.mutex);
    flow_.status.failed_items = failed_.size();
    return {};
}

Status Lane::resolve_arrived(const Plan& plan, const std::vector<CopyItem>& items,
                             const std::vector<CopyItem>& copies,
                             const std::vector<StepResult>& results) {
    if (failed_.empty()) return {};
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const Step& step = plan.steps[i];
        if (results[i].failed) continue;
        if (step.kind == Step::Kind::copy) EXODUS_TRY(resolve_failed(copies[step.index].key));
        if (step.kind == Step::Kind::item && items[step.index].piece.copy == 0)
            EXODUS_TRY(resolve_failed(items[step.index].key));
    }
    return {};
}

/// The rows stay until the items have arrived: a process that dies in between loses none.
Status Lane::take_redriven() {
    KeySet keys;
    {
        const std::lock_guard lock(flow_.mutex);
        keys.swap(flow_.redrive);
    }
    if (keys.empty()) return {};
    EXODUS_TRY(learn_format());  // what the destination refused, it may take now
    std::vector<ItemChange> accepted;
    for (const auto& [hash, key] : keys) {
        if (foreign_.never_written(hash)) {
            accepted.push_back({.direction = flow_.name,
                                .location = location_of(key.db),
                                .key = key.name,
                                .side = "target",
                                .action = "accepted",
                                .reason = "operations over this kept key and keys of the source",
                                .detail = {}});
            continue;
        }
        failed_.emplace(hash, key);
        if (big_.aside(hash)) continue;  // its copy is under way
        strikes_.erase(hash);
        watermarks_.erase(hash);
        repairs_.emplace(hash, key);
    }
    EXODUS_TRY(flow_.context.journal.add_item_changes(accepted));
    for (const auto& [hash, key] : keys) {
        if (foreign_.never_written(hash)) EXODUS_TRY(resolve_failed(key));
    }
    const std::lock_guard lock(flow_.mutex);
    flow_.status.failed_items = failed_.size();
    return {};
}

// --- before and after a batch

ItemChange Lane::change_of(const CopyItem& item) const {
    return {.direction = flow_.name,
            .location = location_of(item.key.db),
            .key = item.key.name,
            .side = std::string(to_string(destination_of(flow_.direction))),
            .action = item.absent ? "removed" : "restored",
            .reason = item.change,
            .detail = item.detail};
}

Status Lane::before_batch(const Plan& plan, const std::vector<StreamCommand>& ops,
                          const std::vector<CopyItem>& items, const std::vector<CopyItem>& copies) {
    std::vector<Digest128> taken;
    std::vector<ItemChange> changes;
    const auto take = [&](const Digest128& key) {
        if (foreign_.doubtful(key)) taken.push_back(key);
    };
    for (const auto& step : plan.steps) {
        if (step.kind == Step::Kind::command) {
            for (const auto& key : ops[step.index].keys) take(key.hash);
        } else if (step.kind == Step::Kind::copy) {
            take(copies[step.index].key.hash);
        } else if (step.kind == Step::Kind::item) {
            const CopyItem& item = items[step.index];
            if (item.piece.copy != 0) continue;  // of a temporary key
            take(item.key.hash);
            if (!item.change.empty()) changes.push_back(change_of(item));
        }
    }
    // Found equal, it is the origin's as much as one that was written.
    for (const auto& item : items) {
        if (item.equal) take(item.key.hash);
    }
    EXODUS_TRY(foreign_.take(taken));
    EXODUS_TRY(flow_.context.journal.add_item_changes(changes));
    if (foreign_.kept_count() == 0) return {};
    for (const auto& op : ops) {
        if (op.role != StreamRole::op) continue;  // a reset changes each of its keys by itself
        std::vector<const KeyRef*> kept;
        for (const auto& key : op.keys) {
            if (foreign_.never_written(key.hash)) kept.push_back(&key);
        }
        if (!kept.empty()) EXODUS_TRY(report_mixed(op, kept));
    }
    return {};
}

/// An operation over keys of both sides: ours were copied by state, but what moved between them and
/// the kept ones is on neither the target's nor the source's terms. The operator must know.
Status Lane::report_mixed(const StreamCommand& op, const std::vector<const KeyRef*>& kept) {
    const bool ours = std::any_of(op.keys.begin(), op.keys.end(),
                                  [&](const KeyRef& key) { return planner_.in_scope(key); });
    if (!ours) return {};
    for (const KeyRef* key : kept) {
        if (failed_.contains(key->hash)) continue;
        EXODUS_TRY(fail_item(
            {key->db, std::string(key->name), key->hash},
            verb_of(op) +
                " went over this key, which the target keeps (conflict = skip or newer), and "
                "over keys of the source; re-drive accepts that"));
    }
    return {};
}

void Lane::count_repairs(const Plan& plan, const std::vector<CopyItem>& items) {
    uint64_t restored = 0;
    uint64_t removed = 0;
    for (const auto& step : plan.steps) {
        if (step.kind != Step::Kind::item || items[step.index].change.empty()) continue;
        ++(items[step.index].absent ? removed : restored);
    }
    const auto equal = static_cast<uint64_t>(
        std::count_if(items.begin(), items.end(), [](const CopyItem& item) { return item.equal; }));
    const std::lock_guard lock(flow_.mutex);
    flow_.status.items_equal += equal;
    flow_.status.items_restored += restored;
    flow_.status.items_removed += removed;
}

void Lane::count_dropped(const std::vector<StreamCommand>& ops) {
    if (foreign_.kept_count() == 0) return;
    const auto dropped = std::count_if(ops.begin(), ops.end(), [&](const StreamCommand& op) {
        return std::any_of(op.keys.begin(), op.keys.end(),
                           [&](const KeyRef& key) { return foreign_.never_written(key.hash); });
    });
    const std::lock_guard lock(flow_.mutex);
    flow_.status.changes_dropped += static_cast<uint64_t>(dropped);
}

std::string Lane::repair_text() const {
    const std::lock_guard lock(flow_.mutex);
    return fmt::format(
        "the repair is done: {} keys were equal, {} restored, {} removed (exodus divergences "
        "changes); the stream is followed",
        flow_.status.items_equal, flow_.status.items_restored, flow_.status.items_removed);
}

}  // namespace exodus::redis
