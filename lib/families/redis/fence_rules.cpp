#include "families/redis/fence_rules.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/json_text.h"

namespace exodus::redis {

using nlohmann::json;

std::string FenceRules::text() const {
    json list = json::array();
    for (const auto& node : nodes) {
        json users = json::array();
        for (const auto& user : node.users) {
            users.push_back({{"name", user.name},
                             {"on", user.enabled},
                             {"rules", user.rules},
                             {"selectors", user.selectors}});
        }
        list.push_back({{"host", node.host},
                        {"port", node.port},
                        {"primary", node.primary},
                        {"users", std::move(users)}});
    }
    return json_text({{"version", 1}, {"self", self}, {"nodes", std::move(list)}});
}

Result<FenceRules> FenceRules::parse(const std::string& text) {
    const auto value = json::parse(text, nullptr, false);
    if (value.is_discarded() || !value.is_object() || value.value("version", 0) != 1) {
        return fail(ErrorCode::data, "the stored rules of the fence cannot be read");
    }
    FenceRules prepared;
    try {
        prepared.self = value.at("self").get<std::string>();
        for (const auto& item : value.at("nodes")) {
            NodeRules node;
            node.host = item.at("host").get<std::string>();
            node.port = item.at("port").get<uint16_t>();
            node.primary = item.at("primary").get<bool>();
            for (const auto& entry : item.at("users")) {
                AclUser user;
                user.name = entry.at("name").get<std::string>();
                user.enabled = entry.at("on").get<bool>();
                user.rules = entry.at("rules").get<std::vector<std::string>>();
                user.selectors = entry.at("selectors").get<std::vector<std::vector<std::string>>>();
                node.users.push_back(std::move(user));
            }
            prepared.nodes.push_back(std::move(node));
        }
    } catch (const json::exception& error) {
        return fail(ErrorCode::data,
                    std::string("the stored rules of the fence cannot be read: ") + error.what());
    }
    return prepared;
}

}  // namespace exodus::redis
