#include "cli/exit_codes.h"

namespace exodus::cli {

int exit_code(ErrorCode code) {
    switch (code) {
        case ErrorCode::usage:
            return kUsage;
        case ErrorCode::data:
            return kData;
        case ErrorCode::protocol:
            return kData;
        case ErrorCode::no_input:
            return kNoInput;
        case ErrorCode::unreachable:
            return kUnavailable;
        case ErrorCode::cannot_create:
            return kCannotCreate;
        case ErrorCode::locked:
            return kLocked;
        case ErrorCode::permission:
            return kPermission;
        case ErrorCode::config:
            return kConfig;
        case ErrorCode::not_allowed:
            return kNotAllowed;
        case ErrorCode::gate_not_met:
            return kGateNotMet;
        case ErrorCode::approval_missing:
            return kApprovalMissing;
        case ErrorCode::safety:
        case ErrorCode::second_writer:
            return kSafety;
        case ErrorCode::gap:
        case ErrorCode::timeout:
        case ErrorCode::cancelled:
        case ErrorCode::io:
            return kFailed;
        case ErrorCode::internal:
            return kInternal;
    }
    return kInternal;
}

}  // namespace exodus::cli
