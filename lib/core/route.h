// The route: the immutable value that says where reads and writes go now. Phases do nothing to
// traffic except publish a new one. A request binds the route once; a session changes side only at
// a boundary. Invariant 3: a route is only ever derived from what is durable in the state file.
#pragma once

#include <cstdint>

#include "core/endpoint.h"

namespace exodus {

struct Route {
    uint64_t epoch = 0;  ///< +1 at each change of route or phase; the fencing token
    Side authority =
        Side::source;  ///< owns the truth; answers every client unless a canary says otherwise
    Side writes = Side::source;
    Side reads = Side::source;
    bool hold = false;  ///< writes are not started; in-flight ones finish
    int64_t hold_deadline_ms =
        0;  ///< Unix ms; past it held requests get the protocol's retryable error
    double mirror_percent = 0;  ///< share of comparable reads sent to the other side too (0 … 100)
    double aa_percent = 0;      ///< share of comparable reads sent twice to the authority (noise)
    double canary_percent = 0;  ///< share of sessions whose reads the target answers
    bool migrating =
        false;  ///< from migrate on: administrative commands that break a migration are refused

    bool operator==(const Route&) const = default;
};

}  // namespace exodus
