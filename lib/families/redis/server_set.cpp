#include "families/redis/server_set.h"

#include <algorithm>
#include <charconv>

#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

/// Value of "name=…" in "ip=127.0.0.1,port=6380,state=online,…".
std::string_view item(std::string_view text, std::string_view name) {
    std::size_t at = 0;
    while (at < text.size()) {
        const auto end = std::min(text.find(',', at), text.size());
        const auto word = text.substr(at, end - at);
        if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=') {
            return word.substr(name.size() + 1);
        }
        at = end + 1;
    }
    return {};
}

Result<Node> connect_node(Dialer& dialer, const Endpoint& endpoint, bool primary,
                          Deadline deadline) {
    Node node;
    node.endpoint = endpoint;
    node.primary = primary;
    ConnectOptions options;
    options.timeout = deadline.left();
    options.command_timeout = deadline.left();
    options.database = 0;
    auto client = Client::connect(dialer, endpoint, options);
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    node.client = std::move(*client);
    auto version = node.client->server_version();
    if (!version) return fail(std::move(version).error(), endpoint.address());
    node.version = std::move(*version);
    return node;
}

}  // namespace

std::vector<Endpoint> replicas_of(const Info& replication, const Endpoint& primary) {
    std::vector<Endpoint> replicas;
    const auto count = replication.integer("connected_slaves");
    for (int64_t i = 0; i < count; ++i) {
        const std::string text = replication.get("slave" + std::to_string(i));
        const auto port_text = item(text, "port");
        unsigned port = 0;
        std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
        if (port == 0 || port > 65535) continue;
        Endpoint replica = primary;
        replica.host = item(text, "ip");
        replica.port = static_cast<uint16_t>(port);
        replica.unix_path.clear();
        // The certificate of a replica names the replica; verification goes by its own address.
        replica.tls.server_name.clear();
        replicas.push_back(std::move(replica));
    }
    return replicas;
}

Replicas replicas_behind(const Info& replication) {
    Replicas out;
    const int64_t end = replication.integer("master_repl_offset");
    const auto count = replication.integer("connected_slaves");
    for (int64_t i = 0; i < count; ++i) {
        const std::string text = replication.get("slave" + std::to_string(i));
        if (item(text, "port") == "0") continue;  // exodus' own link
        ++out.count;
        const auto at = to_number(item(text, "offset"));
        if (at && *at < end)
            out.lag_bytes = std::max(out.lag_bytes, static_cast<uint64_t>(end - *at));
    }
    return out;
}

Result<std::vector<Node>> connect_group(Dialer& dialer, const Endpoint& endpoint,
                                        Deadline deadline) {
    std::vector<Node> nodes;
    auto primary = connect_node(dialer, endpoint, true, deadline);
    if (!primary) return tl::unexpected<Error>(std::move(primary).error());
    auto replication = primary->client->info("replication");
    if (!replication) return tl::unexpected<Error>(std::move(replication).error());
    if (replication->get("role") != "master") {
        return fail(ErrorCode::safety,
                    endpoint.address() + " is a replica of " + replication->get("master_host") +
                        ":" + replication->get("master_port"),
                    "name the primary in the configuration");
    }
    nodes.push_back(std::move(*primary));
    for (const auto& replica : replicas_of(*replication, endpoint)) {
        auto node = connect_node(dialer, replica, false, deadline);
        if (!node) return fail(std::move(node).error(), "replica " + replica.address());
        nodes.push_back(std::move(*node));
    }
    return nodes;
}

}  // namespace exodus::redis
