// Checks about reaching the servers, rights, the fence and the change stream.

#include "base/limits.h"
#include "base/values.h"
#include "core/consent.h"
#include "families/redis/acl.h"
#include "families/redis/checks.h"
#include "families/redis/fence.h"
#include "families/redis/server_set.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

Findings reach(const Check& check, Endpoints& ends, Side side) {
    const std::string subject(to_string(side));
    auto client = ends.client(side);
    if (!client) return {failed(check, subject, client.error())};
    auto version = (*client)->server_version();
    if (!version) return {failed(check, subject, version.error())};
    const int64_t began = steady_us();
    auto pong = (*client)->ask({"PING"});
    if (!pong) return {failed(check, subject, pong.error())};
    const std::string text = ends.settings().endpoint(side).address() + ", " + version->text() +
                             ", round trip " + std::to_string(steady_us() - began) + " us" +
                             (ends.settings().endpoint(side).tls.enabled ? ", TLS" : "");
    // Exact expiries are read by PEXPIRETIME, of the target too: it is the origin of the way back.
    if (!version->at_least(7, 0)) {
        return {finding(check, Severity::fail, subject,
                        text + ": not supported: older than Redis 7.0",
                        "upgrade it first: Redis 7.0 and Valkey 7.2 are the oldest that exodus "
                        "moves from or to")};
    }
    return {finding(check, Severity::pass, subject, text)};
}

/// What a migration sends, as ACL DRYRUN takes it; the same for both sides, because each is source
/// of one direction.
const std::vector<std::vector<std::string_view>>& needed_commands() {
    static const std::vector<std::vector<std::string_view>> commands = {
        {"PSYNC", "?", "-1"},
        {"REPLCONF", "ack", "0"},
        {"INFO", "replication"},
        {"SCAN", "0"},
        {"TYPE", "k"},
        {"DUMP", "k"},
        {"PTTL", "k"},
        {"PEXPIRETIME", "k"},
        {"EXISTS", "k"},
        {"MEMORY", "USAGE", "k"},
        {"OBJECT", "ENCODING", "k"},
        {"RESTORE", "k", "0", "x"},
        {"SET", "k", "v"},
        {"GET", "k"},
        {"DEL", "k"},
        {"HGETALL", "k"},
        {"SMEMBERS", "k"},
        {"LRANGE", "k", "0", "1"},
        {"ZRANGE", "k", "0", "1"},
        {"XRANGE", "k", "-", "+"},
        {"XINFO", "STREAM", "k"},
        {"XPENDING", "k", "g"},
        {"MULTI"},
        {"WATCH", "k"},
        {"PUBLISH", "exodus:x", "m"},
        {"SWAPDB", "0", "1"},
        {"FLUSHDB"},
        {"FUNCTION", "DUMP"},
        {"FUNCTION", "LIST"},
        {"FUNCTION", "LOAD", "x"},
        {"FUNCTION", "DELETE", "x"},
        {"COMMAND", "INFO", "get"},
        {"CONFIG", "GET", "databases"},
        {"CONFIG", "REWRITE"},
        {"CLIENT", "LIST"},
        {"CLIENT", "UNBLOCK", "1"},
        {"CLIENT", "PAUSE", "1"},
        {"ACL", "LIST"},
        {"ACL", "SETUSER", "u"},
        {"ACL", "DRYRUN", "u", "get"},
        {"ACL", "CAT"},
        {"ACL", "SAVE"},
        {"TIME"},
        {"SELECT", "0"},
    };
    return commands;
}

