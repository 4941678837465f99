// The nodes of one side: the primary and its replicas, each with a connection of exodus' own user.
// For the fence, which must reach every node that may become primary, and for the inspector.
#pragma once

#include <memory>
#include <vector>

#include "core/dialer.h"
#include "families/redis/client.h"

namespace exodus::redis {

struct Node {
    Endpoint endpoint;
    bool primary = false;
    ServerVersion version;
    std::unique_ptr<Client> client;
};

/// Replicas that can be dialled, from INFO replication; exodus' own link announces port 0 and is
/// left out.
std::vector<Endpoint> replicas_of(const Info& replication, const Endpoint& primary);

/// The replicas of others and how far the slowest of them is behind, from INFO replication.
struct Replicas {
    uint64_t count = 0;
    uint64_t lag_bytes = 0;
};
Replicas replicas_behind(const Info& replication);

/// The primary first. Errors: unreachable with the node's address; safety when the endpoint is
/// itself a replica.
Result<std::vector<Node>> connect_group(Dialer& dialer, const Endpoint& endpoint,
                                        Deadline deadline);

}  // namespace exodus::redis
