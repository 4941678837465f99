#include "cli/event_json.h"

#include "base/clock.h"

namespace exodus::cli {

nlohmann::json event_json(const EventRow& event) {
    nlohmann::json data = nlohmann::json::parse(event.data, nullptr, false);
    if (data.is_discarded()) data = nlohmann::json::object();
    return {{"type", "event"},
            {"id", event.id},
            {"at", iso8601(event.at_ms)},
            {"severity", event.severity},
            {"code", event.code},
            {"text", event.text},
            {"data", data}};
}

}  // namespace exodus::cli