Finding rights_of(const Check& check, Endpoints& ends, Side side) {
    const std::string subject(to_string(side));
    auto client = ends.client(side);
    if (!client) return failed(check, subject, client.error());
    auto version = (*client)->server_version();
    if (!version) return failed(check, subject, version.error());
    auto self = (*client)->ask({"ACL", "WHOAMI"});
    const std::string name = self ? std::string(self->text()) : "default";
    const std::string hint = "ACL SETUSER " + (name == "default" ? "exodus on >PASSWORD" : name) +
                             " " + own_user_rules();
    if (!self)
        return finding(check, Severity::fail, subject,
                       "who exodus is cannot be asked: " + self.error().message, hint);
    if (!version->at_least(7, 0)) {
        return finding(
            check, Severity::info, subject,
            "user " + name +
                ": rights cannot be tried before 7.0; a refusal will be reported when it happens",
            hint);
    }
    std::string missing;
    for (const auto& needed : needed_commands()) {
        std::vector<std::string_view> command{"ACL", "DRYRUN", name};
        command.insert(command.end(), needed.begin(), needed.end());
        auto reply = (*client)->command(Client::ArgSpan(command));
        if (!reply) return failed(check, subject, reply.error());
        if (error_word(*reply) == "NOPERM") {
            return finding(
                check, Severity::fail, subject,
                "user " + name + " may not use ACL DRYRUN: " + std::string(reply->text()), hint);
        }
        if (reply->is_ok()) continue;
        missing += missing.empty() ? "" : ", ";
        missing += needed[0];
        if (needed[0] == "ACL" || needed[0] == "CLIENT" || needed[0] == "CONFIG" ||
            needed[0] == "FUNCTION") {
            missing.append(" ").append(needed[1]);
        }
    }
    if (missing.empty()) {
        return finding(check, Severity::pass, subject,
                       "user " + name + " may run all " + std::to_string(needed_commands().size()) +
                           " commands that a migration needs");
    }
    return finding(check, Severity::fail, subject,
                   "user " + name + " lacks the right to: " + missing, hint);
}

void fence_of(const Check& check, Endpoints& ends, Side side, Findings& out) {
    const std::string subject(to_string(side));
    const auto it = ends.settings().family_options.find("fence.command");
    if (it != ends.settings().family_options.end()) {
        out.push_back(finding(check, Severity::info, subject,
                              "fenced by the operator's command: " + it->second));
        return;
    }
    auto nodes = connect_group(ends.dialer(), ends.settings().endpoint(side),
                               Deadline::in(milliseconds(limits::kRedisCommand_ms)));
    if (!nodes) {
        out.push_back(failed(check, subject, nodes.error()));
        return;
    }
    if (!nodes->front().version.at_least(6, 0)) {
        out.push_back(
            finding(check, Severity::fail, subject,
                    nodes->front().version.text() + " has no ACL: exodus cannot stop its writers",
                    "set redis.fence.command"));
        return;
    }
    for (auto& node : *nodes) {
        const std::string where = node.endpoint.address();
        auto self = node.client->ask({"ACL", "WHOAMI"});
        auto clients = self ? node.client->ask({"CLIENT", "LIST"})
                            : Result<Reply>(tl::unexpected<Error>(self.error()));
        auto users = clients ? node.client->ask({"ACL", "LIST"})
                             : Result<Reply>(tl::unexpected<Error>(clients.error()));
        auto writes = users ? acl_category(*node.client, "write")
                            : Result<std::set<std::string>>(tl::unexpected<Error>(users.error()));
        if (!writes) {
            out.push_back(failed(check, subject, writes.error()));
            return;
        }
        if (auto own = check_own_user(self->text(), clients->text(), *writes, to_string(side));
            !own) {
            out.push_back(failed(check, subject, own.error()));
            return;
        }
        const auto aclfile = node.client->config_get("aclfile");
        const auto server = node.client->info("server");
        const bool kept = (aclfile && *aclfile && !(*aclfile)->empty()) ||
                          (server && !server->get("config_file").empty());
        out.push_back(finding(
            check, kept ? Severity::pass : Severity::warn, subject,
            where + ": " + std::to_string(users->size() - 1) + " users beside " +
                std::string(self->text()) +
                (kept ? ", rules survive a restart"
                      : ": neither ACL file nor configuration file, a restart lifts the fence"),
            kept ? "" : "start the server with a configuration file or aclfile"));
    }
}

}  // namespace

Findings check_reach_source(const Check& check, Endpoints& ends) {
    return reach(check, ends, Side::source);
}
Findings check_reach_target(const Check& check, Endpoints& ends) {
    return reach(check, ends, Side::target);
}

namespace {

/// What a side answers to HELLO 3, on a connection of its own: afterwards that speaks RESP3. Empty
/// when it takes it.
Result<std::string> refused_resp3(Endpoints& ends, Side side) {
    auto client = Client::connect(ends.dialer(), ends.settings().endpoint(side));
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    (*client)->append({"HELLO", "3"});
    EXODUS_TRY((*client)->flush());
    auto line = (*client)->read_line(Deadline::in(milliseconds(limits::kRedisCommand_ms)));
    if (!line) return line;
    return line->starts_with('%') ? std::string() : *line;
}

}  // namespace

