// FUNCTION libraries as a whole (redis.md 4.7): what both sides hold, which of the target's own the
// conflict policy keeps, and which ones this migration has brought. Used by the lane, by the
// settling of conflicts and before a switch; no state of its own.
//
// In the journal: ("forward-past", "functions-kept") names of the target's own libraries that stay
// whatever the source has; ("<direction>-past", "functions") names that the origin had when it was
// last copied: when it has one of them no more, the destination's is removed. Others stay.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/compare.h"
#include "core/family.h"
#include "families/redis/client.h"

namespace exodus::redis {

struct Library {
    std::string code;
    std::set<std::string, std::less<>> functions;  ///< names that it registers
    bool operator==(const Library&) const = default;
};
using Libraries = std::map<std::string, Library, std::less<>>;
using LibraryNames = std::set<std::string, std::less<>>;

/// Of FUNCTION LIST WITHCODE.
Libraries libraries_of(ReplyView list);
/// Empty below 7.0, which knows none.
Result<Libraries> read_libraries(Client& client);

Result<LibraryNames> load_library_names(Journal& journal, const std::string& scope,
                                        const std::string& record);
Status save_library_names(Journal& journal, const std::string& scope, const std::string& record,
                          const LibraryNames& names);
/// What the forward direction never writes.
Result<LibraryNames> kept_libraries(Journal& journal);

/// Whether the target's own counts for nothing: repair, or overwrite with extra = "delete".
bool authority_wins(const Settings& settings);

struct LibraryChanges {
    std::vector<std::string> removed;  ///< before any is loaded: a function may have moved
    std::vector<std::string> loaded;
};
/// What makes `there` hold what `here` has. `gone`: who may be removed when `here` lacks them.
LibraryChanges library_changes(const Libraries& here, const Libraries& there,
                               const LibraryNames& kept, const LibraryNames& gone);

/// Which libraries may differ while a direction runs.
struct LibraryRules {
    Direction direction = Direction::forward;
    LibraryNames kept;    ///< by the conflict policy
    LibraryNames shared;  ///< both sides had them once: a side that lacks one has lost it
    bool authority_wins = false;
};
Result<LibraryRules> library_rules(const FamilyContext& context, Direction direction);

/// `differences` with kind "missing" (the other side lacks it), "extra" (the authority lacks it) or
/// "code". Of the target alone may be, under most policies, what was its own before.
struct LibraryComparison {
    std::vector<Divergence> differences;
    uint64_t kept = 0;  ///< may differ
};
LibraryComparison compare_libraries(const Libraries& authority, const Libraries& other,
                                    const LibraryRules& rules);

/// The target's libraries before the first copy against the source's, by the conflict policy:
/// `kept`, and a row for each that the policy decides ("kept", "overwritten") or that nobody may
/// decide about ("conflict"). One whose function another library of the source has too is a
/// conflict under every policy: a server takes only one of them.
struct LibraryVerdict {
    LibraryNames kept;
    std::vector<ItemChange> changes;
    uint64_t conflicts = 0;
};
LibraryVerdict judge_libraries(const Libraries& source, const Libraries& target,
                               ConflictPolicy policy);

}  // namespace exodus::redis
