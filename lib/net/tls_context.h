// Certificates, keys and rules of one TLS role, loaded from files and reloadable while connections
// run. Shared by the dialer and the traffic loops; sessions keep what they were made with.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/error.h"
#include "core/endpoint.h"

struct ssl_ctx_st;
struct ssl_st;

namespace exodus {

enum class TlsRole { client, server };

class TlsContext {
  public:
    /// Errors: config (a server without certificate), no_input or data (a file that cannot be read
    /// or parsed, with its name).
    /// `require_peer_cert`: a server refuses clients without a certificate of settings.ca_file.
    static Result<std::unique_ptr<TlsContext>> make(TlsRole role, const TlsSettings& settings,
                                                    bool require_peer_cert = false);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    /// Reads the files again; on an error the former certificates stay in use. Thread-safe.
    Status reload();
    /// A new session, owned by the caller; null when memory is exhausted. Thread-safe.
    [[nodiscard]] ssl_st* new_session() const;
    [[nodiscard]] TlsRole role() const { return role_; }
    [[nodiscard]] const TlsSettings& settings() const { return settings_; }

  private:
    TlsContext(TlsRole role, TlsSettings settings, bool require_peer_cert)
        : role_(role), settings_(std::move(settings)), require_peer_cert_(require_peer_cert) {}
    [[nodiscard]] Result<ssl_ctx_st*> load() const;

    TlsRole role_;
    TlsSettings settings_;
    bool require_peer_cert_;
    mutable std::mutex mutex_;
    ssl_ctx_st* context_ = nullptr;
};

}  // namespace exodus
