// A passive reader of one captured client connection: both directions through the RESP scanners
// into TrafficStats. Arguments of AUTH and HELLO are never kept. Fed by lib/capture; not
// thread-safe.
#pragma once

#include <memory>

#include "core/family.h"

namespace exodus::redis {

std::unique_ptr<TapSession> make_redis_tap_session();

}  // namespace exodus::redis
