#include "core/endpoint.h"

#include <fmt/format.h>

namespace exodus {

std::string Endpoint::address() const {
    if (!unix_path.empty()) return unix_path;
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                               : fmt::format("[{}]:{}", host, port);
}

}  // namespace exodus
