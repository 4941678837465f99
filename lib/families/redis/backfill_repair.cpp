// Backfill of a repair (redis.md 4.10, 6): reads as verify does and hands on only what differs.
//
// A key counts as equal when the destination, which has applied at least offset O, holds the
// origin's state at O, and when nothing else of this copy is on its way there. What the lane does
// to the key afterwards has an end above O, so its watermark outlives the chunk and the chunk's
// word on the key is dropped (redis.md 4.5).
#include "base/limits.h"
#include "base/stop_token.h"
#include "families/redis/backfill.h"

namespace exodus::redis {

namespace {

constexpr milliseconds kLook{20};  ///< for what nobody tells: a fill that begins elsewhere

}  // namespace

/// Until the lane has executed every chunk; false: stopped, or the fill begins elsewhere. The lane
/// retries a destination that is away for as long as it is, and says so; there is nothing to copy
/// meanwhile.
bool Backfill::wait_executed() {
    const Waiting lane(*this);
    for (;;) {
        const uint64_t seen = flow_.copier_work.seen();
        if (flow_.queue.idle()) break;
        if (stop_.stop_requested() || flow_.queue.generation() != generation_) return false;
        flow_.copier_work.wait(seen, stop_, kLook);
    }
    return !stop_.stop_requested() && flow_.queue.generation() == generation_;
}

Result<bool> Backfill::wait_applied(const StreamPosition& position) {
    const Waiting lane(*this);
    while (!stop_.stop_requested() && flow_.queue.generation() == generation_) {
        const uint64_t seen = flow_.copier_work.seen();
        std::string replid;
        std::optional<StreamPosition> applied;
        {
            const std::lock_guard lock(flow_.mutex);
            replid = flow_.replid;
            applied = StreamPosition::parse(flow_.status.applied.text);
        }
        if (replid != position.replid)
            return fail(ErrorCode::gap,
                        "the origin's replication id is not the one that is followed");
        if (applied && applied->replid == replid && applied->offset >= position.offset) return true;
        flow_.copier_work.wait(seen, stop_, kLook);
    }
    return false;
}

Status Backfill::repair_page(std::vector<Key> keys, const ScanPlace& after,
                             const std::stop_token& stop) {
    auto sizes = sizes_of(keys);
    if (!sizes) return tl::unexpected<Error>(std::move(sizes).error());
    auto going = leave_equal(keys, *sizes, after);
    if (!going) return tl::unexpected<Error>(std::move(going).error());
    if (!*going) return {};
    std::vector<Key> rest;
    auto copied = copy_keys(keys, *sizes, {}, after, rest, stop);
    if (!copied) return tl::unexpected<Error>(std::move(copied).error());
    return {};
}

/// Takes the equal ones out of `keys` and `sizes` and delivers them as seen. False: give this page
/// up.
Result<bool> Backfill::leave_equal(std::vector<Key>& keys, std::vector<int64_t>& sizes,
                                   const ScanPlace& after) {
    if (keys.empty()) return true;
    if (!wait_executed()) return false;
    const uint64_t id = flow_.queue.begin(flow_.link_end, generation_);
    std::vector<std::string_view> names;
    names.reserve(keys.size());
    for (const auto& key : keys) names.emplace_back(key.name);
    auto compared = repair_->compare(keys.front().db, names);
    if (!compared) return tl::unexpected<Error>(std::move(compared).error());
    if (!*compared) {
        flow_.queue.abandon();
        return false;
    }
    std::vector<CopyItem> equal;
    std::vector<Key> rest;
    std::vector<int64_t> rest_sizes;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        ComparedKey& key = (**compared)[i];
        const bool absent = !key.origin.present;
        // A name that vanished since the SCAN is the stream's business, or the sweep's.
        if (key.difference == Difference::none && absent) continue;
        if (key.difference == Difference::none) {
            CopyItem item;
            item.key = keys[i];
            item.at = key.at;
            item.expires = key.origin.expire_ms >= 0;
            item.equal = true;
            equal.push_back(std::move(item));
        } else {
            differing_.emplace(keys[i].hash, std::move(key));
            rest.push_back(keys[i]);
            rest_sizes.push_back(sizes[i]);
        }
    }
    keys = std::move(rest);
    sizes = std::move(rest_sizes);
    ScanPlace here = place_;
    here.run_id = after.run_id;
    return deliver(id, std::move(equal), here, stop_);
}

void Backfill::note_difference(CopyItem& item) const {
    const auto found = differing_.find(item.key.hash);
    if (found == differing_.end()) return;
    const Difference difference = found->second.difference;
    item.change = difference == Difference::undecided ? "could not be compared"
                                                      : std::string(to_string(difference));
    item.detail = found->second.detail();
}

/// Names of the destination that the origin lacked at `at`: those that are still there once the
/// stream is applied up to it.
Result<std::optional<std::vector<CopyItem>>> Backfill::removals(const std::vector<Key>& extra,
                                                                uint64_t at,
                                                                const std::string& replid) {
    std::vector<CopyItem> items;
    if (extra.empty()) return std::optional(std::move(items));
    StreamPosition position;
    position.replid = replid;
    position.offset = static_cast<int64_t>(at);
    auto going = wait_applied(position);
    if (!going) return tl::unexpected<Error>(std::move(going).error());
    if (!*going) {
        flow_.queue.abandon();
        return std::optional<std::vector<CopyItem>>{};
    }
    for (const auto& key : extra) destination_->append({"EXISTS", key.name});
    auto replies = destination_->read_all(extra.size());
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    for (std::size_t i = 0; i < extra.size(); ++i) {
        if ((*replies)[i].integer() == 0) continue;
        CopyItem item;
        item.key = extra[i];
        item.at = at;
        item.absent = true;
        item.change = to_string(Difference::extra);
        item.detail = "the origin lacks it";
        append_command(item.bytes, {"DEL", extra[i].name});
        item.commands = 1;
        items.push_back(std::move(item));
    }
    return std::optional(std::move(items));
}

}  // namespace exodus::redis
