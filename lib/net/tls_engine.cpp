// OpenSSL on memory BIOs, and what its error codes mean to an operator.
#include "net/tls_engine.h"

#include <algorithm>
#include <arpa/inet.h>
#include <climits>
#include <cstring>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace exodus {

namespace {

bool is_ip_address(const std::string& host) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
           inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

std::string time_text(const ASN1_TIME* time) {
    std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    if (!bio || time == nullptr || ASN1_TIME_print(bio.get(), time) != 1) return "unknown";
    char* data = nullptr;
    const long length = BIO_get_mem_data(bio.get(), &data);
    return {data, static_cast<std::size_t>(length)};
}

std::string subject_of(X509* certificate) {
    std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    if (!bio || certificate == nullptr) return {};
    X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    char* data = nullptr;
    const long length = BIO_get_mem_data(bio.get(), &data);
    return {data, static_cast<std::size_t>(std::max(length, 0L))};
}

/// Names that a certificate is good for, for the text of a mismatch; bounded.
std::string names_of(X509* certificate) {
    std::string text;
    auto* names = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    if (names == nullptr) return subject_of(certificate);
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && text.size() < 200; ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
        std::string one;
        if (name->type == GEN_DNS) {
            one.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
        } else if (name->type == GEN_IPADD) {
            const int length = ASN1_STRING_length(name->d.iPAddress);
            char printed[INET6_ADDRSTRLEN] = "";
            inet_ntop(length == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress),
                      printed, sizeof printed);
            one = printed;
        }
        if (one.empty()) continue;
        if (!text.empty()) text += ", ";
        text += one;
    }
    GENERAL_NAMES_free(names);
    return text;
}

Error refused(long reason, X509* certificate, const std::string& peer, const std::string& name) {
    std::string why;
    std::string hint;
    switch (reason) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            why = fmt::format("it expired on {}", certificate != nullptr
                                                      ? time_text(X509_get0_notAfter(certificate))
                                                      : "an unknown date");
            hint = "renew the certificate";
            break;
        case X509_V_ERR_CERT_NOT_YET_VALID:
            why = fmt::format("it is not valid before {}",
                              certificate != nullptr ? time_text(X509_get0_notBefore(certificate))
                                                     : "an unknown date");
            hint = "check the clocks of both machines";
            break;
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH:
            why =
                fmt::format("it is for {}, not for {}",
                            certificate != nullptr ? names_of(certificate) : "another name", name);
            hint = "connect by a name of the certificate or set tls.server_name";
            break;
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
            why = fmt::format("its issuer is not trusted ({})",
                              X509_verify_cert_error_string(reason));
            hint = "set tls.ca to the CA that signed it";
            break;
        default:
            why = X509_verify_cert_error_string(reason);
    }
    return {ErrorCode::permission,
            fmt::format("the certificate of {} is not accepted: {}", peer, why), hint};
}

}  // namespace

Result<std::unique_ptr<TlsEngine>> TlsEngine::make(const TlsContext& context,
                                                   const std::string& host, std::string peer) {
    std::unique_ptr<TlsEngine> engine(new TlsEngine);
    engine->ssl_ = context.new_session();
    engine->in_ = BIO_new(BIO_s_mem());
    engine->out_ = BIO_new(BIO_s_mem());
    if (engine->ssl_ == nullptr || engine->in_ == nullptr || engine->out_ == nullptr) {
        if (engine->ssl_ == nullptr) {
            BIO_free(engine->in_);
            BIO_free(engine->out_);
            return fail(ErrorCode::internal, "TLS: out of memory");
        }
    }
    // An empty memory BIO means "nothing yet", not the end of the stream.
    BIO_set_mem_eof_return(engine->in_, -1);
    BIO_set_mem_eof_return(engine->out_, -1);
    SSL_set_bio(engine->ssl_, engine->in_, engine->out_);
    SSL_set_app_data(engine->ssl_, engine.get());
    SSL_set_verify(engine->ssl_, SSL_get_verify_mode(engine->ssl_), on_verify);
    engine->role_ = context.role();
    engine->peer_ = std::move(peer);
    if (context.role() == TlsRole::server) {
        SSL_set_accept_state(engine->ssl_);
        return engine;
    }
    SSL_set_connect_state(engine->ssl_);
    const TlsSettings& settings = context.settings();
    engine->name_ = settings.server_name.empty() ? host : settings.server_name;
    if (engine->name_.empty()) {
        if (settings.verify)
            return fail(ErrorCode::config, "TLS to a Unix socket needs a name to verify",
                        "set tls.server_name");
        return engine;
    }
    const bool address = is_ip_address(engine->name_);
    if (!address && SSL_set_tlsext_host_name(engine->ssl_, engine->name_.c_str()) != 1)
        return fail(ErrorCode::config, fmt::format("TLS: {} is no host name", engine->name_));
    if (settings.verify) {
        X509_VERIFY_PARAM* rules = SSL_get0_param(engine->ssl_);
        X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        const int set = address ? X509_VERIFY_PARAM_set1_ip_asc(rules, engine->name_.c_str())
                                : X509_VERIFY_PARAM_set1_host(rules, engine->name_.c_str(), 0);
        if (set != 1)
            return fail(ErrorCode::config, fmt::format("TLS: bad name {}", engine->name_));
    }
    return engine;
}

