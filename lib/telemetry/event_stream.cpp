#include "telemetry/event_stream.h"

#include <fmt/format.h>
#include <iterator>
#include <utility>

#include "telemetry/limits.h"

namespace exodus {

std::string EventStream::next() {
    const bool first = !std::exchange(begun_, true);
    Feed::News news;
    // The first bytes come at once: they say that the connection stands.
    if (!feed_.next(place_, milliseconds(first ? 0 : limits::kTelemetryHeartbeat_ms), news))
        return {};
    std::string out = first ? "retry: 2000\n\n" : "";
    for (const TelemetryEvent& event : news.events)
        fmt::format_to(std::back_inserter(out), "id: {}\nevent: event\ndata: {}\n\n", event.id,
                       event.json);
    if (news.status) out.append("event: status\ndata: ").append(*news.status).append("\n\n");
    return out.empty() ? ": still here\n\n" : out;
}

}  // namespace exodus
