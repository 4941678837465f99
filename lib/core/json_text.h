// JSON as text, for files, sockets and terminals.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace exodus {

/// On one line. What servers and users say may be no UTF-8; printing it must never throw.
inline std::string json_text(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace exodus
