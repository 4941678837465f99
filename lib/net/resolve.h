// Names to addresses with a deadline, for blocking callers. getaddrinfo has none of its own.
#pragma once

#include <string>
#include <sys/socket.h>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace exodus {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    [[nodiscard]] const sockaddr* raw() const {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
    [[nodiscard]] int family() const { return storage.ss_family; }
};

/// At most kResolvedAddresses_max addresses in the resolver's order. `passive`: for binding; an
/// empty host is every address. Errors: unreachable (unknown name), timeout.
Result<std::vector<SocketAddress>> resolve(const std::string& host, uint16_t port, bool passive,
                                           Deadline deadline);
/// The address of a Unix socket. Error: usage when the path does not fit.
Result<SocketAddress> unix_address(const std::string& path);
/// "10.0.0.7:51234", "[::1]:6379", or "unix".
std::string to_text(const sockaddr* address);

}  // namespace exodus
