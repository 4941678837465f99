// Lane: what an executed batch changes: repairs, failed items, the place reached, the end of the
// fill, the status.
#include <fmt/format.h>
#include <utility>

#include "base/limits.h"
#include "families/redis/lane.h"

namespace exodus::redis {

namespace {

constexpr uint64_t kRateEvery_us = 1'000'000;
/// The times of batches are told of one such window that is over, and of the one that runs.
constexpr int64_t kBatchWindow_us = 5'000'000;

}  // namespace

// --- what a batch changes

Status Lane::after_batch(const Plan& plan, const std::vector<StreamCommand>& ops,
                         const std::vector<CopyItem>& items, const std::vector<CopyItem>& copies,
                         const std::vector<StepResult>& results) {
    repairs_ = planner_.commit(plan, ops, items, copies, results);
    big_.after_batch(plan, ops, items, results);
    if (!repairs_.empty()) exact_ = false;
    EXODUS_TRY(count_failures(plan, items, copies, results));
    std::erase_if(refused_, [this](const auto& entry) { return !repairs_.contains(entry.first); });
    uint64_t bytes = 0;
    uint64_t keys = 0;
    for (const auto& item : items) {
        bytes += item.bytes.size();
        if (item.piece.copy != 0) continue;
        if (item.unreadable)
            EXODUS_TRY(fail_item(item.key, item.reason));
        else
            ++keys;
    }
    for (const auto& copy : copies) {
        bytes += copy.bytes.size();
        big_.copied(copy.key.hash);
        if (copy.unreadable) EXODUS_TRY(fail_item(copy.key, copy.reason));
    }
    EXODUS_TRY(resolve_arrived(plan, items, copies, results));
    count_repairs(plan, items);
    count_dropped(ops);
    const int64_t now = steady_us();
    const std::lock_guard lock(flow_.mutex);
    flow_.status.items_done += keys;
    flow_.status.bytes_copied += bytes;
    flow_.status.changes_applied += plan.applied + plan.contained;
    flow_.status.degraded.clear();
    for (const auto& op : ops) {
        for (const auto& key : op.keys) {
            if (foreign_.never_written(key.hash)) continue;  // nothing of ours to check again
            flow_.touched.emplace_back(now, fmt::format("{}:{}", key.db, key.name));
        }
    }
    while (flow_.touched.size() > limits::kTouchedKeys_max) flow_.touched.pop_front();
    return {};
}

Status Lane::count_failures(const Plan& plan, const std::vector<CopyItem>& items,
                            const std::vector<CopyItem>& copies,
                            const std::vector<StepResult>& results) {
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const Step& step = plan.steps[i];
        if (!results[i].failed) continue;
        if (step.kind == Step::Kind::command || step.kind == Step::Kind::check) {
            const std::lock_guard lock(flow_.mutex);
            ++flow_.status.retries;
            continue;
        }
        const CopyItem& item =
            step.kind == Step::Kind::item ? items[step.index] : copies[step.index];
        if (item.piece.copy != 0) continue;  // its copy starts again
        if (++strikes_[item.key.hash] >= limits::kItemTries_max) {
            strikes_.erase(item.key.hash);
            EXODUS_TRY(fail_item(item.key, std::string(results[i].error)));
        } else {
            watermarks_.erase(item.key.hash);
            repairs_.emplace(item.key.hash, item.key);
            refused_.emplace(item.key.hash, item.key);
            exact_ = false;
        }
    }
    return {};
}

void Lane::advance(const StreamCommand& last) {
    applied_ = {flow_.followed(), last.end, last.stream_db};
    while (!blocks_.empty() && blocks_.front().first <= applied_.offset) blocks_.pop_front();
}

