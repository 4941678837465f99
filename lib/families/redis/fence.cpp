#include "families/redis/fence.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"
#include "families/redis/acl.h"
#include "families/redis/client.h"
#include "families/redis/fence_command.h"
#include "families/redis/fence_rules.h"
#include "families/redis/server_set.h"

namespace exodus::redis {

namespace {

/// Commands whose parked clients would take data that arrives later; parked readers (XREAD, WAIT)
/// may stay.
bool parks_for_a_write(std::string_view command) {
    return command != "xread" && command != "wait" && command != "waitaof" &&
           command != "subscribe" && command != "psubscribe" && command != "ssubscribe";
}

/// Value of "name=…" in a line of CLIENT LIST.
std::string_view client_field(std::string_view line, std::string_view name) {
    std::size_t at = 0;
    while (at < line.size()) {
        const auto end = std::min(line.find(' ', at), line.size());
        const auto word = line.substr(at, end - at);
        if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=') {
            return word.substr(name.size() + 1);
        }
        at = end + 1;
    }
    return {};
}

template <class Each>
void each_line(std::string_view text, Each each) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        if (end != 0) each(text.substr(0, end));
        if (end == std::string_view::npos) return;
        text.remove_prefix(end + 1);
    }
}

/// All users of a node but exodus' own.
Result<std::vector<AclUser>> users_of(Client& client, std::string_view self) {
    auto list = client.ask({"ACL", "LIST"});
    if (!list) return tl::unexpected<Error>(std::move(list).error());
    std::vector<AclUser> users;
    for (std::size_t i = 0; i < list->size(); ++i) {
        auto user = parse_acl_line((*list)[i].text());
        if (!user) return tl::unexpected<Error>(std::move(user).error());
        if (user->name != self) users.push_back(std::move(*user));
    }
    return users;
}

class RedisFence final : public Fence {
  public:
    RedisFence(const FamilyContext& context, Side side)
        : settings_(context.settings),
          dialer_(context.dialer),
          journal_(context.journal),
          side_(side) {
        const auto it = settings_.family_options.find("fence.command");
        if (it != settings_.family_options.end()) command_ = it->second;
    }

    Result<std::string> prepare(Deadline deadline) override {
        FenceRules rules;
        if (!command_.empty()) return rules.text();
        EXODUS_TRY(connect_all(deadline));
        for (auto& node : nodes_) {
            auto self = own_user(*node.client);
            if (!self) return tl::unexpected<Error>(std::move(self).error());
            if (node.primary) rules.self = *self;
            auto users = users_of(*node.client, *self);
            if (!users) return fail(std::move(users).error(), node.endpoint.address());
            // Asked here, so that the proof need not.
            (void)category_of(node)("write");
            for (const auto& user : *users) (void)writable_commands(user, category_of(node));
            rules.nodes.push_back(
                {node.endpoint.host, node.endpoint.port, node.primary, std::move(*users)});
        }
        return prepared_ = rules.text();
    }

    Status raise(const std::string& text, Deadline deadline) override {
        auto prepared = FenceRules::parse(text);
        if (!prepared) return tl::unexpected<Error>(std::move(prepared).error());
        if (!command_.empty()) return run_fence_command(command_, "raise", deadline);
        EXODUS_TRY(connect_all(deadline));
        // Nothing is changed anywhere before all nodes are known to be as prepared.
        const bool first = text == prepared_;
        for (auto& node : nodes_) EXODUS_TRY(as_prepared(*prepared, node, first));
        prepared_.clear();
        for (auto& node : nodes_) {
            // A second raise within the pause of the first would mistake postponed clients for
            // parked ones.
            (void)node.client->command({"CLIENT", "UNPAUSE"});
            EXODUS_TRY(fence_users(*prepared, node));
            EXODUS_TRY(unblock_parked(*prepared, node));
        }
        for (auto& node : nodes_) {
            if (node.primary) pause(*node.client);
            keep_over_restart(node);
        }
        return {};
    }

    Status prove(const std::string& text, Deadline deadline) override {
        if (!command_.empty()) return run_fence_command(command_, "prove", deadline);
        auto prepared = FenceRules::parse(text);
        if (!prepared) return tl::unexpected<Error>(std::move(prepared).error());
        EXODUS_TRY(connect_all(deadline));
        for (auto& node : nodes_) EXODUS_TRY(prove_node(*prepared, node));
        for (auto& node : nodes_) {
            // From here the rules alone hold. A pause that went on would also stop the reverse
            // lanes' first writes.
            if (node.primary) (void)node.client->command({"CLIENT", "UNPAUSE"});
        }
        return {};
    }

