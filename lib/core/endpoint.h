// One end of a migration as a value: where it is, how to log in, how to encrypt. Read from the
// configuration; the secrets inside cannot be printed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/secret.h"

namespace exodus {

/// The two ends. Never old/new or primary/secondary.
enum class Side : uint8_t { source, target };

constexpr Side other(Side side) { return side == Side::source ? Side::target : Side::source; }
constexpr std::string_view to_string(Side side) {
    return side == Side::source ? "source" : "target";
}

struct TlsSettings {
    bool enabled = false;
    bool verify = true;       ///< certificate chain and host name; on by default
    std::string ca_file;      ///< PEM; empty: the system's store
    std::string cert_file;    ///< PEM, for mTLS
    std::string key_file;     ///< PEM, for mTLS
    std::string server_name;  ///< SNI and name to verify; empty: the host
};

struct Endpoint {
    Side side = Side::source;
    std::string family;  ///< "redis", "postgres", "mongo"
    std::string host;
    uint16_t port = 0;
    std::string unix_path;  ///< instead of host and port when not empty
    int database = 0;
    std::string user;
    Secret password;
    TlsSettings tls;

    /// "redis-a:6379": for people and logs.
    [[nodiscard]] std::string address() const;
};

}  // namespace exodus
