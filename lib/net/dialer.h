// The factory of blocking connections for workflow threads: TCP or Unix sockets, TLS on top. Used
// by the families through core/dialer.h; never by a traffic loop.
#pragma once

#include <memory>

#include "core/dialer.h"

namespace exodus {

/// Thread-safe: several threads may dial at once. TLS files are read again at each dial, so that a
/// renewed certificate is used without a restart.
std::unique_ptr<Dialer> make_dialer();

}  // namespace exodus
