// An event as `exodus events --json` and /events give it.
#pragma once

#include <nlohmann/json.hpp>

#include "store/records.h"

namespace exodus::cli {

nlohmann::json event_json(const EventRow& event);

}  // namespace exodus::cli
