// Lane: how the keys that are copied in pieces come into its batches (redis.md 4.8).
#include "families/redis/lane.h"

namespace exodus::redis {

/// Before a batch: takes out of `due` what only names big keys or belongs to a copy that was given
/// up, and adds a copy that is finished with the operations that follow it.
Status Lane::follow_big_keys(CopyQueue::Batch& due, std::vector<StreamCommand>& ops) {
    std::vector<ItemChange> changes;  // of a repair
    std::erase_if(due.items, [&](const CopyItem& item) {
        if (item.piece.copy != 0) return !big_.is_current(item);
        if (!item.big) return false;
        // As for every item of a chunk: a key that the lane knows already is followed.
        const Key& key = item.key;
        if (planner_.in_scope({key.db, key.name, key.hash, false}) &&
            watermarks_.find(key.hash) == nullptr && !repairs_.contains(key.hash)) {
            big_.set_aside(key, true);
            if (!item.change.empty()) changes.push_back(change_of(item));
        }
        return true;
    });
    if (!changes.empty()) {
        EXODUS_TRY(flow_.context.journal.add_item_changes(changes));
        const std::lock_guard lock(flow_.mutex);
        flow_.status.items_restored += changes.size();
    }
    auto outcome = big_.advance(*origin_, applied_.offset, repairs_);
    if (!outcome) return fail(std::move(outcome).error(), "origin");
    if (outcome->failed) EXODUS_TRY(fail_item(*outcome->failed, outcome->reason));
    // Before items of the fill: of two states of a key the planner takes the first.
    if (outcome->item) due.items.insert(due.items.begin(), std::move(*outcome->item));
    ops = std::move(outcome->ops);
    return {};
}

}  // namespace exodus::redis
