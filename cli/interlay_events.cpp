#include "cli/interlay_events.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "core/json_text.h"

namespace exodus::cli {

namespace {

using nlohmann::json;

std::string field(const json& request, const char* name) {
    const auto found = request.find(name);
    if (found == request.end()) return {};
    return found->is_string() ? found->get<std::string>() : found->dump();
}

NewEvent event(const char* code, std::string text, const json& data) {
    return NewEvent{"info", code, std::move(text), json_text(data), 0};
}

/// "throttle.bytes_per_s = 10MB"
std::string described(const std::string& op, const json& request) {
    if (op == control_op::kThrottle)
        return fmt::format("throttle.{} = {}", field(request, "key"), field(request, "value"));
    if (op == control_op::kKnob)
        return fmt::format("{} = {}", field(request, "name"), field(request, "value"));
    return "certificates and keys were read again";
}

void tell_request(EventQueue& events, const std::string& op, const json& request) {
    const std::string by = field(request, "by");
    if (op == control_op::kDrain) {
        const bool successor = request.value("successor", false);
        return tell_draining(events, successor    ? "another process takes over"
                                     : by.empty() ? "asked on the control socket"
                                                  : "asked by " + by);
    }
    if (by.empty()) return;
    const std::string reason = field(request, "reason");
    events.push(event("knob.changed",
                      fmt::format("{}; asked by {}{}{}", described(op, request), by,
                                  reason.empty() ? "" : ": ", reason),
                      {{"by", by}, {"reason", reason}}));
}

}  // namespace

void record_requests(ControlHandlers& handlers, EventQueue& events) {
    for (const char* op :
         {control_op::kThrottle, control_op::kKnob, control_op::kDrain, "reload"}) {
        handlers[op] = [handler = handlers[op], op = std::string(op),
                        &events](const json& request) -> Result<json> {
            auto answer = handler(request);
            if (answer) tell_request(events, op, request);
            return answer;
        };
    }
}

void tell_started(EventQueue& events, const MigrationRow& row, const std::string& addresses,
                  bool taken_over) {
    const std::string how = taken_over ? "took over from another process" : "began";
    events.push(event(
        taken_over ? "interlay.took-over" : "interlay.began",
        fmt::format("the interlay (pid {}) {} and listens on {}; the {} is "
                    "authoritative, epoch {}",
                    ::getpid(), how, addresses, to_string(row.route.authority), row.route.epoch),
        {{"pid", ::getpid()}, {"epoch", row.route.epoch}}));
}

void tell_draining(EventQueue& events, const std::string& why) {
    events.push(event(
        "interlay.draining",
        fmt::format("the interlay (pid {}) takes no more clients and ends: {}", ::getpid(), why),
        {{"pid", ::getpid()}}));
}

void tell_ended(EventQueue& events) {
    events.push(event("interlay.ended", fmt::format("the interlay (pid {}) ended", ::getpid()),
                      {{"pid", ::getpid()}}));
}

}  // namespace exodus::cli
