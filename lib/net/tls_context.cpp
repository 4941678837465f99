// Loading of certificates and keys into OpenSSL, with errors that name the file.
#include "net/tls_context.h"

#include <fmt/format.h>
#include <memory>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>
#include <utility>

namespace exodus {

namespace {

std::string openssl_reason() {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) return "unknown reason";
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : "unknown reason";
}

Status readable(std::string_view what, const std::string& path) {
    if (::access(path.c_str(), R_OK) == 0) return {};
    auto error = fail_errno(fmt::format("{} {}", what, path), errno).value();
    if (error.code == ErrorCode::io) error.code = ErrorCode::no_input;
    return tl::unexpected<Error>(std::move(error));
}

tl::unexpected<Error> bad_file(std::string_view what, const std::string& path) {
    return fail(ErrorCode::data, fmt::format("{} {}: {}", what, path, openssl_reason()),
                "a PEM file is expected");
}

}  // namespace

Result<ssl_ctx_st*> TlsContext::load() const {
    ERR_clear_error();
    const bool server = role_ == TlsRole::server;
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> made(
        SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()), SSL_CTX_free);
    if (!made) return fail(ErrorCode::internal, "TLS: " + openssl_reason());
    SSL_CTX* context = made.get();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    // Idle connections give their record buffers back: 34 KB each otherwise.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    static constexpr unsigned char kSessionContext[] = "exodus";
    SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext - 1);

    if (!settings_.cert_file.empty()) {
        EXODUS_TRY(readable("certificate", settings_.cert_file));
        const std::string& key =
            settings_.key_file.empty() ? settings_.cert_file : settings_.key_file;
        EXODUS_TRY(readable("private key", key));
        if (SSL_CTX_use_certificate_chain_file(context, settings_.cert_file.c_str()) != 1)
            return bad_file("certificate", settings_.cert_file);
        const bool loaded =
            SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) == 1;
        // OpenSSL compares the key with the certificate while it loads it.
        const bool mismatch = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
        if (!loaded && !mismatch) return bad_file("private key", key);
        if (!loaded || SSL_CTX_check_private_key(context) != 1) {
            ERR_clear_error();
            return fail(ErrorCode::data,
                        fmt::format("private key {} does not belong to certificate {}", key,
                                    settings_.cert_file));
        }
    } else if (server) {
        return fail(ErrorCode::config, "TLS on the listener needs a certificate and a key",
                    "set tls.cert and tls.key of [interlay]");
    }
    if (!settings_.ca_file.empty()) {
        EXODUS_TRY(readable("CA file", settings_.ca_file));
        if (SSL_CTX_load_verify_locations(context, settings_.ca_file.c_str(), nullptr) != 1)
            return bad_file("CA file", settings_.ca_file);
        if (server)
            SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(settings_.ca_file.c_str()));
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
        return fail(ErrorCode::internal, "the system's CA store: " + openssl_reason());
    }
    int verify = SSL_VERIFY_NONE;
    if (server) {
        // A client certificate is asked for when it could be checked; it is demanded on request.
        if (require_peer_cert_)
            verify = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        else if (!settings_.ca_file.empty())
            verify = SSL_VERIFY_PEER;
    } else if (settings_.verify) {
        verify = SSL_VERIFY_PEER;
    }
    SSL_CTX_set_verify(context, verify, nullptr);
    ERR_clear_error();
    return made.release();
}

Result<std::unique_ptr<TlsContext>> TlsContext::make(TlsRole role, const TlsSettings& settings,
                                                     bool require_peer_cert) {
    if (role == TlsRole::server && require_peer_cert && settings.ca_file.empty())
        return fail(ErrorCode::config, "client certificates are required but there is no CA file",
                    "set tls.ca of [interlay]: the CA that signs the clients' certificates");
    std::unique_ptr<TlsContext> made(new TlsContext(role, settings, require_peer_cert));
    EXODUS_TRY(made->reload());
    return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Status TlsContext::reload() {
    auto loaded = load();
    if (!loaded) return tl::unexpected<Error>(std::move(loaded).error());
    SSL_CTX* former = *loaded;
    {
        const std::lock_guard lock(mutex_);
        std::swap(former, context_);
    }
    SSL_CTX_free(former);  // sessions hold references of their own
    return {};
}

ssl_st* TlsContext::new_session() const {
    const std::lock_guard lock(mutex_);
    return SSL_new(context_);
}

}  // namespace exodus