    Status lift(const std::string& text, Deadline deadline) override {
        if (!command_.empty()) return run_fence_command(command_, "lift", deadline);
        auto prepared = FenceRules::parse(text);
        if (!prepared) return tl::unexpected<Error>(std::move(prepared).error());
        EXODUS_TRY(connect_all(deadline));
        std::set<std::pair<std::string, uint16_t>> done;
        for (auto& node : nodes_) {
            EXODUS_TRY(restore_node(*prepared, node));
            done.emplace(node.endpoint.host, node.endpoint.port);
        }
        for (const auto& rules : prepared->nodes) {
            if (done.contains({rules.host, rules.port})) continue;
            // It left the replication group while the fence was up; it keeps refusing writes if it
            // comes back.
            EXODUS_TRY(journal_.add_event(
                "warn", "redis.fence.node-gone",
                rules.host + ":" + std::to_string(rules.port) +
                    " is no longer attached; its users still lack write commands"));
        }
        return {};
    }

    Status keep(Deadline deadline) override {
        if (!command_.empty()) return {};
        EXODUS_TRY(connect_all(deadline));
        for (auto& node : nodes_) keep_over_restart(node);
        return {};
    }

  private:
    /// The nodes as they are now, on connections that stand already where that is so.
    Status connect_all(Deadline deadline) {
        if (!same_nodes(deadline)) {
            nodes_.clear();
            auto nodes = connect_group(dialer_, settings_.endpoint(side_), deadline);
            if (!nodes) return tl::unexpected<Error>(std::move(nodes).error());
            nodes_ = std::move(*nodes);
        }
        if (nodes_.front().version.at_least(6, 0)) return {};
        return fail(ErrorCode::config,
                    std::string(to_string(side_)) + " is " + nodes_.front().version.text() +
                        ": no ACL before 6.0, so exodus cannot fence it",
                    "set redis.fence.command to a command that stops its writers");
    }

    /// All connections are usable, and the primary still has the same replicas.
    bool same_nodes(Deadline deadline) {
        if (nodes_.empty()) return false;
        for (auto& node : nodes_) {
            if (node.client->broken() || node.client->pending_replies() != 0) return false;
            node.client->set_command_timeout(deadline.left());
        }
        const auto replication = nodes_.front().client->info("replication");
        if (!replication || replication->get("role") != "master") return false;
        const auto replicas = replicas_of(*replication, nodes_.front().endpoint);
        if (replicas.size() + 1 != nodes_.size()) return false;
        for (std::size_t i = 0; i < replicas.size(); ++i) {
            if (replicas[i].address() != nodes_[i + 1].endpoint.address()) return false;
        }
        return true;
    }

    AclCategory category_of(Node& node) {
        return [this, &node](const std::string& name) -> Result<std::set<std::string>> {
            const std::string key = node.endpoint.address() + " " + name;
            if (const auto it = categories_.find(key); it != categories_.end()) return it->second;
            auto members = acl_category(*node.client, name);
            if (!members) return members;
            return categories_.emplace(key, std::move(*members)).first->second;
        };
    }

    Result<std::string> own_user(Client& client) {
        auto self = client.ask({"ACL", "WHOAMI"});
        if (!self) return tl::unexpected<Error>(std::move(self).error());
        auto clients = client.ask({"CLIENT", "LIST"});
        if (!clients) return tl::unexpected<Error>(std::move(clients).error());
        auto writes = acl_category(client, "write");
        if (!writes) return tl::unexpected<Error>(std::move(writes).error());
        EXODUS_TRY(check_own_user(self->text(), clients->text(), *writes, to_string(side_)));
        return std::string(self->text());
    }

    static const NodeRules* rules_of(const FenceRules& prepared, const Node& node) {
        for (const auto& rules : prepared.nodes) {
            if (rules.host == node.endpoint.host && rules.port == node.endpoint.port) return &rules;
        }
        return nullptr;
    }

