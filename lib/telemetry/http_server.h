// The telemetry server: dashboard, /status, /metrics, /events (server-sent events), /livez,
// /readyz. Read-only. Owns its threads; nothing of the data path waits for any of them.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/secret.h"
#include "core/telemetry.h"

namespace exodus {

struct TelemetryOptions {
    std::string host = "127.0.0.1";
    int port = 0;             ///< 0: any free one
    Secret token{};           ///< empty: nobody is asked for one
    std::string cert_file{};  ///< PEM; with key_file turns TLS on
    std::string key_file{};
};

class TelemetryServer {
  public:
    /// Takes the port, answers nothing yet. Errors: config (elsewhere than loopback without a token
    /// and TLS, or files that cannot be used), unreachable (the address cannot be bound).
    static Result<std::unique_ptr<TelemetryServer>> bind(TelemetryOptions options);
    /// Ends all answers; one that a client draws out is left to the end of the process.
    ~TelemetryServer();
    TelemetryServer(const TelemetryServer&) = delete;
    TelemetryServer& operator=(const TelemetryServer&) = delete;

    /// Begins to answer; once. `source` outlives the server.
    void serve(TelemetrySource& source);
    /// Gives the port back and wakes who follows; waits for no client. From any thread; idempotent.
    void close();
    /// "http://127.0.0.1:9464/"
    [[nodiscard]] std::string url() const;

  private:
    class Http;
    explicit TelemetryServer(std::unique_ptr<Http> http);
    std::unique_ptr<Http> http_;
};

}  // namespace exodus
