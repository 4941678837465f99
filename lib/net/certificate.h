// What certificate files say about themselves, without a connection.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace exodus {

/// Of several certificates the time in which all of them are valid.
struct CertificateSpan {
    int64_t from_ms = 0;  ///< Unix time
    int64_t until_ms = 0;
};

/// Of every certificate in a PEM file: the listener's own and those between it and its CA. Errors:
/// io, permission, data (with the file's name).
Result<CertificateSpan> certificate_span(const std::string& file);

}  // namespace exodus
