#include "workflow/exit_codes.h"

namespace exodus {

int exit_code_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::gate_not_met:
            return kGateNotMet;
        case ErrorCode::not_allowed:
            return kNotAllowed;
        case ErrorCode::approval_missing:
            return kApprovalMissing;
        case ErrorCode::safety:
        case ErrorCode::second_writer:
            return kSafety;
        case ErrorCode::usage:
            return kUsage;
        case ErrorCode::data:
            return kData;
        case ErrorCode::no_input:
            return kNoInput;
        case ErrorCode::unreachable:
            return kUnavailable;
        case ErrorCode::internal:
            return kInternal;
        case ErrorCode::cannot_create:
            return kCannotCreate;
        case ErrorCode::locked:
            return kLocked;
        case ErrorCode::permission:
            return kPermission;
        case ErrorCode::config:
            return kConfig;
        case ErrorCode::cancelled:
            return kInterrupted;
        // What a server says wrongly is no fault of the user's data.
        case ErrorCode::protocol:
        case ErrorCode::gap:
        case ErrorCode::timeout:
        case ErrorCode::io:
            return kFailed;
    }
    return kInternal;
}

}  // namespace exodus