Findings check_resp3(const Check& check, Endpoints& ends) {
    std::string refused[2];
    for (const Side side : {Side::source, Side::target}) {
        auto answer = refused_resp3(ends, side);
        if (!answer) return {failed(check, std::string(to_string(side)), answer.error())};
        refused[side == Side::source ? 0 : 1] = std::move(*answer);
    }
    const std::string& source = refused[0];
    const std::string& target = refused[1];
    const std::string hint =
        "let it have HELLO (rename-command), and connect to the server itself when a proxy between "
        "speaks RESP2 only";
    if (source.empty() && target.empty())
        return {finding(check, Severity::pass, "both", "both sides take HELLO 3")};
    if (source.empty()) {
        return {finding(check, Severity::fail, "target",
                        "HELLO 3 is refused (" + target +
                            "): clients that speak RESP3 with the source could not go on after "
                            "the switch",
                        hint)};
    }
    if (target.empty()) {
        return {finding(check, Severity::warn, "source",
                        "HELLO 3 is refused (" + source +
                            "), but the target takes it: clients that begin to speak RESP3 there "
                            "could not go back",
                        hint)};
    }
    return {finding(
        check, Severity::info, "both",
        "neither side takes HELLO 3: clients speak RESP2, before and after (" + target + ")")};
}

Findings check_role(const Check& check, Endpoints& ends) {
    Findings out;
    for (const Side side : {Side::source, Side::target}) {
        const std::string subject(to_string(side));
        const auto info = info_of(check, ends, side, "replication", out);
        const auto cluster = info ? info_of(check, ends, side, "cluster", out) : std::nullopt;
        if (!info || !cluster) continue;
        if (info->get("role") != "master") {
            out.push_back(finding(
                check, Severity::fail, subject,
                "role is replica, of " + info->get("master_host") + ":" + info->get("master_port"),
                "name the primary in the configuration"));
        } else if (cluster->integer("cluster_enabled") != 0) {
            out.push_back(finding(check, Severity::fail, subject, "a node of a cluster",
                                  "only single primaries can be moved"));
        } else {
            out.push_back(
                finding(check, Severity::pass, subject,
                        "role is primary, " + info->get("connected_slaves") + " replicas"));
        }
    }
    return out;
}

Findings check_rights(const Check& check, Endpoints& ends) {
    return {rights_of(check, ends, Side::source), rights_of(check, ends, Side::target)};
}

Findings check_fence(const Check& check, Endpoints& ends) {
    Findings out;
    fence_of(check, ends, Side::source, out);
    fence_of(check, ends, Side::target, out);
    return out;
}

namespace {

/// redis.md 4.2 step 2c: what it costs, so that it can be accepted or avoided.
Finding full_sync(const Check& check, Endpoints& ends) {
    std::string size = "unknown size";
    if (auto client = ends.client(Side::source)) {
        if (auto memory = (*client)->info("memory")) {
            size = format_bytes(static_cast<uint64_t>(memory->integer("used_memory"))) + " of data";
            if (const auto total = memory->integer("total_system_memory"); total > 0)
                size += ", " + format_bytes(static_cast<uint64_t>(total)) + " of memory there";
        }
    }
    const auto buffer = config_of(ends, Side::source, "client-output-buffer-limit");
    const auto accepted = ends.context().journal.load_position("forward", kFullSyncConsent);
    const bool agreed = accepted && accepted->has_value();
    return finding(
        check, agreed ? Severity::pass : Severity::fail, "source",
        "the backlog is not active yet (no replica was ever attached), and to make it this source "
        "forks and writes out everything once: " +
            size + (buffer ? ", client-output-buffer-limit " + *buffer : "") +
            (agreed ? "; accepted" : ""),
        agreed
            ? ""
            : "CONFIG SET repl-diskless-sync yes and repl-diskless-sync-delay 5: then nothing is "
              "forked; or accept it: exodus pretest --accept-full-sync");
}

}  // namespace

