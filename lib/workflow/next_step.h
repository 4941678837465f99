// The commands that an outcome and `status` name as the next ones: only those that would work now,
// first the one that leads on or that removes what is in the way.
#pragma once

#include <string>
#include <vector>

#include "core/movement.h"
#include "core/state.h"
#include "workflow/machine.h"

namespace exodus {

/// What stands in the way of the next step, as far as the caller knows it.
struct Obstacles {
    std::string blocked;        ///< of a stream that the step needs: an operator must help
    uint64_t failed_items = 0;  ///< that the fed side refused
    bool waits = false;         ///< the stream has trouble that is being retried
    bool silent = false;        ///< the fed side does not answer
    bool compare_open = true;   ///< gate G3, which the switch asks again
    bool approval_missing = false;
};

/// The stream that feeds the side without the authority.
Direction feeding(const MigrationRow& row);

/// What the file knows of a movement, when no interlay is asked.
MovementStatus last_seen(const MigrationRow& row, Direction direction);

/// The part of the obstacles that the movements know.
Obstacles obstacles_of(const MigrationRow& row, const MovementStatus& forward,
                       const MovementStatus& reverse);

/// "blocked: …" in words for `status`; empty when no stream is blocked.
std::string blocked_text(const Obstacles& obstacles);

/// As one types them, most likely first.
std::vector<std::string> next_commands(const MigrationRow& row, const Skips& skips,
                                       const Obstacles& obstacles);

}  // namespace exodus
