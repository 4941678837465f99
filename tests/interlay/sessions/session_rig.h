// What the tests of sessions share: raw clients of an interlay and of its server.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/raw_client.h"
#include "tests/support/scenario.h"

namespace exodus::test {

/// AUTH as the rig's application user.
std::string login();

/// One answer of `ctl traffic`.
nlohmann::json traffic_of(Rig& rig);

/// Rig::bring_to_ready() under the load that the gate of analyze wants to see.
void bring_to_ready(Rig& rig);

}  // namespace exodus::test
