#include "net/certificate.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

namespace exodus {

namespace {

Result<int64_t> unix_ms(const ASN1_TIME* time, const std::string& file) {
    std::tm parts{};
    if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1)
        return fail(ErrorCode::data, "certificate " + file + ": a date in it cannot be read");
    return static_cast<int64_t>(::timegm(&parts)) * 1000;
}

}  // namespace

Result<CertificateSpan> certificate_span(const std::string& file) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(std::fopen(file.c_str(), "re"),
                                                           std::fclose);
    if (!opened) return fail_errno("certificate " + file, errno);
    CertificateSpan span{INT64_MIN, INT64_MAX};
    bool any = false;
    while (true) {
        const std::unique_ptr<X509, decltype(&X509_free)> certificate(
            PEM_read_X509(opened.get(), nullptr, nullptr, nullptr), X509_free);
        if (!certificate) break;
        auto from = unix_ms(X509_get0_notBefore(certificate.get()), file);
        if (!from) return tl::unexpected<Error>(std::move(from).error());
        auto until = unix_ms(X509_get0_notAfter(certificate.get()), file);
        if (!until) return tl::unexpected<Error>(std::move(until).error());
        span.from_ms = std::max(span.from_ms, *from);
        span.until_ms = std::min(span.until_ms, *until);
        any = true;
    }
    ERR_clear_error();  // the end of the file is one
    if (!any) return fail(ErrorCode::data, "no certificate in " + file, "a PEM file is expected");
    return span;
}

}  // namespace exodus
