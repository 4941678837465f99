// See mover.h. The one rule that is not obvious: in a hold, a direction that was handed over stays
// so although the row still says `apply`, until the row leaves the hold. A marker in the journal
// carries that over a restart of this process.
#include "workflow/mover.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "base/clock.h"
#include "base/stop_token.h"
#include "workflow/base64.h"

namespace exodus {

using nlohmann::json;

namespace {

constexpr const char* kMarker =
    "mover:hand";  ///< position name; value "" | "handing EPOCH" | "handed EPOCH"
/// A mode that could not be set is tried again after this; the endpoint may be restarting.
constexpr int64_t kRetry_us = 1'000'000;
/// Texts with changing numbers must not fill the event table.
constexpr int64_t kRepeatEvent_us = 10'000'000;

bool holding(const MigrationRow& row) {
    return row.state == MigrationState::holding || row.route.hold;
}

bool near_cutover(const MigrationRow& row) {
    return holding(row) || row.state == MigrationState::ready;
}

MovementMode wanted(const MigrationRow& row, Direction direction) {
    return direction == Direction::forward ? row.forward : row.reverse;
}

/// The stream that the next cutover will rely on: it starts at the side that is not the authority.
Direction way_back(const MigrationRow& row) {
    return row.route.authority == Side::source ? Direction::reverse : Direction::forward;
}

}  // namespace

struct Mover::Lane {
    enum class Hand : uint8_t { none, handing, handed };

    explicit Lane(Direction d) : direction(d) {}

