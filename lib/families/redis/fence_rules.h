// The rules of a fence as the state file keeps them: what every user on every node could do before,
// which is what lifts the fence after any crash. Text only, no connection.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "families/redis/acl.h"

namespace exodus::redis {

struct NodeRules {
    std::string host;
    uint16_t port = 0;
    bool primary = false;
    std::vector<AclUser> users;
};

struct FenceRules {
    std::string self;  ///< exodus' own user, which is not fenced
    std::vector<NodeRules> nodes;

    [[nodiscard]] std::string text() const;
    /// Error `data` when it is not what text() made.
    static Result<FenceRules> parse(const std::string& text);
};

}  // namespace exodus::redis
