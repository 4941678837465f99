// RedisMovement: the calls of core/movement.h that change or ask something from outside the
// threads.
#include <algorithm>
#include <fmt/format.h>
#include <tsl/robin_set.h>

#include "base/limits.h"
#include "base/values.h"
#include "families/redis/redis_movement.h"
#include "families/redis/verify_record.h"

namespace exodus::redis {

namespace {

/// A lane that works tells what it did many times a second.
constexpr int64_t kRatesOld_us = 3'000'000;

/// Coarse, so that the text does not change at each look.
std::string roughly(int64_t ms) {
    constexpr int64_t kMinute_ms = 60'000;
    if (ms < kMinute_ms) return "less than a minute";
    for (const int64_t minutes : {2, 5, 10, 20, 30, 60})
        if (ms < minutes * kMinute_ms) return fmt::format("less than {} minutes", minutes);
    return fmt::format("some {} hours", ms / (60 * kMinute_ms));
}

}  // namespace

Result<std::unique_ptr<Client>> RedisMovement::side_client(Side side) {
    return flow_.connect(flow_.context.settings.endpoint(side), "call");
}

/// The process that answers as destination.
Result<std::string> RedisMovement::destination_run() {
    auto client = side_client(destination_of(flow_.direction));
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    auto info = (*client)->info("server");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    return info->get("run_id");
}

Result<std::optional<Checkpoint>> RedisMovement::read_checkpoint() {
    auto client = side_client(destination_of(flow_.direction));
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    return read_checkpoint(**client);
}

Result<std::optional<Checkpoint>> RedisMovement::read_checkpoint(Client& destination) const {
    EXODUS_TRY(destination.select(0));
    auto held = destination.command({"GET", flow_.checkpoint_key});
    if (!held) return tl::unexpected<Error>(std::move(held).error());
    return flow_.checkpoint_in(*held);
}

Result<std::optional<DurableStart>> RedisMovement::read_start() {
    auto text = flow_.context.journal.load_position(flow_.name, "start");
    if (!text) return tl::unexpected<Error>(std::move(text).error());
    if (!*text) return std::optional<DurableStart>{};
    return DurableStart::parse(**text);
}

Status RedisMovement::save_start(const DurableStart& start) {
    return flow_.context.journal.save_positions(
        flow_.name, {{"cp", "none"}, {"least", "0"}, {"start", start.text()}});
}

Status RedisMovement::set_mode(MovementMode mode) {
    const std::lock_guard lock(calls_);
    if (mode_ == mode) return {};
    stop_threads();
    if (mode == MovementMode::apply) {
        // After a hand-over that was not taken back, applying goes on from where it was handed
        // over.
        auto handed = flow_.context.journal.load_position(flow_.name, "handed");
        if (!handed) return tl::unexpected<Error>(std::move(handed).error());
        if (*handed) {
            if (const auto place = Checkpoint::parse(**handed)) {
                EXODUS_TRY(save_start({place->place, true, place->epoch + 1}));
                EXODUS_TRY(flow_.context.journal.save_position(flow_.name, "handed", "none"));
            }
        }
    }
    mode_ = mode;
    flow_.caught_up_us = flow_.fresh->current_us = 0;
    {
        const std::lock_guard status_lock(flow_.mutex);
        flow_.status.stage =
            mode == MovementMode::off ? MovementStage::off : MovementStage::attaching;
        flow_.status.degraded.clear();
    }
    if (mode != MovementMode::off) start_threads();
    return {};
}

MovementStatus RedisMovement::status() const {
    auto& flow = const_cast<Flow&>(flow_);
    const std::lock_guard lock(flow.mutex);
    MovementStatus status = flow.status;
    status.proven_ms = proven_ms_;
    status.queue_max_bytes = spool_max_;
    if (flow.spool) status.queue_bytes = flow.spool->bytes();
    // The lane's trouble first: it is about the data itself.
    for (const Trouble* trouble : {&flow.link_trouble, &flow.lane_trouble}) {
        if (!trouble->degraded.empty()) status.degraded = trouble->degraded;
        if (!trouble->blocked.empty()) status.blocked = trouble->blocked;
    }
    const bool filling_up = status.queue_bytes > spool_max_ / 10;
    if (const int64_t left = spool_full_in_ms_;
        left > 0 && (filling_up || !status.degraded.empty())) {
        status.degraded += fmt::format("{}changes wait on disk: full ({}) in {}",
                                       status.degraded.empty() ? "" : "; ",
                                       format_bytes(spool_max_), roughly(left));
    }
    if (!status.blocked.empty()) {
        status.stage = MovementStage::blocked;
        status.degraded.clear();
    }
    const auto applied = StreamPosition::parse(status.applied.text);
    if (mode_ == MovementMode::apply && applied) {
        const uint64_t end = flow.origin_end;
        const auto at = static_cast<uint64_t>(applied->offset);
        status.lag_bytes = end > at ? end - at : 0;
        // What came last is at most this old; the exact age of the oldest change would cost a clock
        // per command.
        if (const int64_t caught_up_us = flow.caught_up_us; caught_up_us != 0)
            status.lag_ms = status.lag_bytes == 0 && flow.hears_origin
                                ? 0
                                : std::max<int64_t>(1, (steady_us() - caught_up_us) / 1000);
    }
    // A lane that does not come round moves nothing, whatever it did last.
    if (steady_us() - flow.published_us > kRatesOld_us) {
        status.items_per_s = status.changes_per_s = 0;
        status.batch_p50_us.reset();
        status.batch_p99_us.reset();
    }
    if (flow.paused && flow.fill_open)
        status.waiting_for = "the copy is paused";
    else if (flow.spool_pressed)
        status.waiting_for = "the spool is nearly full: the copy waits";
    const int64_t writing_us = flow.spool_write_us;
    if (const int64_t for_us = steady_us() - writing_us;
        writing_us != 0 && for_us > limits::kSpoolSlow_ms * 1000)
        status.waiting_for =
            fmt::format("the disk of the spool: it has been writing for {} s", for_us / 1'000'000);
    return status;
}

Result<StreamPosition> RedisMovement::end_of_stream() {
    auto client = side_client(origin_of(flow_.direction));
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    return origin_now(**client);
}

Result<Position> RedisMovement::end_position() {
    auto end = end_of_stream();
    if (!end) return tl::unexpected<Error>(std::move(end).error());
    return Position{end->text()};
}

/// The offset of a position in the history that is followed.
Result<uint64_t> RedisMovement::offset_of(const Position& position) {
    const auto wanted = StreamPosition::parse(position.text);
    if (!wanted)
        return fail(ErrorCode::internal, "not a position of a Redis stream: " + position.text);
    const std::string followed = flow_.followed();
    if (!followed.empty() && followed != wanted->replid) {
        return fail(ErrorCode::gap, "the position belongs to another history of the origin");
    }
    return static_cast<uint64_t>(wanted->offset);
}

Result<bool> RedisMovement::applied_through(const Position& position) {
    const auto offset = offset_of(position);
    if (!offset) return tl::unexpected<Error>(offset.error());
    const std::lock_guard lock(workers_);
    return lane_ && lane_->applied_through(*offset);
}

Result<uint64_t> RedisMovement::stand(uint64_t ticket, const Position& position,
                                      milliseconds span) {
    if (ticket == 0) {
        {
            const std::lock_guard lock(workers_);
            if (!lane_ || flow_.fill_open) {
                return fail(ErrorCode::not_allowed,
                            "the stream cannot stand still while the copy is not complete");
            }
        }
        return flow_.stand.begin(std::min(span, milliseconds(limits::kStand_ms_max)));
    }
    const auto offset = offset_of(position);
    if (!offset) return tl::unexpected<Error>(offset.error());
    EXODUS_TRY(flow_.stand.advance(ticket, *offset));
    return ticket;
}

bool RedisMovement::go_on(uint64_t ticket) { return flow_.stand.end(ticket); }

Status RedisMovement::prove(milliseconds timeout) {
    if (mode_ == MovementMode::off)
        return fail(ErrorCode::not_allowed, "this direction is not attached");
    const Deadline deadline = Deadline::in(timeout);
    const std::string nonce = "prove-" + hex(xxh3_128(random_bytes(16)));
    auto origin = side_client(origin_of(flow_.direction));
    if (!origin) return tl::unexpected<Error>(std::move(origin).error());
    if (auto sent = (*origin)->ask({"PUBLISH", flow_.channel, nonce}); !sent) {
        return fail(std::move(sent).error(), "writing a marker");
    }
    {
        std::unique_lock lock(marker_mutex_);
        if (!marker_changed_.wait_for(lock, deadline.left(), [&] { return marker_ == nonce; })) {
            return fail(ErrorCode::timeout,
                        fmt::format("the marker did not come back from the {} in {} ms",
                                    to_string(origin_of(flow_.direction)), timeout.count()));
        }
    }
    // The lane's right to write there: SETRANGE of nothing changes nothing and moves no offset.
    auto destination = side_client(destination_of(flow_.direction));
    if (!destination) return tl::unexpected<Error>(std::move(destination).error());
    if (auto wrote = (*destination)->ask({"SETRANGE", flow_.checkpoint_key, "0", ""}); !wrote) {
        return fail(std::move(wrote).error(), "the lane cannot write");
    }
    proven_ms_ = wall_ms();
    return {};
}

Result<Position> RedisMovement::arm() {
    const std::lock_guard lock(calls_);
    if (mode_ != MovementMode::standby)
        return fail(ErrorCode::not_allowed, "arm: this direction is not in standby");
    auto origin = side_client(origin_of(flow_.direction));
    if (!origin) return tl::unexpected<Error>(std::move(origin).error());
    auto end = origin_now(**origin);
    if (!end) return tl::unexpected<Error>(std::move(end).error());
    StreamPlace place;
    {
        const std::lock_guard marker_lock(marker_mutex_);
        armed_.reset();
        arm_at_ = static_cast<uint64_t>(end->offset);
    }
    // In a hold the stream is silent, and the reader would look only when its wait is over.
    const auto sent = (*origin)->ask({"PUBLISH", flow_.channel, "arm"});
    {
        std::unique_lock marker_lock(marker_mutex_);
        if (!sent || !marker_changed_.wait_for(marker_lock, milliseconds(limits::kRedisConnect_ms),
                                               [&] { return armed_.has_value(); })) {
            arm_at_.reset();
            if (!sent) return fail(Error(sent.error()), "writing a marker");
            return fail(ErrorCode::timeout, "the reader did not reach the end of the stream",
                        "see the direction's status: it may not be attached");
        }
        place = *armed_;
    }
    if (place.replid != end->replid)
        return fail(ErrorCode::gap, "the origin changed its history while arming");
    if (flow_.direction == Direction::reverse)
        EXODUS_TRY(ForeignKeys::forget_taken(flow_.context, flow_.direction));
    auto run = destination_run();
    if (!run) return tl::unexpected<Error>(std::move(run).error());
    // Clients wait: one transaction for all of it.
    EXODUS_TRY(flow_.context.journal.save_positions(
        flow_.name, {{"handed", "none"},
                     {"fill", ScanPlace{ScanPlace::Phase::done, false, 0, "0", {}}.text()},
                     {"cp", "none"},
                     {"least", "0"},
                     {"run", *run},
                     {"start", DurableStart{place, true, 0}.text()}}));
    return Position{StreamPosition{place.replid, static_cast<int64_t>(place.offset)}.text()};
}

/// What the lane saw last may be older than a loss: only what is there can be handed over.
Status RedisMovement::holds_last(Client& destination) const {
    auto held = read_checkpoint(destination);
    if (!held) return tl::unexpected<Error>(std::move(held).error());
    if (!*held) return tl::unexpected<Error>(flow_.destination_lost());
    if ((*held)->epoch == lane_last_.epoch && (*held)->batch == lane_last_.batch) return {};
    return fail(ErrorCode::safety, fmt::format("the {} does not hold what was applied to it last",
                                               to_string(destination_of(flow_.direction))));
}

Status RedisMovement::hand_over() {
    const std::lock_guard lock(calls_);
    flow_.stand.drop();
    Journal& journal = flow_.context.journal;
    auto handed = journal.load_position(flow_.name, "handed");
    if (!handed) return tl::unexpected<Error>(std::move(handed).error());
    // One connection for all of it: a server that restarts meanwhile ends it.
    auto connected = side_client(destination_of(flow_.direction));
    if (!connected) return tl::unexpected<Error>(std::move(connected).error());
    const std::unique_ptr<Client> destination = std::move(*connected);
    if (mode_ == MovementMode::apply) {
        auto end = end_of_stream();
        if (!end) return tl::unexpected<Error>(std::move(end).error());
        // In the hold this end is final; what is missing to it is one batch at the most.
        const Deadline deadline = Deadline::in(milliseconds(limits::kHandOver_ms));
        for (;;) {
            auto applied = applied_through({end->text()});
            if (!applied) return tl::unexpected<Error>(std::move(applied).error());
            if (*applied) break;
            if (deadline.passed())
                return fail(ErrorCode::safety,
                            "hand_over: the destination has not applied everything");
            std::this_thread::sleep_for(milliseconds(1));
        }
        auto info = destination->info("server");
        if (!info) return tl::unexpected<Error>(std::move(info).error());
        stop_threads();
        if (Status holds = holds_last(*destination); !holds) {
            start_threads();
            return holds;
        }
        // Before the checkpoint goes: from here on its absence is no loss.
        if (Status saved = journal.save_positions(
                flow_.name,
                {{"run", info->get("run_id")}, {"handed", lane_last_.text()}, {"cp", "handed"}});
            !saved) {
            start_threads();
            return saved;
        }
    } else if (!*handed || !Checkpoint::parse(**handed)) {
        return fail(ErrorCode::not_allowed, "hand_over: this direction does not apply");
    } else {
        auto same = flow_.same_run(*destination);
        if (!same) return tl::unexpected<Error>(std::move(same).error());
        if (!*same) return tl::unexpected<Error>(flow_.destination_lost());
    }
    EXODUS_TRY(destination->select(0));
    if (auto gone = destination->ask({"DEL", flow_.checkpoint_key}); !gone) {
        return fail(std::move(gone).error(), "removing the checkpoint");
    }
    if (mode_ == MovementMode::standby) return {};
    mode_ = MovementMode::standby;
    start_threads();
    return {};
}

Status RedisMovement::take_back() {
    const std::lock_guard lock(calls_);
    Journal& journal = flow_.context.journal;
    auto handed = journal.load_position(flow_.name, "handed");
    if (!handed) return tl::unexpected<Error>(std::move(handed).error());
    const auto checkpoint = *handed ? Checkpoint::parse(**handed) : std::nullopt;
    if (!checkpoint) return {};  // a hand-over that failed, or was taken back already
    stop_threads();
    auto destination = side_client(destination_of(flow_.direction));
    if (!destination) return tl::unexpected<Error>(std::move(destination).error());
    EXODUS_TRY((*destination)->select(0));
    // Where the data may be gone it stays away, and is found missing.
    auto same = flow_.same_run(**destination);
    if (!same) return tl::unexpected<Error>(std::move(same).error());
    if (*same) {
        auto back = (*destination)->ask({"SET", flow_.checkpoint_key, checkpoint->text()});
        if (!back) return fail(std::move(back).error(), "writing the checkpoint back");
    }
    EXODUS_TRY(journal.save_position(flow_.name, "cp", "written"));
    EXODUS_TRY(journal.save_position(flow_.name, "handed", "none"));
    mode_ = MovementMode::apply;
    start_threads();
    return {};
}

std::vector<std::string> RedisMovement::touched(milliseconds span) {
    const int64_t since = steady_us() - span.count() * 1000;
    const std::lock_guard lock(flow_.mutex);
    tsl::robin_set<std::string_view> names;  // the same few keys again and again
    for (auto it = flow_.touched.rbegin(); it != flow_.touched.rend() && it->first >= since; ++it)
        names.insert(it->second);
    return {names.begin(), names.end()};
}

Result<uint64_t> RedisMovement::redrive() {
    auto errors = flow_.context.journal.item_errors(flow_.name, limits::kTouchedKeys_max);
    if (!errors) return tl::unexpected<Error>(std::move(errors).error());
    uint64_t count = 0;
    for (const auto& error : *errors) {
        if (!error.location.starts_with("db")) continue;
        const auto db = to_number(std::string_view(error.location).substr(2));
        if (!db) continue;
        const Key key{static_cast<int>(*db), error.key, key_hash(static_cast<int>(*db), error.key)};
        const std::lock_guard lock(flow_.mutex);
        if (flow_.redrive.emplace(key.hash, key).second) ++count;
    }
    flow_.lane_work.tell();
    return count;
}

void RedisMovement::set_paused(bool paused) {
    flow_.paused = paused;
    flow_.copier_work.tell();
}

Status RedisMovement::set_throttle(std::string_view key, std::string_view value) {
    if (key == "bytes_per_s") {
        const auto bytes = parse_size_bytes(value);
        if (!bytes)
            return fail(ErrorCode::config, "not a size: " + std::string(value),
                        "write it as 64GiB, 512MB or bytes");
        flow_.bytes_per_s = static_cast<int64_t>(*bytes);
        return {};
    }
    if (key == "origin_p99_ratio") {
        const auto ratio = parse_number(value);
        if (!ratio || *ratio < 0 || *ratio > 1e6)
            return fail(ErrorCode::config, "not a ratio: " + std::string(value));
        flow_.origin_p99_percent = static_cast<int64_t>(*ratio * 100);
        return {};
    }
    return fail(ErrorCode::config, "unknown throttle: " + std::string(key),
                "known: bytes_per_s, origin_p99_ratio");
}

Status RedisMovement::forget() {
    const std::lock_guard lock(calls_);
    stop_threads();
    mode_ = MovementMode::off;
    auto held = read_checkpoint();
    // What somebody else put in its place is not ours to remove; it is listed as left.
    const bool foreign = !held && held.error().code == ErrorCode::safety;
    if (!held && !foreign) return fail(std::move(held).error(), "removing the checkpoint");
    auto destination = side_client(destination_of(flow_.direction));
    if (!destination) return tl::unexpected<Error>(std::move(destination).error());
    EXODUS_TRY((*destination)->select(0));
    if (!foreign) {
        auto gone = (*destination)->ask({"DEL", flow_.checkpoint_key});
        if (!gone) return fail(std::move(gone).error(), "removing the checkpoint");
    }
    EXODUS_TRY(forget_big_keys(flow_, **destination));
    auto start = read_start();
    if (!start) return tl::unexpected<Error>(std::move(start).error());
    EXODUS_TRY(flow_.context.journal.erase_positions(flow_.name));
    // A killed verification must not go on where it was: those keys were of the copy that goes.
    EXODUS_TRY(VerifyRecord(flow_.context.journal, flow_.direction).forget());
    // What was copied stays there: the next attempt must not take it for somebody else's.
    if (*start) EXODUS_TRY(flow_.context.journal.save_position(flow_.name + "-past", "owned", "1"));
    if (flow_.spool) flow_.spool->clear();
    const std::lock_guard status_lock(flow_.mutex);
    flow_.spool.reset();
    flow_.status = {};
    flow_.replid.clear();
    return {};
}

void RedisMovement::stop() {
    const std::lock_guard lock(calls_);
    stop_threads();
    mode_ = MovementMode::off;
    const std::lock_guard status_lock(flow_.mutex);
    flow_.status.stage = MovementStage::off;
}

}  // namespace exodus::redis
