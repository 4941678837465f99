// Lane: connections, the take-over of the checkpoint with an epoch of its own, the doubt window of
// a (re)start.
#include <fmt/format.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "families/redis/lane.h"

namespace exodus::redis {

Result<uint64_t> Lane::origin_offset() {
    auto info = origin_->ask({"INFO", "replication"});
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    return offset_of_info(info->text(), flow_.followed());
}

Status Lane::open(const std::stop_token&) {
    if (flow_.followed().empty())
        return fail(ErrorCode::unreachable, "the replication link is not attached yet");
    auto destination = flow_.connect(flow_.destination, "lane");
    if (!destination) return tl::unexpected<Error>(std::move(destination).error());
    auto origin = flow_.connect(flow_.origin, "lane");
    if (!origin) return tl::unexpected<Error>(std::move(origin).error());
    {
        const std::lock_guard lock(client_mutex_);
        destination_ = std::move(*destination);
        origin_ = std::move(*origin);
    }
    (void)origin_->command({"CLIENT", "NO-TOUCH", "ON"});
    EXODUS_TRY(learn_format());
    auto databases = destination_->config_get("databases");
    if (databases && *databases)
        destination_databases_ = static_cast<int>(to_number(**databases).value_or(16));
    database_reached_ = 0;
    parsed_.clear();
    open_group_.clear();
    open_group_bytes_ = 0;
    blocks_.clear();
    repairs_.clear();
    refused_.clear();
    watermarks_.clear();
    functions_at_ = 0;  // of a destination that may have come back with older ones
    functions_known_ = false;
    exact_ = false;
    EXODUS_TRY(load_failed());
    flow_.queue.drop_all();  // what was read before this moment may be older than what the
                             // checkpoint contains
    auto origin_rdb = rdb_version_of(*origin_);
    if (!origin_rdb) return tl::unexpected<Error>(std::move(origin_rdb).error());
    EXODUS_TRY(big_.open(*origin_, *destination_, *origin_rdb, format_.rdb_version));
    EXODUS_TRY(take_checkpoint());
    passed_ = applied_;
    EXODUS_TRY(flow_.remember_origin(*origin_));
    if (!flow_.spool->covers(applied_.offset)) flow_.spool_short = true;
    EXODUS_TRY(flow_.spool->seek(applied_.offset));
    publish();  // it may be behind what was told before
    ready_ = true;
    flow_.well(&Flow::lane_trouble);
    return {};
}

Status Lane::learn_format() {
    auto format = DestinationFormat::of(*destination_);
    if (!format) return tl::unexpected<Error>(std::move(format).error());
    format_ = *format;
    reader_ = KeyReader(format_);
    flow_.destination_rdb = format_.rdb_version;
    return {};
}

Status Lane::take_checkpoint() {
    Journal& journal = flow_.context.journal;
    auto stored = journal.load_position(flow_.name, "start");
    if (!stored) return tl::unexpected<Error>(std::move(stored).error());
    const auto start = *stored ? DurableStart::parse(**stored) : std::nullopt;
    if (!start) return fail(ErrorCode::safety, "no durable start for this direction");
    EXODUS_TRY(destination_->select(0));
    EXODUS_TRY(destination_->ask({"WATCH", flow_.checkpoint_key}).map([](const Reply&) {}));
    auto held = destination_->command({"GET", flow_.checkpoint_key});
    if (!held) return fail(std::move(held).error(), "destination");
    auto found = flow_.checkpoint_in(*held);
    if (!found) return tl::unexpected<Error>(std::move(found).error());
    const std::optional<Checkpoint>& checkpoint = *found;
    const std::string held_text = checkpoint ? checkpoint->text() : "";
    EXODUS_TRY(flow_.destination_kept(checkpoint, *start));
    if (!checkpoint && start->exact) {
        auto same = flow_.same_run(*destination_);
        if (!same) return tl::unexpected<Error>(std::move(same).error());
        if (!*same) return tl::unexpected<Error>(flow_.destination_lost());
    }
    bool exact_start = false;
    if (checkpoint && checkpoint->epoch >= start->epoch_min) {
        // After a lost answer it is one of the two that we wrote, or an older one when the
        // destination came back with an older state; a newer one was written by another process.
        if (!written_.empty() && held_text != written_ && held_text != in_flight_ &&
            std::pair(checkpoint->epoch, checkpoint->batch) >= std::pair(epoch_, batch_)) {
            return fail(ErrorCode::second_writer,
                        "second writer: another process moves data in this direction",
                        "stop the other exodus process, or let it go on and stop this one");
        }
        auto least = journal.load_position(flow_.name, "least");
        if (!least) return tl::unexpected<Error>(std::move(least).error());
        const auto batch_min = *least ? to_number(**least) : 0;
        if (!batch_min || *batch_min < 0)
            return fail(ErrorCode::safety, "the journal's least batch is no number: " + **least);
        if (checkpoint->batch < static_cast<uint64_t>(*batch_min)) {
            flow_.copy_short = true;
            return fail(ErrorCode::unreachable,
                        fmt::format("the {} came back with less than was copied to it",
                                    to_string(destination_of(flow_.direction))));
        }
        applied_ = checkpoint->place;
    } else {
        applied_ = start->place;
        exact_start = start->exact;
    }
    epoch_ = std::max({epoch_, checkpoint ? checkpoint->epoch : 0, start->epoch_min}) + 1;
    batch_ = std::max(batch_, checkpoint ? checkpoint->batch : 0);
    const bool filling = flow_.queue.place().phase != ScanPlace::Phase::done;
    flow_.fill_open = filling;
    if (filling) {
        watermarks_.set_doubt(kNoOffset);
    } else if (exact_start) {
        watermarks_.set_doubt(applied_.offset);
    } else {
        auto now = origin_offset();
        if (!now) return tl::unexpected<Error>(std::move(now).error());
        watermarks_.set_doubt(*now);
    }
    written_ = held_text;
    std::string body;
    auto taken = transact(body, 0, applied_, nullptr);
    if (!taken) return tl::unexpected<Error>(std::move(taken).error());
    auto existed = journal.load_position(flow_.name, "cp");
    if (!existed) return tl::unexpected<Error>(std::move(existed).error());
    if (!*existed || **existed != "written")
        EXODUS_TRY(journal.save_position(flow_.name, "cp", "written"));
    if (!functions_known_ && !exact_start) EXODUS_TRY(copy_functions(applied_, nullptr));
    functions_known_ = true;
    return {};
}

void Lane::shutdown() {
    const std::lock_guard lock(client_mutex_);
    if (destination_) destination_->shutdown();
    if (origin_) origin_->shutdown();
}

}  // namespace exodus::redis
