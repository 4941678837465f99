#include "telemetry/event_stream.h"

#include <fmt/format.h>
#include <iterator>

#include "base/limits.h"

namespace exodus {

std::string status_text(const Feed::Snapshot& snapshot, std::size_t followers, uint64_t dropped) {
    const nlohmann::json now{{"at_ms", snapshot.taken_ms},
                             {"now_ms", wall_ms()},
                             {"telemetry",
                              {{"clients", followers},
                               {"dropped", dropped},
                               {"snapshot_us", snapshot.took_us},
                               {"error", snapshot.error}}}};
    // One object of two: the status is large, and the same for everybody.
    std::string text = *snapshot.text;
    text.back() = text.size() > 2 ? ',' : ' ';
    return text + now.dump().substr(1);
}

std::string EventStream::next(std::size_t followers, uint64_t dropped) {
    std::string out;
    if (!begun_) {
        begun_ = true;
        out = "retry: 2000\n\n";
    } else if (!feed_.wait(after_, status_ ? version_ : Feed::kEventsOnly,
                           milliseconds(limits::kTelemetryHeartbeat_ms))) {
        return {};
    }
    if (auto events = feed_.events_after(after_)) {
        for (const TelemetryEvent& event : *events) {
            fmt::format_to(std::back_inserter(out), "id: {}\nevent: event\ndata: {}\n\n", event.id,
                           event.json);
            after_ = event.id;
        }
    }
    if (status_) {
        const Feed::Snapshot snapshot = feed_.snapshot();
        if (snapshot.value && snapshot.version != version_) {
            version_ = snapshot.version;
            out += "event: status\ndata: " + status_text(snapshot, followers, dropped) + "\n\n";
        }
    }
    if (out.empty()) out = ": still here\n\n";
    return out;
}

}  // namespace exodus
