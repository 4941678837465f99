// A migration whose target holds keys of its own before the copy: on both sides equal, on both
// sides different, only on the target; in two databases, with expiries, under load. Shared by the
// tests of this folder.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/scenario.h"

namespace exodus::test {

/// Value and expiry of keys as a person reads them, by "db key".
using Values = std::map<std::string, std::string>;

class Planted {
  public:
    static constexpr int kEach = 12;  ///< keys of a kind and type in each of the two databases

    /// The configuration's own lines: {"migrate", "conflict = \"skip\""}.
    using Lines = std::vector<std::pair<std::string, std::string>>;
    explicit Planted(Lines config);

    /// Keys "equal:*", "differ:*" and "target:*".
    void plant();
    /// migrate --until ready with the gates of compare and test skipped; the exit code.
    int migrate();
    /// The same, but the interlay and the command are killed (-9) amid the copy and started again.
    void migrate_through_a_kill();
    /// Values of all planted keys with this prefix.
    Values values(RedisServer& server, const std::string& prefix);
    /// A command of an application, through the interlay.
    std::string write(const std::vector<std::string>& words);
    /// A command on database 0, as exodus' own user: before the copy, or one that only reads.
    std::string on_source(const std::vector<std::string>& words);
    std::string on_target(const std::vector<std::string>& words);
    /// Waits until everything written to the source by now has been applied.
    void wait_applied();
    /// The result object of `exodus WORDS --json`, whatever its exit code.
    nlohmann::json result(std::vector<std::string> words);
    /// Rows of `exodus divergences changes` with this action, by "db key"; the reason.
    Values changes(const std::string& action);
    /// missing + extra + different + unresolved and kept of a verify of all data now.
    std::pair<uint64_t, uint64_t> verify();

    Rig rig;
    Ledger ledger;

  private:
    std::vector<std::string> migrate_words() const;
    int marks_ = 0;
};

}  // namespace exodus::test
