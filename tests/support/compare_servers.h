// Are two servers equal? An answer that owes nothing to exodus' own verifier: every key of every
// database by DEBUG DIGEST-VALUE, type and exact expiry. Keys under "exodus:" are exodus' own
// book-keeping on the side without authority and do not count.
#pragma once

#include <hiredis/hiredis.h>
#include <string>
#include <vector>

namespace exodus::test {

struct ServersCompared {
    uint64_t keys = 0;                     ///< on the left
    std::vector<std::string> differences;  ///< at most 20, "db0 key: …"
    uint64_t count = 0;                    ///< all differences
};

/// Both contexts logged in, servers at rest. Sub-millisecond expiries pass while reading: keys
/// expiring within 2 s are left out.
ServersCompared compare_servers(redisContext* left, redisContext* right, int databases = 16);

}  // namespace exodus::test