    /// Every node has the users that were prepared; `first`: with the very rules, since none was
    /// fenced yet. Whoever changed them meanwhile would find that undone by lift().
    Status as_prepared(const FenceRules& prepared, Node& node, bool first) {
        const auto* rules = rules_of(prepared, node);
        if (rules == nullptr) {
            return fail(ErrorCode::safety,
                        node.endpoint.address() + " joined after the fence was prepared",
                        "start the switch again");
        }
        if (!first) {
            auto self = own_user(*node.client);
            if (!self) return tl::unexpected<Error>(std::move(self).error());
        }
        auto users = users_of(*node.client, prepared.self);
        if (!users) return tl::unexpected<Error>(std::move(users).error());
        for (const auto& user : *users) {
            const auto known = std::find_if(rules->users.begin(), rules->users.end(),
                                            [&](const AclUser& u) { return u.name == user.name; });
            const bool same =
                known != rules->users.end() &&
                (!first || (known->rules == user.rules && known->selectors == user.selectors));
            if (same) continue;
            return fail(ErrorCode::safety,
                        "user " + user.name + " on " + node.endpoint.address() + " was " +
                            (known == rules->users.end() ? "created" : "changed") +
                            " after the fence was prepared",
                        "start the switch again");
        }
        return {};
    }

    Status set_users(Node& node, const std::vector<std::vector<std::string>>& commands) {
        for (const auto& command : commands) node.client->append(command);
        auto replies = node.client->read_all(commands.size());
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        for (std::size_t i = 0; i < replies->size(); ++i) {
            if ((*replies)[i].is_error()) {
                return tl::unexpected<Error>(
                    error_of((*replies)[i],
                             "ACL SETUSER " + commands[i][2] + " on " + node.endpoint.address()));
            }
        }
        return {};
    }

    Status fence_users(const FenceRules& prepared, Node& node) {
        std::vector<std::vector<std::string>> commands;
        for (const auto& user : rules_of(prepared, node)->users) {
            std::vector<std::string> command{"ACL", "SETUSER", user.name};
            for (auto& argument : fenced_arguments(user)) command.push_back(std::move(argument));
            commands.push_back(std::move(command));
        }
        return set_users(node, commands);
    }

    /// A client that waits in BLPOP was allowed to start; it would take the first element that the
    /// reverse lane pushes.
    Status unblock_parked(const FenceRules& prepared, Node& node) {
        auto list = node.client->ask({"CLIENT", "LIST"});
        if (!list) return tl::unexpected<Error>(std::move(list).error());
        std::vector<std::string> ids;
        each_line(list->text(), [&](std::string_view line) {
            if (client_field(line, "flags").find('b') == std::string_view::npos) return;
            if (client_field(line, "user") == prepared.self) return;
            if (!parks_for_a_write(client_field(line, "cmd"))) return;
            ids.emplace_back(client_field(line, "id"));
        });
        for (const auto& id : ids) node.client->append({"CLIENT", "UNBLOCK", id, "ERROR"});
        auto replies = node.client->read_all(ids.size());
        if (ids.empty()) return {};
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        for (const auto& reply : *replies) {
            if (reply.is_error()) {
                return tl::unexpected<Error>(error_of(reply, "CLIENT UNBLOCK"));
            }
        }
        return {};
    }

    /// Expiry and eviction stand still too while the proof is made. Not the fence: it expires, and
    /// it may be refused.
    void pause(Client& client) {
        const auto span =
            std::min<int64_t>(2 * settings_.cutover.hold_timeout_ms, limits::kFencePause_ms_max);
        (void)client.command({"CLIENT", "PAUSE", std::to_string(span), "WRITE"});
    }

    void keep_over_restart(Node& node) {
        auto saved = node.client->command({"ACL", "SAVE"});
        if (saved && !saved->is_error()) return;
        auto rewritten = node.client->command({"CONFIG", "REWRITE"});
        if (rewritten && !rewritten->is_error()) return;
        (void)journal_.add_event(
            "warn", "redis.fence.volatile",
            node.endpoint.address() +
                " has neither an ACL file nor a configuration file that can be "
                "rewritten: a restart forgets its ACL rules");
    }

    Status prove_node(const FenceRules& prepared, Node& node) {
        auto users = users_of(*node.client, prepared.self);
        if (!users) return tl::unexpected<Error>(std::move(users).error());
        for (const auto& user : *users) {
            auto writable = writable_commands(user, category_of(node));
            if (!writable) return tl::unexpected<Error>(std::move(writable).error());
            if (!writable->empty()) {
                return fail(ErrorCode::safety,
                            "user " + user.name + " can still write to " + node.endpoint.address() +
                                " (" + *writable->begin() + ", " +
                                std::to_string(writable->size()) + " commands)",
                            "somebody changed its rules during the switch; try again");
            }
        }
        return node.version.at_least(7, 0) ? dry_run(*users, node) : Status{};
    }

