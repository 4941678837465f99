// The fence of one side (redis.md 9, C3): every application user loses its write commands by ACL on
// the primary and every replica. It does not expire, open connections feel it at once, and lifting
// restores the exact rules.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "core/family.h"
#include "families/redis/client.h"

namespace exodus::redis {

std::unique_ptr<Fence> make_redis_fence(const FamilyContext& context, Side side);

/// Why exodus cannot fence with the user it is logged in as: it is `default`, or another client
/// that writes uses it (people and monitors who only look do no harm). Ok when it can.
/// `client_list` is the reply of CLIENT LIST, `writes` the members of ACL CAT write. The hint has
/// the exact commands to create a user for exodus alone.
Status check_own_user(std::string_view self, std::string_view client_list,
                      const std::set<std::string>& writes, std::string_view where);
/// ACL CAT: the members of a category.
Result<std::set<std::string>> acl_category(Client& client, std::string_view name);

}  // namespace exodus::redis
