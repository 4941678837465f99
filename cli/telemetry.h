// What the interlay's process shows over HTTP: status of the migration, numbers of this process,
// events of the state file.
#pragma once

#include <memory>
#include <thread>

#include "cli/workspace.h"
#include "core/control.h"
#include "core/telemetry.h"
#include "telemetry/http_server.h"
#include "workflow/event_queue.h"

namespace exodus::cli {

/// interlay.http taken, nothing answered yet; null when it is off.
Result<std::unique_ptr<TelemetryServer>> bind_telemetry(const Settings& settings);

struct TelemetryParts {
    DivergenceLog& divergences;
    EventQueue& events;  ///< gets what each snapshot has to tell
    bool probes;         ///< ask both endpoints how they are
};

/// `handlers` are this process' own, those of the control socket. All references outlive the
/// result.
std::unique_ptr<TelemetrySource> make_telemetry_source(Cli& cli, Workspace& space,
                                                       ControlHandlers handlers,
                                                       TelemetryParts parts);

/// Takes a snapshot each second for the events that it has to tell, where no server does.
std::jthread watch_status(TelemetrySource& source);

}  // namespace exodus::cli
