// Errors as values: what happened, and what the operator can do. Every layer returns them; only cli
// turns them into text and exit codes. No exceptions on the data path; a library's exceptions end
// in the file that calls the library.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace exodus {

/// Why something failed, in the words that decide what a caller does next. cli maps each to one
/// exit code.
enum class ErrorCode {
    usage,             ///< the command line is wrong (64)
    data,              ///< input is not what it should be: corrupted file, malformed reply (65)
    no_input,          ///< a file that should be read is not there (66)
    unreachable,       ///< an endpoint or worker does not answer (69)
    cannot_create,     ///< a file or directory cannot be written (73)
    locked,            ///< another command holds the migration: try later (75)
    permission,        ///< the endpoint or the system refuses the right (77)
    config,            ///< configuration error (78)
    not_allowed,       ///< not allowed in this state (3)
    gate_not_met,      ///< finished, but the evidence is not enough (2)
    approval_missing,  ///< approval or confirmation missing (4)
    safety,            ///< a safety rule stopped it; the authority is unchanged (5)
    second_writer,     ///< somebody else writes where only we may (5)
    gap,               ///< the change stream does not go on where we stopped
    protocol,          ///< a peer broke its protocol
    timeout,           ///< a deadline passed
    cancelled,         ///< stopped on request
    io,                ///< a system call failed
    internal,          ///< a guarantee of the program itself does not hold
};

/// A stable lower-case name for JSON and logs, e.g. "unreachable".
std::string_view to_string(ErrorCode code) noexcept;

struct Error {
    ErrorCode code = ErrorCode::internal;
    std::string message;    ///< what happened, one sentence without a final full stop
    std::string hint = {};  ///< what to do, or empty

    /// Adds context in front while unwinding: "copying db 3: connection lost".
    [[nodiscard]] Error with(std::string_view context) &&;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string hint = {}) {
    return tl::unexpected<Error>(Error{code, std::move(message), std::move(hint)});
}

/// Passes an error on with context in front.
inline tl::unexpected<Error> fail(Error&& error, std::string_view context) {
    return tl::unexpected<Error>(std::move(error).with(context));
}

/// errno as an Error of code io (or permission for EACCES/EPERM), "open /x: Permission denied".
tl::unexpected<Error> fail_errno(std::string_view what, int error_number);

/// Ends the process with file and line. For what the program itself guarantees; traffic can never
/// trip it.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace exodus

#define EXODUS_ASSERT(expression)            \
    (static_cast<bool>(expression) ? void(0) \
                                   : ::exodus::assertion_failed(#expression, __FILE__, __LINE__))

/// Returns the error of a Status or Result expression to the caller.
#define EXODUS_TRY(expression)                                                            \
    do {                                                                                  \
        if (auto exodus_try_result = (expression); !exodus_try_result) [[unlikely]]       \
            return tl::unexpected<::exodus::Error>(std::move(exodus_try_result).error()); \
    } while (false)