    /// The server's own word: a write as this user, on a key its patterns cover, is refused.
    Status dry_run(const std::vector<AclUser>& users, Node& node) {
        for (const auto& user : users) {
            node.client->append(
                {"ACL", "DRYRUN", user.name, "SETRANGE", sample_key(user), "0", ""});
        }
        if (users.empty()) return {};
        auto replies = node.client->read_all(users.size());
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        for (std::size_t i = 0; i < users.size(); ++i) {
            const auto& reply = (*replies)[i];
            if (reply.is_error()) {
                return tl::unexpected<Error>(error_of(reply, "ACL DRYRUN " + users[i].name));
            }
            if (reply.is_ok()) {
                return fail(ErrorCode::safety, "user " + users[i].name + " can still write to " +
                                                   node.endpoint.address() + " (SETRANGE)");
            }
        }
        return {};
    }

    Status restore_node(const FenceRules& prepared, Node& node) {
        const auto* rules = rules_of(prepared, node);
        if (rules == nullptr) return {};  // joined later: it never was fenced
        auto present = users_of(*node.client, prepared.self);
        if (!present) return tl::unexpected<Error>(std::move(present).error());
        std::vector<std::vector<std::string>> commands;
        std::vector<const AclUser*> restored;
        for (const auto& user : rules->users) {
            const auto same_name = [&](const AclUser& u) { return u.name == user.name; };
            // A user that was deleted meanwhile stays deleted: SETUSER would create it.
            if (std::none_of(present->begin(), present->end(), same_name)) continue;
            std::vector<std::string> command{"ACL", "SETUSER", user.name};
            for (auto& argument : restoring_arguments(user)) command.push_back(std::move(argument));
            commands.push_back(std::move(command));
            restored.push_back(&user);
        }
        if (!commands.empty()) EXODUS_TRY(set_users(node, commands));
        (void)node.client->command({"CLIENT", "UNPAUSE"});
        auto now = users_of(*node.client, prepared.self);
        if (!now) return tl::unexpected<Error>(std::move(now).error());
        for (const auto* user : restored) {
            for (const auto& after : *now) {
                if (after.name != user->name) continue;
                if (after.rules == user->rules && after.selectors == user->selectors) continue;
                return fail(ErrorCode::safety,
                            "the rules of user " + user->name + " on " + node.endpoint.address() +
                                " are not what they were before the fence",
                            "compare ACL LIST with the rules stored for this switch");
            }
        }
        return {};
    }

    const Settings& settings_;
    Dialer& dialer_;
    Journal& journal_;
    Side side_;
    std::string command_;
    std::vector<Node> nodes_;  ///< kept between the calls: clients wait for raise() and prove()
    std::string prepared_;     ///< what prepare() returned, until it is raised
    std::map<std::string, std::set<std::string>> categories_;  ///< by node and name
};

}  // namespace

Status check_own_user(std::string_view self, std::string_view client_list,
                      const std::set<std::string>& writes, std::string_view where) {
    std::string problem;
    if (self == "default") {
        problem = "exodus is logged in to the " + std::string(where) +
                  " as user default, which applications use too";
    } else {
        each_line(client_list, [&](std::string_view line) {
            if (!problem.empty() || client_field(line, "user") != self) return;
            if (client_field(line, "name").starts_with("exodus")) return;
            const std::string command(client_field(line, "cmd"));
            const bool may_write = command.starts_with("eval") || command.starts_with("fcall") ||
                                   command == "multi" || command == "exec";
            if (!may_write && !writes.contains(command)) return;
            problem = "user " + std::string(self) + " of exodus on the " + std::string(where) +
                      " is also used by " + std::string(client_field(line, "addr")) +
                      " (last command " + command + ")";
        });
    }
    if (problem.empty()) return {};
    return fail(ErrorCode::permission, problem + ": a fence would stop exodus itself",
                "create a user for exodus alone, on the primary and every replica, and put it into "
                "the configuration: ACL SETUSER exodus on >PASSWORD " +
                    own_user_rules());
}

Result<std::set<std::string>> acl_category(Client& client, std::string_view name) {
    auto reply = client.ask({"ACL", "CAT", name});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    std::set<std::string> members;
    for (std::size_t i = 0; i < reply->size(); ++i) members.emplace((*reply)[i].text());
    return members;
}

std::unique_ptr<Fence> make_redis_fence(const FamilyContext& context, Side side) {
    return std::make_unique<RedisFence>(context, side);
}

}  // namespace exodus::redis
