#include "base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <system_error>

namespace exodus {

std::string_view to_string(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::usage:
            return "usage";
        case ErrorCode::data:
            return "data";
        case ErrorCode::no_input:
            return "no_input";
        case ErrorCode::unreachable:
            return "unreachable";
        case ErrorCode::cannot_create:
            return "cannot_create";
        case ErrorCode::locked:
            return "locked";
        case ErrorCode::permission:
            return "permission";
        case ErrorCode::config:
            return "config";
        case ErrorCode::not_allowed:
            return "not_allowed";
        case ErrorCode::gate_not_met:
            return "gate_not_met";
        case ErrorCode::approval_missing:
            return "approval_missing";
        case ErrorCode::safety:
            return "safety";
        case ErrorCode::second_writer:
            return "second_writer";
        case ErrorCode::gap:
            return "gap";
        case ErrorCode::protocol:
            return "protocol";
        case ErrorCode::timeout:
            return "timeout";
        case ErrorCode::cancelled:
            return "cancelled";
        case ErrorCode::io:
            return "io";
        case ErrorCode::internal:
            return "internal";
    }
    return "internal";
}

Error Error::with(std::string_view context) && {
    message = fmt::format("{}: {}", context, message);
    return std::move(*this);
}

tl::unexpected<Error> fail_errno(std::string_view what, int error_number) {
    const auto code = error_number == EACCES || error_number == EPERM || error_number == EROFS
                          ? ErrorCode::permission
                          : ErrorCode::io;
    return fail(code, fmt::format("{}: {}", what, std::generic_category().message(error_number)));
}

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "exodus: internal guarantee broken: %s (%s:%d)\n", expression, file, line);
    std::abort();
}

}  // namespace exodus
