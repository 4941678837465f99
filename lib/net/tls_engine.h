// TLS without I/O: bytes from the peer go in, plain bytes and bytes for the peer come out. One per
// connection, one thread at a time. The owner moves the bytes; this never touches a socket.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "net/tls_context.h"

struct bio_st;
struct x509_st;
struct x509_store_ctx_st;

namespace exodus {

class TlsEngine {
  public:
    /// `host` is the name that a client verifies (unless the settings name another) and sends as
    /// SNI; servers ignore it. `peer` names the other end in error texts.
    static Result<std::unique_ptr<TlsEngine>> make(const TlsContext& context,
                                                   const std::string& host, std::string peer);
    ~TlsEngine();
    TlsEngine(const TlsEngine&) = delete;
    TlsEngine& operator=(const TlsEngine&) = delete;

    /// A client speaks first: call once, then send outgoing(). Harmless for a server.
    Status start();
    /// Takes bytes from the peer and drives the handshake. After an error outgoing() may hold the
    /// alert that tells the peer why. Errors: permission (certificate, with the reason), protocol.
    Status feed(std::string_view from_peer);
    /// Plain bytes; 0: more bytes from the peer are needed, or closed() holds.
    Result<std::size_t> read(std::span<char> buffer);
    /// Encrypts all of it into outgoing(). Only once established.
    Status write(std::string_view plain);
    /// Queues the notice that nothing more will be sent.
    void close_notify();

    [[nodiscard]] bool established() const { return established_; }
    /// The peer said that it will send no more.
    [[nodiscard]] bool closed() const { return closed_; }
    /// Bytes for the peer, valid until the next call.
    [[nodiscard]] std::string_view outgoing() const;
    void clear_outgoing();
    /// Subject of the peer's verified certificate ("CN=app"), or empty.
    [[nodiscard]] std::string peer_subject() const;

  private:
    TlsEngine() = default;
    Status handshake();
    static int on_verify(int accepted, x509_store_ctx_st* store);
    Error failure(int ssl_error) const;

    ssl_st* ssl_ = nullptr;
    bio_st* in_ = nullptr;        ///< owned by ssl_
    bio_st* out_ = nullptr;       ///< owned by ssl_
    x509_st* refused_ = nullptr;  ///< the certificate that did not pass; the session forgets it
    TlsRole role_ = TlsRole::client;
    std::string name_;  ///< the name that is verified
    std::string peer_;
    bool established_ = false;
    bool closed_ = false;
};

}  // namespace exodus
