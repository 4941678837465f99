// Exit codes of all commands (cli.md, "Exit codes"; exodus(1)), and which error means which.
#pragma once

#include "base/error.h"

namespace exodus {

enum Exit : int {
    kDone = 0,
    kFailed = 1,      ///< could not finish; state resumable
    kGateNotMet = 2,  ///< finished: gate not met, or differences found
    kNotAllowed = 3,
    kApprovalMissing = 4,
    kSafety = 5,
    kUsage = 64,
    kData = 65,
    kNoInput = 66,
    kUnavailable = 69,
    kInternal = 70,
    kCannotCreate = 73,
    kLocked = 75,
    kPermission = 77,
    kConfig = 78,
    kInterrupted = 130,
    kTerminated = 143,
};

int exit_code_of(ErrorCode code);

}  // namespace exodus
