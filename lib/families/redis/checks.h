// The checks of pretest (redis.md 10), one function each, grouped by what they are about. They
// read; only the payload check writes, to the target, under "exodus:", and removes what it wrote.
#pragma once

#include <string>
#include <vector>

#include "base/secret.h"
#include "core/family.h"
#include "core/finding.h"
#include "families/redis/client.h"

namespace exodus::redis {

/// Lazily made connections to both sides; a broken one is made again.
class Endpoints {
  public:
    explicit Endpoints(const FamilyContext& context) : context_(context) {}
    Result<Client*> client(Side side);
    [[nodiscard]] const FamilyContext& context() const { return context_; }
    [[nodiscard]] const Settings& settings() const { return context_.settings; }
    [[nodiscard]] Dialer& dialer() const { return context_.dialer; }

  private:
    FamilyContext context_;
    std::unique_ptr<Client> clients_[2];
};

/// Of the samples that checks write to the target and remove.
inline constexpr std::string_view kSamplePrefix = "exodus:pretest:";

using Findings = std::vector<Finding>;
struct Check {
    const char* id;
    const char* title;
    Findings (*run)(const Check& check, Endpoints& ends);
};

/// All checks in the order in which they make sense to a reader.
const std::vector<Check>& all_checks();

// What the check functions are built from.
Finding finding(const Check& check, Severity severity, std::string subject, std::string text,
                std::string hint = {});
Finding failed(const Check& check, std::string subject, const Error& error);
/// INFO of a side, or a finding in `out` why not.
std::optional<Info> info_of(const Check& check, Endpoints& ends, Side side,
                            std::string_view section, Findings& out);
std::optional<std::string> config_of(Endpoints& ends, Side side, std::string_view name);
/// "a, b, c"
std::string joined(const std::vector<std::string>& words);

// checks_access.cpp
Findings check_reach_source(const Check& check, Endpoints& ends);
Findings check_reach_target(const Check& check, Endpoints& ends);
Findings check_resp3(const Check& check, Endpoints& ends);
Findings check_role(const Check& check, Endpoints& ends);
Findings check_rights(const Check& check, Endpoints& ends);
Findings check_fence(const Check& check, Endpoints& ends);
Findings check_psync(const Check& check, Endpoints& ends);
Findings check_clock(const Check& check, Endpoints& ends);
// checks_replicas.cpp
Findings check_min_replicas(const Check& check, Endpoints& ends);
// checks_room.cpp
Findings check_target_empty(const Check& check, Endpoints& ends);
Findings check_databases(const Check& check, Endpoints& ends);
Findings check_maxmemory(const Check& check, Endpoints& ends);
Findings check_eviction(const Check& check, Endpoints& ends);
Findings check_backlog(const Check& check, Endpoints& ends);
Findings check_spool_room(const Check& check, Endpoints& ends);
Findings check_aof_user(const Check& check, Endpoints& ends);
// checks_payload.cpp
Findings check_payloads(const Check& check, Endpoints& ends);
// checks_data.cpp
Findings check_modules(const Check& check, Endpoints& ends);
Findings check_functions(const Check& check, Endpoints& ends);
Findings check_settings(const Check& check, Endpoints& ends);
// checks_way_back.cpp
Findings check_way_back(const Check& check, Endpoints& ends);
// checks_acl.cpp
Findings check_acl(const Check& check, Endpoints& ends);
/// A line for each user that the target lacks or has otherwise: the ACL SETUSER that makes it as it
/// is on the source, with the hashes of its passwords. Errors: not_allowed (everybody is one user
/// there), permission, unreachable.
Result<Secret> missing_users(Endpoints& ends);

}  // namespace exodus::redis
