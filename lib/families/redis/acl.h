// ACL rules as text: what ACL LIST prints taken apart, the fenced form of it, the commands that
// restore it, and whether rules let a user write. Pure; the fence and the inspector use it.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace exodus::redis {

/// One user of ACL LIST without its passwords. Rule words as the server prints them ("~app:*",
/// "+@all", "-debug").
struct AclUser {
    std::string name;
    bool enabled = false;
    std::vector<std::string>
        rules;  ///< keys, channels and commands of the root permissions, in order
    std::vector<std::vector<std::string>> selectors;  ///< of each selector, in order
    bool operator==(const AclUser&) const = default;
};

/// A line "user NAME on #hash ~* &* +@all (~x* -@all +get)". Passwords, nopass and payload flags
/// are left out.
Result<AclUser> parse_acl_line(std::string_view line);

/// What a line of ACL LIST says about logging in, as ACL SETUSER takes it: "nopass", "#<SHA-256>".
/// Secret: never printed, logged or stored.
std::vector<std::string> acl_logins(std::string_view line);

/// Arguments of ACL SETUSER that take the write commands from a user and leave everything else:
/// keys, channels, selectors (each loses its writes too), passwords, on/off.
std::vector<std::string> fenced_arguments(const AclUser& user);
/// Arguments of ACL SETUSER that give back exactly these keys, channels, commands and selectors;
/// passwords and on/off untouched.
std::vector<std::string> restoring_arguments(const AclUser& user);

/// Members of an ACL category, as ACL CAT prints them ("set", "xgroup|create").
using AclCategory = std::function<Result<std::set<std::string>>(const std::string& category)>;
/// Write commands that root rules or any selector still allow, whatever keys they cover; empty when
/// fenced.
Result<std::set<std::string>> writable_commands(const AclUser& user, const AclCategory& category);

/// A key that a pattern of the rules covers ("~app:*" → "app:x"), for ACL DRYRUN; "exodus-probe"
/// when there is none.
std::string sample_key(const AclUser& user);

/// The rights that exodus' own user needs, as ACL SETUSER arguments behind the password.
std::string own_user_rules();

}  // namespace exodus::redis
