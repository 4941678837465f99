// Which keys a migration moves: include and exclude globs as servers match them (KEYS), and names
// of exodus' own are never in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/settings.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

/// redis/src/util.c stringmatchlen: * ? [a-z] [^a] and backslash. Bounded: a pattern is the
/// operator's, a name is not.
bool glob_match(std::string_view pattern, std::string_view name);

class Scope {
  public:
    explicit Scope(const ScopeSettings& settings)
        : include_(settings.include), exclude_(settings.exclude) {}
    [[nodiscard]] bool everything() const { return include_.empty() && exclude_.empty(); }
    [[nodiscard]] bool contains(std::string_view name) const;

  private:
    std::vector<std::string> include_;
    std::vector<std::string> exclude_;
};

}  // namespace exodus::redis
