// The events of the interlay's process about itself: that it began, drains and ended, and what an
// operator changed of it while it ran.
#pragma once

#include <string>

#include "core/control.h"
#include "core/state.h"
#include "workflow/event_queue.h"

namespace exodus::cli {

/// Each of `handlers` that changes something tells it, once it succeeded: a knob when the request
/// says who asks ("by"; phases that turn one for themselves do not), a drain always. `events`
/// outlives the handlers.
void record_requests(ControlHandlers& handlers, EventQueue& events);

void tell_started(EventQueue& events, const MigrationRow& row, const std::string& addresses,
                  bool taken_over);
/// `why`: "asked by a signal".
void tell_draining(EventQueue& events, const std::string& why);
void tell_ended(EventQueue& events);

}  // namespace exodus::cli
