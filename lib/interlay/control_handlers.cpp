// One function per operation.
#include "interlay/control_handlers.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "core/json_text.h"

namespace exodus {

namespace {

using nlohmann::json;

tl::unexpected<Error> pass(Error error) { return tl::unexpected<Error>(std::move(error)); }

Result<Side> side_of(const json& request) {
    const auto at = request.find("side");
    if (at != request.end() && at->is_string()) {
        if (at->get<std::string>() == to_string(Side::source)) return Side::source;
        if (at->get<std::string>() == to_string(Side::target)) return Side::target;
    }
    return fail(ErrorCode::usage, "\"side\" is \"source\" or \"target\"");
}

milliseconds timeout_of(const json& request) {
    int64_t wanted = limits::kControlTimeout_ms;
    if (const auto at = request.find("timeout_ms"); at != request.end() && at->is_number_integer())
        wanted = at->get<int64_t>();
    return milliseconds(std::clamp<int64_t>(wanted, 1, 60'000));
}

/// A knob's value in text, whatever JSON type it came in.
std::string text_of(const json& value) {
    return value.is_string() ? value.get<std::string>() : json_text(value);
}

Result<json> hello(InterlayOperations& operations) {
    const auto identity = operations.identity();
    const MigrationRow row = operations.watcher().row();
    auto now = operations.interlay().quiescence();
    if (!now) return pass(std::move(now).error());
    return json{{"pid", ::getpid()},
                {"version", identity.version},
                {"worker", identity.worker_id},
                {"epoch", now->epoch},
                {"holding", row.route.hold},
                {"state", to_string(row.state)},
                {"state_read_ms", operations.watcher().read_ms()},
                {"listen", identity.addresses},
                {"threads", identity.threads},
                {"started_ms", identity.started_ms},
                {"clients", operations.interlay().clients()},
                {"taken_over", identity.taken_over},
                {"draining", identity.draining}};
}

Result<json> knob(InterlayOperations& operations, const json& request) {
    const auto name = request.at("name").get<std::string>();
    const std::string value = request.contains("value") ? text_of(request["value"]) : std::string{};
    if (name == "log-level") {
        if (auto set = set_log_level(value); !set) return pass(std::move(set).error());
    } else if (name == "reload") {
        if (auto reloaded = operations.interlay().reload_tls(); !reloaded)
            return pass(std::move(reloaded).error());
    } else {
        auto set = operations.set_knob(name, value);
        if (!set) return pass(std::move(set).error());
        if (!*set) return fail(ErrorCode::usage, fmt::format("unknown knob {}", name));
    }
    return json{{"name", name}, {"value", value}};
}

Result<json> takeover(InterlayOperations& operations) {
    const auto identity = operations.identity();
    if (identity.draining) return fail(ErrorCode::not_allowed, "this interlay is already ending");
    // A new process in the middle of C1–C7 would not be among the workers that the switch waits
    // for.
    auto route = operations.watcher().look_now(milliseconds(limits::kLoopAnswer_ms));
    if (!route) return pass(std::move(route).error());
    const MigrationRow row = operations.watcher().row();
    if (row.route.hold || row.state == MigrationState::holding)
        return fail(ErrorCode::not_allowed, "a switch is under way",
                    "wait until it is over and try again");
    return json{{"listen", identity.addresses}, {"pid", ::getpid()}, {"epoch", route->epoch}};
}

}  // namespace

ControlHandlers make_control_handlers(InterlayOperations& operations) {
    auto* ops = &operations;
    ControlHandlers handlers;
    handlers[control_op::kHello] = [ops](const json&) { return hello(*ops); };
    handlers[control_op::kLookNow] = [ops](const json& request) -> Result<json> {
        auto route = ops->watcher().look_now(timeout_of(request));
        if (!route) return pass(std::move(route).error());
        return json{{"epoch", route->epoch}, {"hold", route->hold}};
    };
    handlers[control_op::kQuiescence] = [ops](const json&) -> Result<json> {
        auto now = ops->interlay().quiescence();
        if (!now) return pass(std::move(now).error());
        return json{{"pid", ::getpid()},
                    {"epoch", now->epoch},
                    {"writes_in_flight", now->writes_in_flight},
                    {"held", now->held},
                    {"blocker", now->blocker},
                    {"draining", ops->identity().draining}};
    };
    handlers[control_op::kTraffic] = [ops](const json& request) -> Result<json> {
        const bool observations = !request.is_object() || request.value("observations", true);
        auto stats = ops->interlay().traffic(observations);
        if (!stats) return pass(std::move(stats).error());
        return stats->to_json();
    };
    handlers[control_op::kBackends] = [ops](const json& request) -> Result<json> {
        auto side = side_of(request);
        if (!side) return pass(std::move(side).error());
        auto addresses = ops->interlay().backends(*side);
        if (!addresses) return pass(std::move(addresses).error());
        return json{{"addresses", *addresses}};
    };
    handlers[control_op::kCapture] = [ops](const json& request) -> Result<json> {
        const auto path = request.value("path", std::string());
        return path.empty() ? ops->traffic_shared().end_capture()
                            : ops->traffic_shared().begin_capture(path);
    };
    handlers[control_op::kKnob] = [ops](const json& request) { return knob(*ops, request); };
    handlers[control_op::kDrain] = [ops](const json&) -> Result<json> {
        ops->interlay().request_drain();
        return json{{"draining", true}};
    };
    handlers[control_op::kTakeover] = [ops](const json&) { return takeover(*ops); };
    handlers[control_op::kProbe] = [ops](const json& request) -> Result<json> {
        auto side = side_of(request);
        if (!side) return pass(std::move(side).error());
        auto probed = ops->traffic_shared().probe_fence(*side, timeout_of(request));
        if (!probed) return pass(std::move(probed).error());
        return json{{"refused", true}};
    };
    handlers[control_op::kReady] = [ops](const json& request) -> Result<json> {
        auto side = side_of(request);
        if (!side) return pass(std::move(side).error());
        if (auto ready = ops->traffic_shared().ready_for(*side); !ready)
            return pass(std::move(ready).error());
        return json{{"ready", true}};
    };
    return handlers;
}

}  // namespace exodus
