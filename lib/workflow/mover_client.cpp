// The mover's operations as seen from the other end of the control socket, and the JSON form of its
// values.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "workflow/base64.h"
#include "workflow/mover.h"

namespace exodus {

using nlohmann::json;

namespace {

constexpr milliseconds kCall{limits::kMoverCall_ms};

template <class Value>
Result<Value> field(const Result<json>& answer, const char* name) {
    if (!answer) return tl::unexpected(answer.error());
    const auto found = answer->find(name);
    if (found == answer->end()) {
        return fail(ErrorCode::protocol, std::string("the interlay's answer has no field ") + name);
    }
    try {
        return found->get<Value>();
    } catch (const json::exception& error) {
        return fail(ErrorCode::protocol, std::string("the interlay's answer: ") + error.what());
    }
}

Status nothing(const Result<json>& answer) {
    if (!answer) return tl::unexpected(answer.error());
    return {};
}

json request(const char* op, Direction direction) {
    return {{"op", op}, {"direction", std::string(to_string(direction))}};
}

std::optional<MovementStage> stage_from(const std::string& text) {
    for (int i = 0; i <= static_cast<int>(MovementStage::failed); ++i) {
        const auto stage = static_cast<MovementStage>(i);
        if (to_string(stage) == text) return stage;
    }
    return std::nullopt;
}

}  // namespace

Result<Direction> direction_from(std::string_view text) {
    if (text == to_string(Direction::forward)) return Direction::forward;
    if (text == to_string(Direction::reverse)) return Direction::reverse;
    return fail(ErrorCode::usage, "the direction must be forward or reverse");
}

namespace {

/// Until everything that was there is copied; null when nobody can tell.
json eta_ms(const MovementStatus& status) {
    if (status.stage != MovementStage::filling && status.stage != MovementStage::repairing)
        return {};
    if (status.items_per_s <= 0 || status.items_total_estimate <= status.items_done) return {};
    return static_cast<int64_t>(
        static_cast<double>(status.items_total_estimate - status.items_done) * 1000 /
        status.items_per_s);
}

}  // namespace

json to_json(const MovementStatus& status) {
    const auto known = [](const std::optional<int64_t>& value) {
        return value ? json(*value) : json();
    };
    return {{"stage", std::string(to_string(status.stage))},
            {"items_done", status.items_done},
            {"items_total_estimate", status.items_total_estimate},
            {"bytes_copied", status.bytes_copied},
            {"changes_applied", status.changes_applied},
            {"items_per_s", status.items_per_s},
            {"eta_ms_estimate", eta_ms(status)},
            {"changes_per_s", status.changes_per_s},
            {"batches", status.batches},
            {"batches_us", status.batches_us},
            {"batch_p50_us", known(status.batch_p50_us)},
            {"batch_p99_us", known(status.batch_p99_us)},
            {"lag_bytes", status.lag_bytes},
            {"lag_ms", known(status.lag_ms)},
            {"queue_bytes", status.queue_bytes},
            {"queue_max_bytes", status.queue_max_bytes},
            {"retries", status.retries},
            {"failed_items", status.failed_items},
            {"repairs_open", status.repairs_open},
            {"items_kept", status.items_kept},
            {"changes_dropped", status.changes_dropped},
            {"items_equal", status.items_equal},
            {"items_restored", status.items_restored},
            {"items_removed", status.items_removed},
            {"applied", status.applied.text},
            {"proven_ms", status.proven_ms},
            {"waiting_for", status.waiting_for},
            {"throttled", status.throttled},
            {"degraded", status.degraded},
            {"blocked", status.blocked}};
}

MovementStatus movement_status_from_json(const json& in) {
    MovementStatus status;
    status.stage = stage_from(in.value("stage", "off")).value_or(MovementStage::failed);
    status.items_done = in.value("items_done", uint64_t{0});
    status.items_total_estimate = in.value("items_total_estimate", uint64_t{0});
    status.bytes_copied = in.value("bytes_copied", uint64_t{0});
    status.changes_applied = in.value("changes_applied", uint64_t{0});
    status.items_per_s = in.value("items_per_s", 0.0);
    status.changes_per_s = in.value("changes_per_s", 0.0);
    status.lag_bytes = in.value("lag_bytes", uint64_t{0});
    const auto known = [&in](const char* name) {
        const auto found = in.find(name);
        return found != in.end() && found->is_number() ? std::optional(found->get<int64_t>())
                                                       : std::nullopt;
    };
    status.batches = in.value("batches", uint64_t{0});
    status.batches_us = in.value("batches_us", uint64_t{0});
    status.batch_p50_us = known("batch_p50_us");
    status.batch_p99_us = known("batch_p99_us");
    status.lag_ms = known("lag_ms");
    status.queue_bytes = in.value("queue_bytes", uint64_t{0});
    status.queue_max_bytes = in.value("queue_max_bytes", uint64_t{0});
    status.retries = in.value("retries", uint64_t{0});
    status.failed_items = in.value("failed_items", uint64_t{0});
    status.repairs_open = in.value("repairs_open", uint64_t{0});
    status.items_kept = in.value("items_kept", uint64_t{0});
    status.changes_dropped = in.value("changes_dropped", uint64_t{0});
    status.items_equal = in.value("items_equal", uint64_t{0});
    status.items_restored = in.value("items_restored", uint64_t{0});
    status.items_removed = in.value("items_removed", uint64_t{0});
    status.applied.text = in.value("applied", "");
    status.proven_ms = in.value("proven_ms", int64_t{0});
    status.waiting_for = in.value("waiting_for", "");
    status.throttled = in.value("throttled", "");
    status.degraded = in.value("degraded", "");
    status.blocked = in.value("blocked", "");
    return status;
}

std::string other_configuration(const std::string& its_hash, const std::string& hash) {
    if (its_hash.empty() || hash.empty() || its_hash == hash) return {};
    return fmt::format(
        "the interlay works with the configuration that it began with ({}), commands with another "
        "({}): exodus interlay --takeover",
        its_hash.substr(0, 12), hash.substr(0, 12));
}

Result<MoverClient::Both> MoverClient::both() {
    const auto answer =
        port_.call({{"op", control_op::kMover}}, milliseconds(limits::kControlTimeout_ms));
    auto forward = field<json>(answer, to_string(Direction::forward).data());
    if (!forward) return tl::unexpected(std::move(forward).error());
    auto reverse = field<json>(answer, to_string(Direction::reverse).data());
    if (!reverse) return tl::unexpected(std::move(reverse).error());
    try {
        return Both{movement_status_from_json(*forward), movement_status_from_json(*reverse),
                    answer->value("config_hash", "")};
    } catch (const json::exception& error) {
        return fail(ErrorCode::protocol, std::string("the mover's status: ") + error.what());
    }
}

Result<MovementStatus> MoverClient::status(Direction direction) {
    auto answer = both();
    if (!answer) return tl::unexpected(std::move(answer).error());
    return direction == Direction::forward ? std::move(answer->forward)
                                           : std::move(answer->reverse);
}

Result<bool> MoverClient::applied(Direction direction, const Position& position) {
    json message = request(control_op::kApplied, direction);
    message["position"] = position.text;
    return field<bool>(port_.call(message, kCall), "applied");
}

Result<uint64_t> MoverClient::stand(Direction direction, uint64_t ticket, const Position& position,
                                    milliseconds span) {
    json message = request(control_op::kStand, direction);
    message["ticket"] = ticket;
    message["position"] = position.text;
    message["span_ms"] = span.count();
    return field<uint64_t>(port_.call(message, kCall), "ticket");
}

Result<bool> MoverClient::go_on(Direction direction, uint64_t ticket) {
    json message = request(control_op::kGoOn, direction);
    message["ticket"] = ticket;
    return field<bool>(port_.call(message, kCall), "stood");
}

Result<Position> MoverClient::end(Direction direction) {
    auto text =
        field<std::string>(port_.call(request(control_op::kEnd, direction), kCall), "position");
    if (!text) return tl::unexpected(text.error());
    return Position{*text};
}

Status MoverClient::prove(Direction direction, milliseconds timeout) {
    json message = request(control_op::kProve, direction);
    message["timeout_ms"] = timeout.count();
    return nothing(port_.call(message, timeout + kCall));
}

Result<Position> MoverClient::arm(Direction direction) {
    auto text =
        field<std::string>(port_.call(request(control_op::kArm, direction), kCall), "position");
    if (!text) return tl::unexpected(text.error());
    return Position{*text};
}

Status MoverClient::hand_over(Direction direction) {
    return nothing(port_.call(request(control_op::kHandOver, direction), kCall));
}

Status MoverClient::take_back(Direction direction) {
    return nothing(port_.call(request(control_op::kTakeBack, direction), kCall));
}

Result<std::vector<std::string>> MoverClient::touched(Direction direction, milliseconds span) {
    json message = request(control_op::kTouched, direction);
    message["span_ms"] = span.count();
    auto encoded = field<std::vector<std::string>>(port_.call(message, kCall), "keys");
    if (!encoded) return encoded;
    for (std::string& key : *encoded) {
        auto raw = base64_decode(key);
        if (!raw) return tl::unexpected(raw.error());
        key = std::move(*raw);
    }
    return encoded;
}

Result<uint64_t> MoverClient::redrive(Direction direction) {
    return field<uint64_t>(port_.call(request(control_op::kRedrive, direction), kCall), "count");
}

Status MoverClient::throttle(const std::string& key, const std::string& value,
                             const std::string& by) {
    return nothing(port_.call(
        {{"op", control_op::kThrottle}, {"key", key}, {"value", value}, {"by", by}}, kCall));
}

Status MoverClient::pause(bool paused) {
    return nothing(port_.call({{"op", control_op::kPause}, {"paused", paused}}, kCall));
}

Status MoverClient::forget(Direction direction) {
    return nothing(port_.call(request(control_op::kForget, direction), kCall));
}

Status MoverClient::look_now() {
    return nothing(
        port_.call({{"op", control_op::kLookNow}}, milliseconds(limits::kControlTimeout_ms)));
}

}  // namespace exodus