TlsEngine::~TlsEngine() {
    X509_free(refused_);
    SSL_free(ssl_);
}

int TlsEngine::on_verify(int accepted, x509_store_ctx_st* store) {
    if (accepted == 1) return 1;
    const auto* ssl =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    auto* engine = static_cast<TlsEngine*>(SSL_get_app_data(ssl));
    X509* certificate = X509_STORE_CTX_get_current_cert(store);
    if (engine->refused_ == nullptr && certificate != nullptr && X509_up_ref(certificate) == 1)
        engine->refused_ = certificate;
    return 0;
}

Status TlsEngine::start() { return handshake(); }

Status TlsEngine::handshake() {
    if (established_) return {};
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_);
    if (done == 1) {
        established_ = true;
        return {};
    }
    const int error = SSL_get_error(ssl_, done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return {};
    return tl::unexpected<Error>(failure(error));
}

Status TlsEngine::feed(std::string_view from_peer) {
    while (!from_peer.empty()) {
        const int size = static_cast<int>(std::min<std::size_t>(from_peer.size(), INT_MAX));
        const int taken = BIO_write(in_, from_peer.data(), size);
        if (taken <= 0) return fail(ErrorCode::internal, "TLS: out of memory");
        from_peer.remove_prefix(static_cast<std::size_t>(taken));
    }
    return handshake();
}

Result<std::size_t> TlsEngine::read(std::span<char> buffer) {
    if (!established_) return std::size_t{0};
    std::size_t total = 0;
    ERR_clear_error();
    // Records are 16 KiB at the most: several fill one buffer, so that one event carries them all.
    while (total < buffer.size()) {
        std::size_t count = 0;
        if (SSL_read_ex(ssl_, buffer.data() + total, buffer.size() - total, &count) == 1) {
            total += count;
            continue;
        }
        const int error = SSL_get_error(ssl_, 0);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
        if (error == SSL_ERROR_ZERO_RETURN) {
            closed_ = true;
            break;
        }
        // What was decrypted before the failure counts; the failure shows again at the next call.
        if (total > 0) break;
        return tl::unexpected<Error>(failure(error));
    }
    return total;
}

Status TlsEngine::write(std::string_view plain) {
    if (plain.empty()) return {};
    EXODUS_ASSERT(established_);
    ERR_clear_error();
    while (!plain.empty()) {
        std::size_t count = 0;
        if (SSL_write_ex(ssl_, plain.data(), plain.size(), &count) != 1)
            return tl::unexpected<Error>(failure(SSL_get_error(ssl_, 0)));
        plain.remove_prefix(count);
    }
    return {};
}

void TlsEngine::close_notify() {
    if (!established_) return;
    ERR_clear_error();
    SSL_shutdown(ssl_);
    ERR_clear_error();
}

std::string_view TlsEngine::outgoing() const {
    char* data = nullptr;
    const long length = BIO_get_mem_data(out_, &data);
    if (length <= 0) return {};
    return {data, static_cast<std::size_t>(length)};
}

void TlsEngine::clear_outgoing() { (void)BIO_reset(out_); }

std::string TlsEngine::peer_subject() const {
    if (!established_ || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
    if (SSL_get_verify_mode(ssl_) == SSL_VERIFY_NONE) return {};
    return subject_of(SSL_get0_peer_certificate(ssl_));
}

Error TlsEngine::failure(int ssl_error) const {
    const unsigned long code = ERR_peek_error();
    ERR_clear_error();
    const long verified = SSL_get_verify_result(ssl_);
    if (verified != X509_V_OK && SSL_get_verify_mode(ssl_) != SSL_VERIFY_NONE) {
        return refused(verified, refused_, peer_, name_);
    }
    if (code == 0) {
        return {ErrorCode::protocol,
                fmt::format("TLS with {} broke off (OpenSSL error {})", peer_, ssl_error)};
    }
    const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char* text = ERR_reason_error_string(code);
    const std::string said = text != nullptr ? text : "unknown reason";
    switch (reason) {
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
            return {ErrorCode::protocol, fmt::format("{} does not speak TLS on this port", peer_),
                    "check the port, or use the scheme without TLS"};
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return {ErrorCode::permission, fmt::format("{} demands a client certificate", peer_),
                    "set tls.cert and tls.key"};
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return {ErrorCode::permission, fmt::format("{} sent no client certificate", peer_),
                    "the listener demands one (require_client_cert)"};
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
            return {ErrorCode::permission,
                    fmt::format("{} does not accept our certificate: {}", peer_, said)};
        case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
            return {ErrorCode::permission,
                    fmt::format("{} refused the TLS handshake: {}", peer_, said),
                    "it may demand a client certificate (tls.cert, tls.key) or other ciphers"};
        default:
            return {ErrorCode::protocol, fmt::format("TLS with {} failed: {}", peer_, said)};
    }
}

}  // namespace exodus