Status Lane::finish_fill() {
    // Until its end is durable, also when open() found it ended after this failed half-way.
    fill_unsaved_ = fill_unsaved_ || flow_.fill_open;
    if (!fill_unsaved_) return {};
    const ScanPlace place = flow_.queue.place();
    const bool done = place.phase == ScanPlace::Phase::done && flow_.queue.idle();
    const int64_t now = steady_us();
    if (!done && now - scan_saved_us_ < limits::kScanSave_ms * 1000) return {};
    if (done && flow_.fill_open) {
        auto offset = origin_offset();
        if (!offset) return tl::unexpected<Error>(std::move(offset).error());
        watermarks_.set_doubt(*offset);
        flow_.fill_open = false;
    }
    scan_saved_us_ = now;
    EXODUS_TRY(save_least());
    EXODUS_TRY(flow_.context.journal.save_position(flow_.name, "fill", place.text()));
    if (!done) return {};
    EXODUS_TRY(flow_.remember_origin(*origin_));
    fill_unsaved_ = false;
    (void)flow_.context.journal.add_event(
        "info", "fill-done",
        (place.repair ? repair_text()
                      : std::string("everything was copied once; the stream is followed")) +
            (big_.size() == 0
                 ? ""
                 : fmt::format("; {} big keys are copied in pieces meanwhile", big_.size())));
    return {};
}

/// What becomes durable about the copy (its place, an item that is done) holds for a destination
/// with at least this batch. One that came back from an older snapshot is told apart by it.
Status Lane::save_least() {
    return flow_.context.journal.save_position(flow_.name, "least", std::to_string(batch_));
}

/// Keeps the table of watermarks bounded; raising M costs copies, never correctness.
void Lane::make_room() {
    if (watermarks_.evict(applied_.offset, flow_.queue.floor())) return;
    if (flow_.fill_open)
        return;  // the fill's M is infinite; only chunks in flight keep entries, and they pass
    if (auto offset = origin_offset()) {
        watermarks_.set_doubt(*offset);
        watermarks_.evict(applied_.offset, flow_.queue.floor());
    }
}

void Lane::count_batch(uint64_t took_us) {
    batch_us_[0].record(took_us);
    const std::lock_guard lock(flow_.mutex);
    ++flow_.status.batches;
    flow_.status.batches_us += took_us;
}

/// Percentiles since the start would hide what has just become slow. The caller holds the mutex.
void Lane::publish_batches(int64_t now_us) {
    Histogram recent = batch_us_[0];
    recent.merge(batch_us_[1]);
    const auto share = [&recent](double part) {
        return recent.count() == 0 ? std::nullopt
                                   : std::optional(static_cast<int64_t>(recent.percentile(part)));
    };
    flow_.status.batch_p50_us = share(0.50);
    flow_.status.batch_p99_us = share(0.99);
    if (now_us - batch_window_us_ < kBatchWindow_us) return;
    batch_window_us_ = now_us;
    batch_us_[1] = std::exchange(batch_us_[0], {});
}

void Lane::publish() {
    const bool exact = !flow_.fill_open && !fill_unsaved_ && repairs_.empty() && big_.size() == 0 &&
                       watermarks_.exact_at(applied_.offset);
    if (!exact) exact_ = false;
    applied_offset_ = applied_.offset;
    if (exact) exact_ = true;
    const int64_t now = steady_us();
    flow_.published_us = now;
    const bool caught_up = flow_.hears_origin && applied_.offset >= flow_.origin_end;
    if (caught_up) flow_.caught_up_us = now;
    if (caught_up && !flow_.fill_open && !big_.filling() && repairs_.empty())
        flow_.fresh->current_us = now;
    const std::lock_guard lock(flow_.mutex);
    MovementStatus& status = flow_.status;
    status.applied.text = fmt::format("{}:{}", applied_.replid, applied_.offset);
    status.repairs_open = repairs_.size() + big_.size();
    status.waiting_for = big_.doing();
    status.stage =
        flow_.fill_open || big_.filling()
            ? (flow_.queue.place().repair ? MovementStage::repairing : MovementStage::filling)
            : MovementStage::following;
    if (status.stage == MovementStage::following) status.items_total_estimate = status.items_done;
    if (static_cast<uint64_t>(now - rate_us_) > kRateEvery_us) {
        const double span = static_cast<double>(now - rate_us_) * 1e-6;
        status.items_per_s = static_cast<double>(status.items_done - rate_items_) / span;
        status.changes_per_s = static_cast<double>(status.changes_applied - rate_changes_) / span;
        rate_items_ = status.items_done;
        rate_changes_ = status.changes_applied;
        rate_us_ = now;
        publish_batches(now);
    }
    if (flow_.fill_open) flow_.copier_work.tell();
}

}  // namespace exodus::redis
