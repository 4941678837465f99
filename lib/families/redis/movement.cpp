#include "families/redis/movement.h"

#include <filesystem>
#include <fmt/format.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "base/values.h"
#include "core/consent.h"
#include "families/redis/options.h"
#include "families/redis/redis_movement.h"

namespace exodus::redis {

std::unique_ptr<Movement> make_redis_movement(const FamilyContext& context, Direction direction) {
    return make_redis_movement(context, direction, MovementTuning{});
}

std::unique_ptr<Movement> make_redis_movement(const FamilyContext& context, Direction direction,
                                              const MovementTuning& tuning) {
    return std::make_unique<RedisMovement>(context, direction, tuning);
}

std::unique_ptr<Movement> make_redis_movement(const FamilyContext& context, Direction direction,
                                              std::shared_ptr<Freshness> fresh) {
    auto movement = std::make_unique<RedisMovement>(context, direction, MovementTuning{});
    movement->tell(std::move(fresh));
    return movement;
}

RedisMovement::RedisMovement(const FamilyContext& context, Direction direction,
                             const MovementTuning& tuning)
    : flow_(context, direction),
      link_(context.dialer, context.settings.endpoint(origin_of(direction)),
            {.channel = flow_.channel}),
      ack_durable_(acknowledges_durable(context.settings)) {
    flow_.tuning = tuning;
    flow_.lane_work.set_patience(milliseconds(tuning.patience_ms));
    flow_.copier_work.set_patience(milliseconds(tuning.patience_ms));
    std::error_code error;
    const auto space = std::filesystem::space(context.directory, error);
    spool_max_ = spool_bytes_max(context.settings, error ? UINT64_MAX : space.available);
    for (const auto& [key, value] : context.settings.migrate.throttle)
        (void)set_throttle(key, value);
}

RedisMovement::~RedisMovement() { stop(); }

void RedisMovement::start_threads() {
    reader_ = std::jthread([this](const std::stop_token& stop) { read_loop(stop); });
}

void RedisMovement::stop_threads() {
    reader_.request_stop();
    link_.shutdown();
    if (reader_.joinable()) reader_.join();
    stop_workers();
    link_.detach();
    flow_.well(&Flow::link_trouble);
    flow_.well(&Flow::lane_trouble);
}

/// Attach, then bytes to the spool until stopped. A broken link is attached again where it ended; a
/// gap begins anew.
void RedisMovement::read_loop(const std::stop_token& stop) {
    int64_t back_off = limits::kRetry_ms_min;
    spooling_ = false;
    while (!stop.stop_requested()) {
        if (flow_.spool) flow_.spool->give_back();
        if (spooling_ && !spool_has_room()) {
            link_.detach();  // the origin's backlog is the last reserve
            publish_link();
            wait_unless_stopped(stop, milliseconds(limits::kSpoolFullLook_ms));
            continue;
        }
        if (!link_.attached()) {
            const Status attached = attach(stop);
            if (!attached) {
                if (stop.stop_requested()) break;
                const bool lasting = attached.error().code == ErrorCode::safety ||
                                     attached.error().code == ErrorCode::permission ||
                                     attached.error().code == ErrorCode::config;
                flow_.trouble(&Flow::link_trouble, attached.error(), lasting);
                wait_unless_stopped(stop, milliseconds(back_off));
                back_off = std::min(back_off * 2, limits::kRetry_ms_max);
                continue;
            }
            back_off = limits::kRetry_ms_min;
            flow_.well(&Flow::link_trouble);
            publish_link();
        }
        if (spooling_ && mode_ == MovementMode::standby &&
            flow_.spool->bytes() > std::min(limits::kStandbySpool_bytes, spool_max_ / 2)) {
            flow_.spool->clear();  // from here the origin's backlog must do
            spooling_ = false;
        }
        Status read = link_.pump(
            [this](const Frame& frame, const auto& args) { return on_frame(frame, args); },
            milliseconds(20));
        flow_.spool_write_us = spooling_ ? steady_us() : 0;
        if (read && spooling_) read = flow_.spool->write();
        publish_link();
        arm_if_asked();
        // Behind what others wait for: the lane, and a switch that arms.
        if (read && spooling_) read = flow_.spool->sync_when_due();
        if (ack_durable_ && spooling_) link_.acknowledge(flow_.spool->durable_end());
        flow_.spool_write_us = 0;
        if (read && mode_ == MovementMode::apply && flow_.spool_short.exchange(false)) {
            read = fail(ErrorCode::gap, "the spool does not reach back to the checkpoint");
        }
        if (read && mode_ == MovementMode::apply && flow_.copy_short) {
            read = fail(ErrorCode::gap, "the destination lacks what was copied to it");
        }
        if (read || stop.stop_requested()) continue;
        flow_.trouble(&Flow::link_trouble, Error(read.error()).with("link"), false);
        link_.detach();
        publish_link();
        wait_unless_stopped(stop, milliseconds(limits::kRetry_ms_min));
    }
    if (spooling_) (void)flow_.spool->write();
}

/// False while the spool is full: from spool.max until the lane has made room again.
bool RedisMovement::spool_has_room() {
    const uint64_t bytes = flow_.spool->bytes();
    flow_.spool_pressed =
        static_cast<double>(bytes) > static_cast<double>(spool_max_) * limits::kSpoolCopyStop;
    measure_spool(bytes);
    // A lane that needs another start of the spool is answered by attaching anew.
    if (!flow_.spool_pressed || flow_.spool_short || flow_.copy_short) {
        spool_full_ = false;
    } else if (bytes >= spool_max_ && !spool_full_) {
        spool_full_ = true;
        flow_.trouble(
            &Flow::link_trouble,
            Error{ErrorCode::io,
                  fmt::format("the spool is full ({}): the link is closed, and what the "
                              "{} keeps in its replication backlog is the last reserve",
                              format_bytes(spool_max_), to_string(origin_of(flow_.direction))),
                  fmt::format("bring the {} back; for longer, raise repl-backlog-size "
                              "there and redis.spool.max here",
                              to_string(destination_of(flow_.direction)))},
            false);
    }
    return !spool_full_;
}

void RedisMovement::measure_spool(uint64_t bytes) {
    const int64_t now = steady_us();
    const int64_t span = now - growth_us_;
    if (span < limits::kSpoolGrowth_ms * 1000) return;
    int64_t full_ms = 0;
    if (growth_us_ != 0 && bytes > growth_bytes_ && bytes < spool_max_) {
        full_ms = static_cast<int64_t>(static_cast<double>(spool_max_ - bytes) /
                                       static_cast<double>(bytes - growth_bytes_) *
                                       static_cast<double>(span) / 1000);
    }
    growth_us_ = now;
    growth_bytes_ = bytes;
    spool_full_in_ms_ = full_ms;
}

Status RedisMovement::attach(const std::stop_token& stop) {
    {
        const std::lock_guard lock(flow_.mutex);
        if (flow_.status.stage == MovementStage::off) flow_.status.stage = MovementStage::attaching;
    }
    if (!flow_.spool) {
        auto spool = Spool::open(flow_.context.directory + "/redis-" + flow_.name,
                                 flow_.id + ":" + flow_.name,
                                 std::min<uint64_t>(limits::kSpoolSegment_bytes,
                                                    spool_max_ / limits::kSpoolSegments_min));
        if (!spool) return tl::unexpected<Error>(std::move(spool).error());
        const std::lock_guard lock(flow_.mutex);
        flow_.spool = std::move(*spool);
    }
    auto accepted = flow_.context.journal.load_position(flow_.name, kFullSyncConsent);
    if (!accepted) return tl::unexpected<Error>(std::move(accepted).error());
    link_.accept_full_sync(accepted->has_value());
    return mode_ == MovementMode::apply ? attach_for_apply(stop) : attach_standby(stop);
}

Status RedisMovement::attach_for_apply(const std::stop_token& stop) {
    auto start = read_start();
    if (!start) return tl::unexpected<Error>(std::move(start).error());
    if (!*start) {
        EXODUS_TRY(settle_conflicts(stop));
        return begin_fresh(false, stop);
    }
    auto checkpoint = read_checkpoint();
    // With the destination down the stream is kept all the same; the lane finds out later whether
    // the spool reaches back.
    if (!checkpoint && flow_.spool->empty())
        return tl::unexpected<Error>(std::move(checkpoint).error());
    if (checkpoint) EXODUS_TRY(flow_.destination_kept(*checkpoint, **start));
    if (flow_.copy_short.exchange(false)) {
        (void)flow_.context.journal.add_event(
            "warn", "copy-short",
            fmt::format("the {} came back with less than was copied to it: every key is read again",
                        to_string(destination_of(flow_.direction))));
        return begin_fresh(true, stop);
    }
    const bool known = checkpoint && *checkpoint && (*checkpoint)->epoch >= (*start)->epoch_min;
    const StreamPlace place = known ? (*checkpoint)->place : (*start)->place;
    if (checkpoint && !flow_.spool->covers(place.offset)) {
        stop_workers();
        EXODUS_TRY(flow_.spool->reset(place));
    }
    Status attached = link_.attach_at(flow_.spool->end());
    if (!attached && attached.error().code == ErrorCode::gap) {
        EXODUS_TRY(flow_.origin_kept(flow_.spool->end().replid));
        (void)flow_.context.journal.add_event("warn", "gap",
                                              "the origin's stream has a gap (" +
                                                  attached.error().message +
                                                  "): every key is read again");
        return begin_fresh(true, stop);
    }
    if (!attached) return attached;
    EXODUS_TRY(flow_.spool->continue_as(link_.place().replid));
    spooling_ = true;
    publish_link();
    auto fill = flow_.context.journal.load_position(flow_.name, "fill");
    if (!fill) return tl::unexpected<Error>(std::move(fill).error());
    {
        const std::lock_guard lock(workers_);
        if (!lane_) {
            ScanPlace done;
            done.phase = ScanPlace::Phase::done;
            flow_.queue.restart(*fill ? ScanPlace::parse(**fill).value_or(ScanPlace{})
                                      : ((*start)->exact ? done : ScanPlace{}));
        }
    }
    return start_workers();
}

/// Position first (invariant 5): the start is durable before the first key is read.
Status RedisMovement::begin_fresh(bool repair, const std::stop_token& stop) {
    stop_workers();
    spooling_ = false;  // nobody reads what is there
    auto checkpoint = read_checkpoint();
    if (!checkpoint) return tl::unexpected<Error>(std::move(checkpoint).error());
    auto start = read_start();
    if (!start) return tl::unexpected<Error>(std::move(start).error());
    if (*start) EXODUS_TRY(flow_.destination_kept(*checkpoint, **start));
    auto begun = link_.attach_now(stop);
    if (!begun) return tl::unexpected<Error>(std::move(begun).error());
    ScanPlace fill;
    fill.repair = repair || flow_.queue.place().repair;  // settle_conflicts may have asked for it
    EXODUS_TRY(flow_.spool->reset(*begun));
    EXODUS_TRY(flow_.context.journal.save_position(flow_.name, "fill", fill.text()));
    EXODUS_TRY(save_start({*begun, false, *checkpoint ? (*checkpoint)->epoch + 1 : 0}));
    flow_.queue.restart(fill);
    flow_.caught_up_us = flow_.fresh->current_us = 0;
    spooling_ = true;
    publish_link();
    return start_workers();
}

Status RedisMovement::attach_standby(const std::stop_token& stop) {
    auto start = read_start();
    if (!start) return tl::unexpected<Error>(std::move(start).error());
    auto handed = flow_.context.journal.load_position(flow_.name, "handed");
    if (!handed) return tl::unexpected<Error>(std::move(handed).error());
    // Armed, or handed over and perhaps taken back: what comes behind that place must be kept.
    const auto kept = *handed ? Checkpoint::parse(**handed) : std::nullopt;
    std::optional<StreamPlace> from;
    if (kept)
        from = kept->place;
    else if (*start && (*start)->exact)
        from = (*start)->place;
    spooling_ = false;
    strays_.attached();
    if (from) {
        if (!flow_.spool->covers(from->offset)) EXODUS_TRY(flow_.spool->reset(*from));
        Status attached = link_.attach_at(flow_.spool->end());
        if (attached) {
            EXODUS_TRY(flow_.spool->continue_as(link_.place().replid));
            spooling_ = true;
        } else if (attached.error().code != ErrorCode::gap) {
            return attached;
        } else {
            (void)flow_.context.journal.add_event(
                "warn", "gap", "the stream kept for this direction has a gap; it is armed anew");
        }
    }
    if (!spooling_) {
        auto begun = link_.attach_now(stop);
        if (!begun) return tl::unexpected<Error>(std::move(begun).error());
    }
    const std::lock_guard lock(flow_.mutex);
    flow_.status.stage = MovementStage::standby;
    return {};
}

Status RedisMovement::on_frame(const Frame& frame, const std::vector<std::string_view>& args) {
    if (args.size() == 3 && args[1] == flow_.channel && word_is(args[0], "PUBLISH")) {
        const std::lock_guard lock(marker_mutex_);
        marker_ = args[2];
        marker_changed_.notify_all();
    }
    if (spooling_) flow_.spool->append(frame);
    if (mode_ == MovementMode::standby) watch_strays(frame, args);
    return {};
}

/// In standby the origin is written by our other direction only, in groups that hold its
/// checkpoint.
void RedisMovement::watch_strays(const Frame& frame, const std::vector<std::string_view>& args) {
    StreamCommand command;
    command.db = frame.db;
    command.end = frame.end;
    command.args = args;
    classify(command);
    const std::string verb = strays_.see(command);
    if (verb.empty()) return;
    const int64_t now = steady_us();
    if (stray_us_ != 0 && now - stray_us_ < 60'000'000) return;
    stray_us_ = now;
    (void)flow_.context.journal.add_event(
        "warn", "stray-write",
        fmt::format("somebody writes to the {} ({}), which only exodus should write now",
                    to_string(origin_of(flow_.direction)), verb));
}

void RedisMovement::publish_link() {
    {
        const std::lock_guard lock(marker_mutex_);
        seen_ = link_.place();
    }
    bool moved = false;
    {
        const std::lock_guard lock(flow_.mutex);
        if (link_.attached()) flow_.replid = link_.place().replid;
        moved = flow_.link_end != link_.place().offset;
    }
    flow_.link_end = link_.place().offset;
    flow_.origin_end = link_.origin_end();
    flow_.hears_origin = link_.attached();
    if (moved) flow_.lane_work.tell();
}

void RedisMovement::arm_if_asked() {
    const std::lock_guard lock(marker_mutex_);
    if (!arm_at_ || link_.in_group() || link_.place().offset < *arm_at_ || !link_.attached())
        return;
    if (flow_.spool->reset(link_.place())) {
        spooling_ = true;
        armed_ = link_.place();
        arm_at_.reset();
        marker_changed_.notify_all();
    }
}

/// Never waits for a server: this is the reader's thread.
Status RedisMovement::start_workers() {
    const std::lock_guard lock(workers_);
    if (lane_) return {};
    auto foreign = ForeignKeys::load(flow_.context, flow_.direction);
    if (!foreign) return tl::unexpected<Error>(std::move(foreign).error());
    lane_ = std::make_unique<Lane>(flow_, std::move(*foreign));
    backfill_ = std::make_unique<Backfill>(flow_);
    std::promise<void> ended;
    lane_end_ = ended.get_future();
    lane_thread_ =
        std::jthread([this, ended = std::move(ended)](const std::stop_token& stop) mutable {
            (void)lane_->run(stop);  // why it ended early is its trouble, and shown
            ended.set_value();
        });
    copy_thread_ = std::jthread([this](const std::stop_token& stop) { backfill_->run(stop); });
    return {};
}

void RedisMovement::stop_workers() {
    const std::lock_guard lock(workers_);
    if (!lane_) return;
    lane_thread_.request_stop();
    copy_thread_.request_stop();
    // A lane that is amid a transaction ends it; only one that hangs is cut off.
    (void)lane_end_.wait_for(milliseconds(limits::kWorkerStop_ms));
    backfill_->shutdown();
    lane_->shutdown();
    if (copy_thread_.joinable()) copy_thread_.join();
    if (lane_thread_.joinable()) lane_thread_.join();
    lane_last_ = lane_->last();
    lane_.reset();
    backfill_.reset();
}

}  // namespace exodus::redis