    const Direction direction;
    std::unique_ptr<Movement> movement;
    std::mutex command;  ///< one mode change or hand-over at a time
    // Under `command`:
    std::optional<MovementMode> mode;  ///< what was set last; none: unknown
    Hand hand = Hand::none;
    uint64_t hand_epoch = 0;
    int64_t retry_at_us = 0;
    std::string mode_error;
    // Poller only:
    std::string told_degraded;
    std::string told_blocked;
    int64_t told_us = 0;
    bool paused = false;
    // Prover only:
    std::string told_proof;
};

Mover::Mover(Family& family, const FamilyContext& context, StateSource& state, MoverOptions options)
    : family_(family), context_(context), state_(state), options_(options) {
    for (const Direction direction : {Direction::forward, Direction::reverse}) {
        auto lane = std::make_unique<Lane>(direction);
        lane->movement = family_.make_movement(context_, direction);
        lanes_[static_cast<std::size_t>(direction)] = std::move(lane);
    }
}

Mover::~Mover() { stop(); }

Mover::Lane& Mover::lane_of(Direction direction) const {
    return *lanes_[static_cast<std::size_t>(direction)];
}

Result<Mover::Lane*> Mover::lane_of(const json& request) const {
    const auto found = request.find("direction");
    if (found == request.end() || !found->is_string()) {
        return fail(ErrorCode::usage, "the request names no direction");
    }
    auto direction = direction_from(found->get<std::string>());
    if (!direction) return tl::unexpected(direction.error());
    return &lane_of(*direction);
}

Status Mover::start() {
    for (const auto& lane : lanes_) {
        auto marker = context_.journal.load_position(to_string(lane->direction), kMarker);
        if (!marker) return fail(std::move(marker.error()), "starting the mover");
        const std::string text = marker->value_or("");
        const auto space = text.find(' ');
        if (space != std::string::npos) {
            lane->hand = text.starts_with("handed") ? Lane::Hand::handed : Lane::Hand::handing;
            const char* end = text.data() + text.size();
            const auto read = std::from_chars(text.data() + space + 1, end, lane->hand_epoch);
            if (read.ec != std::errc() || read.ptr != end)
                return fail(ErrorCode::data,
                            "the journal's mark of a hand-over is no epoch: " + text);
        }
        for (const auto& [key, value] : context_.settings.migrate.throttle) {
            auto set = lane->movement->set_throttle(key, value);
            if (!set) return fail(std::move(set.error()), "setting the throttle");
        }
    }
    poller_ = std::jthread([this](const std::stop_token& stop) { run_poll(stop); });
    prover_ = std::jthread([this](const std::stop_token& stop) { run_prove(stop); });
    return {};
}

void Mover::stop() {
    poller_.request_stop();
    prover_.request_stop();
    if (poller_.joinable()) poller_.join();
    if (prover_.joinable()) prover_.join();
    for (const auto& lane : lanes_) {
        if (lane->movement) lane->movement->stop();
    }
}

void Mover::look_now() {
    {
        const std::scoped_lock lock(wake_mutex_);
        look_ = true;
    }
    wake_.notify_all();
}

MovementStatus Mover::status(Direction direction) const {
    return lane_of(direction).movement->status();
}

Following Mover::following(Direction direction) {
    Movement* movement = lane_of(direction).movement.get();
    return {[movement](const Position& position) { return movement->applied_through(position); },
            [movement](uint64_t ticket, const Position& position, milliseconds span) {
                return movement->stand(ticket, position, span);
            },
            [movement](uint64_t ticket) -> Result<bool> { return movement->go_on(ticket); }};
}

Result<MigrationRow> Mover::read_row() {
    auto row = state_.read();
    if (!row) return row;
    const std::scoped_lock lock(row_mutex_);
    row_ = *row;
    return row;
}

void Mover::event(std::string_view severity, std::string_view code, const std::string& text) {
    const Status added = context_.journal.add_event(severity, code, text);
    if (!added) spdlog::warn("event {} not stored: {}", code, added.error().message);
}

void Mover::run_poll(const std::stop_token& stop) {
    std::optional<MigrationRow> row;
    while (!stop.stop_requested()) {
        const auto changed = state_.changed();
        bool look = false;
        {
            const std::scoped_lock lock(wake_mutex_);
            look = std::exchange(look_, false);
        }
        if (!row || look || !changed || *changed) {
            auto read = read_row();
            if (read) {
                row = std::move(*read);
                state_error_.clear();
            } else if (state_error_ != read.error().message) {
                // The last row stays in force: data must go on flowing while the file is busy or
                // its disk is full.
                state_error_ = read.error().message;
                spdlog::error("the mover cannot read the state: {}", state_error_);
            }
        }
        if (row) follow_row(*row);
        std::unique_lock lock(wake_mutex_);
        const auto span = row && near_cutover(*row) ? options_.poll_near_cutover : options_.poll;
        wake_.wait_for(lock, stop, span, [this] { return look_; });
    }
}

void Mover::follow_row(const MigrationRow& row) {
    for (const auto& lane : lanes_) {
        const bool paused = !row.flag_paused.empty();
        if (paused != lane->paused) {
            lane->movement->set_paused(paused);
            lane->paused = paused;
        }
        std::unique_lock lock(lane->command, std::try_to_lock);
        if (lock.owns_lock()) follow_direction(*lane, row);
        report(*lane);
    }
}

void Mover::follow_direction(Lane& lane, const MigrationRow& row) {
    const MovementMode mode = wanted(row, lane.direction);
    const int64_t now = steady_us();
    if (lane.retry_at_us > now) return;
    Status done;
    bool set = true;
    if (lane.hand != Lane::Hand::none && mode == MovementMode::apply) {
        const bool this_hold = holding(row) && lane.hand_epoch == row.route.epoch;
        if (this_hold && (lane.hand == Lane::Hand::handed || lane.mode)) {
            // Handed over (or being handed over by a caller that will ask again): the row decides
            // when the hold ends.
            if (lane.mode) return;
            done = lane.movement->set_mode(MovementMode::standby);
            if (done) lane.mode = MovementMode::standby;
            set = false;
        } else {
            // The hold was aborted, or this process died half-way through handing over.
            done = lane.movement->take_back();
            if (done) done = lane.movement->set_mode(MovementMode::apply);
            if (done) done = context_.journal.save_position(to_string(lane.direction), kMarker, "");
            if (done) {
                lane.hand = Lane::Hand::none;
                lane.mode = MovementMode::apply;
            }
            set = false;
        }
    } else if (lane.hand != Lane::Hand::none) {
        // The switch happened: what was handed over is settled.
        done = context_.journal.save_position(to_string(lane.direction), kMarker, "");
        if (done) lane.hand = Lane::Hand::none;
        set = done.has_value();
    }
    if (set) {
        if (lane.mode == mode) return;
        done = lane.movement->set_mode(mode);
        if (done) lane.mode = mode;
    }
    if (done) {
        lane.mode_error.clear();
        return;
    }
    lane.retry_at_us = now + kRetry_us;
    std::string text = std::string(to_string(lane.direction)) + " cannot go to " +
                       std::string(to_string(mode)) + " and tries again: " + done.error().message;
    if (lane.mode_error == text) return;
    lane.mode_error = std::move(text);
    event("warn", "mover.mode", lane.mode_error);
}

void Mover::report(Lane& lane) {
    const MovementStatus status = lane.movement->status();
    const std::string name(to_string(lane.direction));
    const int64_t now = steady_us();
    const auto tell = [&](std::string& told, const std::string& text, const char* severity,
                          const char* code, const char* code_over) {
        if (told == text) return;
        const bool edge = told.empty() || text.empty();
        if (!edge && now - lane.told_us < kRepeatEvent_us) return;
        lane.told_us = now;
        const std::string gone = std::exchange(told, text);
        if (text.empty()) {
            event("info", code_over, name + ": it is over: " + gone);
        } else {
            event(severity, code, name + ": " + text);
        }
    };
    tell(lane.told_degraded, status.degraded, "warn", "mover.degraded", "mover.degraded-over");
    std::string blocked = status.blocked;
    if (blocked.empty() && status.stage == MovementStage::failed) blocked = "the movement failed";
    tell(lane.told_blocked, blocked, "critical", "mover.blocked", "mover.blocked-over");
}

void Mover::run_prove(const std::stop_token& stop) {
    int64_t next_us = 0;
    std::optional<Direction> last;
    bool told = false;
    while (wait_unless_stopped(stop, std::min(options_.prove_every, options_.poll))) {
        std::optional<MigrationRow> row;
        {
            const std::scoped_lock lock(row_mutex_);
            row = row_;
        }
        if (!row || holding(*row)) continue;
        const Direction direction = way_back(*row);
        if (last != direction) {
            next_us = 0;
            told = false;
        }
        last = direction;
        if (steady_us() < next_us) continue;
        Lane& lane = lane_of(direction);
        const MovementStage stage = lane.movement->status().stage;
        if (stage != MovementStage::standby && stage != MovementStage::following) continue;
        const Status proven = lane.movement->prove(options_.prove_timeout);
        next_us = steady_us() + options_.prove_every.count() * 1000;
        if (proven) {
            if (!lane.told_proof.empty())
                event("info", "mover.proof-over", "the way back is proven again");
            lane.told_proof.clear();
            if (!std::exchange(told, true)) {
                event("info", "mover.proven",
                      "the way back is armed and proven: a marker came through the " +
                          std::string(to_string(direction)) + " stream");
            }
            continue;
        }
        if (lane.told_proof.empty()) {
            event("warn", "mover.proof",
                  "the way back could not be proven: " + proven.error().message);
        }
        lane.told_proof = proven.error().message;
        next_us = steady_us() + std::min<int64_t>(options_.prove_every.count(), 5'000) * 1000;
    }
}

Result<json> Mover::hand_over(Lane& lane) {
    const auto row = read_row();
    if (!row) return tl::unexpected(row.error());
    if (!holding(*row)) {
        return fail(ErrorCode::not_allowed, "a movement is handed over only while writes are held",
                    "the migration is " + std::string(to_string(row->state)));
    }
    const std::scoped_lock lock(lane.command);
    const uint64_t epoch = row->route.epoch;
    // Asked again, right before the authority moves, it says whether the destination is the same.
    if (lane.hand == Lane::Hand::handed && lane.hand_epoch == epoch) {
        EXODUS_TRY(lane.movement->hand_over());
        return json::object();
    }
    const std::string direction(to_string(lane.direction));
    EXODUS_TRY(
        context_.journal.save_position(direction, kMarker, "handing " + std::to_string(epoch)));
    lane.hand = Lane::Hand::handing;
    lane.hand_epoch = epoch;
    EXODUS_TRY(lane.movement->hand_over());
    EXODUS_TRY(
        context_.journal.save_position(direction, kMarker, "handed " + std::to_string(epoch)));
    lane.hand = Lane::Hand::handed;
    lane.mode = MovementMode::standby;
    return json::object();
}

Result<json> Mover::take_back(Lane& lane) {
    const std::scoped_lock lock(lane.command);
    if (lane.hand == Lane::Hand::none) return json{{"taken_back", false}};
    EXODUS_TRY(lane.movement->take_back());
    EXODUS_TRY(lane.movement->set_mode(MovementMode::apply));
    lane.mode = MovementMode::apply;
    EXODUS_TRY(context_.journal.save_position(to_string(lane.direction), kMarker, ""));
    lane.hand = Lane::Hand::none;
    return json{{"taken_back", true}};
}

Result<json> Mover::forget(Lane& lane) {
    const auto row = read_row();
    if (!row) return tl::unexpected(row.error());
    if (wanted(*row, lane.direction) != MovementMode::off) {
        return fail(ErrorCode::not_allowed, "the state file still wants the " +
                                                std::string(to_string(lane.direction)) +
                                                " movement");
    }
    const std::scoped_lock lock(lane.command);
    EXODUS_TRY(lane.movement->forget());
    EXODUS_TRY(context_.journal.save_position(to_string(lane.direction), kMarker, ""));
    lane.hand = Lane::Hand::none;
    lane.mode = MovementMode::off;
    return json::object();
}

ControlHandlers Mover::handlers() {
    // The wrappers find the direction, and turn a wrong type in a request into an error instead of
    // an exception.
    const auto on_lane = [this](auto action) -> ControlHandler {
        return [this, action](const json& request) -> Result<json> {
            auto lane = lane_of(request);
            if (!lane) return tl::unexpected(lane.error());
            try {
                return action(**lane, request);
            } catch (const json::exception& error) {
                return fail(ErrorCode::usage, error.what());
            }
        };
    };
    ControlHandlers out;
    out[control_op::kMover] = [this](const json&) -> Result<json> {
        json answer = json::object();
        for (const auto& lane : lanes_) {
            json& row = answer[std::string(to_string(lane->direction))];
            row = to_json(lane->movement->status());
        }
        answer["config_hash"] = context_.settings.config_hash;
        const std::scoped_lock lock(row_mutex_);
        if (row_) {
            answer["epoch"] = row_->route.epoch;
            answer["state"] = std::string(exodus::to_string(row_->state));
        }
        return answer;
    };
    out[control_op::kApplied] = on_lane([](Lane& lane, const json& request) -> Result<json> {
        auto applied =
            lane.movement->applied_through(Position{request.at("position").get<std::string>()});
        if (!applied) return tl::unexpected(applied.error());
        return json{{"applied", *applied}};
    });
    out[control_op::kStand] = on_lane([](Lane& lane, const json& request) -> Result<json> {
        auto ticket = lane.movement->stand(request.value("ticket", uint64_t{0}),
                                           Position{request.value("position", "")},
                                           milliseconds(request.value("span_ms", int64_t{0})));
        if (!ticket) return tl::unexpected(ticket.error());
        return json{{"ticket", *ticket}};
    });
    out[control_op::kGoOn] = on_lane([](Lane& lane, const json& request) -> Result<json> {
        return json{{"stood", lane.movement->go_on(request.at("ticket").get<uint64_t>())}};
    });
    out[control_op::kEnd] = on_lane([](Lane& lane, const json&) -> Result<json> {
        auto end = lane.movement->end_position();
        if (!end) return tl::unexpected(end.error());
        return json{{"position", end->text}};
    });
    out[control_op::kProve] = on_lane([this](Lane& lane, const json& request) -> Result<json> {
        EXODUS_TRY(lane.movement->prove(
            milliseconds(request.value("timeout_ms", int64_t{options_.prove_timeout.count()}))));
        return json{{"proven_ms", lane.movement->status().proven_ms}};
    });
    out[control_op::kArm] = on_lane([this](Lane& lane, const json&) -> Result<json> {
        const auto row = read_row();
        if (!row) return tl::unexpected(row.error());
        const std::scoped_lock lock(lane.command);
        // The row may be newer than what the poller has seen: a movement is armed in the mode that
        // the row wants.
        lane.retry_at_us = 0;
        follow_direction(lane, *row);
        if (lane.mode != MovementMode::standby) {
            return fail(
                ErrorCode::not_allowed,
                std::string(to_string(lane.direction)) + " is not in standby and cannot be armed",
                lane.mode_error);
        }
        auto start = lane.movement->arm();
        if (!start) return tl::unexpected(start.error());
        return json{{"position", start->text}};
    });
    out[control_op::kHandOver] =
        on_lane([this](Lane& lane, const json&) { return hand_over(lane); });
    out[control_op::kTakeBack] =
        on_lane([this](Lane& lane, const json&) { return take_back(lane); });
    out[control_op::kForget] = on_lane([this](Lane& lane, const json&) { return forget(lane); });
    out[control_op::kTouched] = on_lane([](Lane& lane, const json& request) -> Result<json> {
        json keys = json::array();
        for (const auto& key :
             lane.movement->touched(milliseconds(request.at("span_ms").get<int64_t>()))) {
            keys.push_back(base64_encode(key));
        }
        return json{{"keys", std::move(keys)}};
    });
    out[control_op::kRedrive] = on_lane([](Lane& lane, const json&) -> Result<json> {
        auto count = lane.movement->redrive();
        if (!count) return tl::unexpected(count.error());
        return json{{"count", *count}};
    });
    out[control_op::kThrottle] = [this](const json& request) -> Result<json> {
        const std::string key = request.value("key", "");
        const std::string value = request.value("value", "");
        for (const auto& lane : lanes_) EXODUS_TRY(lane->movement->set_throttle(key, value));
        return json::object();
    };
    out[control_op::kPause] = [this](const json& request) -> Result<json> {
        // The row says it; who asks has written it there. Otherwise status would not know of it,
        // and the next start of this process would undo it.
        const auto row = read_row();
        if (!row) return tl::unexpected(row.error());
        const bool paused = !row->flag_paused.empty();
        if (request.value("paused", paused) != paused) {
            return fail(ErrorCode::not_allowed,
                        paused ? "the state file says that the copy rests"
                               : "the state file says that the copy goes on",
                        "exodus migrate --pause or --resume");
        }
        for (const auto& lane : lanes_) lane->movement->set_paused(paused);
        look_now();
        return json::object();
    };
    return out;
}

}  // namespace exodus