Findings check_psync(const Check& check, Endpoints& ends) {
    Findings out;
    const auto info = info_of(check, ends, Side::source, "replication", out);
    if (!info) return out;
    auto probe = Client::connect(ends.dialer(), ends.settings().source);
    if (!probe) return {failed(check, "source", probe.error())};
    const std::string hint =
        "ACL SETUSER exodus +psync +replconf   (or give the user " + own_user_rules() + ")";
    // Whether the right is there is asked first: with an inactive backlog PSYNC itself cannot be
    // tried without side effects.
    if (auto self = (*probe)->ask({"ACL", "WHOAMI"})) {
        auto dry = (*probe)->command({"ACL", "DRYRUN", self->text(), "PSYNC", "?", "-1"});
        if (dry && !dry->is_error() && !dry->is_ok()) {
            return {finding(check, Severity::fail, "source",
                            "exodus may not read the change stream: " + std::string(dry->text()),
                            hint)};
        }
    }
    if (info->integer("repl_backlog_active") == 0) {
        const auto diskless = config_of(ends, Side::source, "repl-diskless-sync");
        const auto delay = config_of(ends, Side::source, "repl-diskless-sync-delay");
        const bool quiet = diskless == "yes" && delay && to_number(*delay).value_or(0) >= 1;
        auto filter = (*probe)->command({"REPLCONF", "rdb-filter-only", ""});
        if (!filter) return {failed(check, "source", filter.error())};
        if (!quiet && filter->is_error()) return {full_sync(check, ends)};
        return {finding(
            check, Severity::pass, "source",
            std::string(
                "the backlog is not active yet (no replica was ever attached); it will be made ") +
                (quiet ? "without a fork" : "with one fork and an empty RDB"))};
    }
    auto capa = (*probe)->command({"REPLCONF", "capa", "eof", "capa", "psync2"});
    if (!capa) return {failed(check, "source", capa.error())};
    if (capa->is_error())
        return {finding(check, Severity::fail, "source", "REPLCONF: " + std::string(capa->text()),
                        hint)};
    const auto from = StreamPosition::of(*info);
    (*probe)->append({"PSYNC", from.replid, std::to_string(from.offset + 1)});
    auto sent = (*probe)->flush();
    if (!sent) return {failed(check, "source", sent.error())};
    const auto deadline = Deadline::in(milliseconds(limits::kRedisCommand_ms));
    std::string line;
    while (line.empty()) {
        auto read = (*probe)->read_line(deadline);
        if (!read) return {failed(check, "source", read.error())};
        line = std::move(*read);
    }
    (*probe)->shutdown();
    if (line.starts_with("+CONTINUE")) {
        return {
            finding(check, Severity::pass, "source",
                    "the change stream goes on from offset " + std::to_string(from.offset + 1))};
    }
    if (line.starts_with("+FULLRESYNC")) {
        return {
            finding(check, Severity::fail, "source",
                    "the change stream does not go on from the current offset (FULLRESYNC offered)",
                    "a proxy or a service between exodus and the server does not pass PSYNC on; "
                    "connect to the server itself")};
    }
    return {finding(check, Severity::fail, "source", "PSYNC refused: " + line, hint)};
}

Findings check_clock(const Check& check, Endpoints& ends) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < 5; ++i) {
        int64_t middle[2] = {0, 0};
        int64_t server[2] = {0, 0};
        for (const Side side : {Side::source, Side::target}) {
            const std::size_t at = side == Side::source ? 0 : 1;
            auto client = ends.client(side);
            if (!client) return {failed(check, std::string(to_string(side)), client.error())};
            const int64_t before = wall_us();
            auto time = (*client)->ask({"TIME"});
            if (!time) return {failed(check, std::string(to_string(side)), time.error())};
            middle[at] = (before + wall_us()) / 2;
            server[at] = (*time)[0].integer() * 1'000'000 + (*time)[1].integer();
        }
        const int64_t skew = (server[1] - middle[1]) - (server[0] - middle[0]);
        if (std::llabs(skew) < std::llabs(best)) best = skew;
    }
    const int64_t ms = std::llabs(best) / 1000;
    const auto severity = ms > limits::kClockSkewFail_ms   ? Severity::fail
                          : ms > limits::kClockSkewWarn_ms ? Severity::warn
                                                           : Severity::pass;
    return {finding(check, severity, "both",
                    "the target's clock is " + std::to_string(best) + " us ahead of the source's",
                    severity == Severity::pass
                        ? ""
                        : "let both hosts follow the same time server (chronyc tracking)")};
}

}  // namespace exodus::redis
