// Checks about what counts or watches replicas: exodus' link looks like one.

#include "families/redis/checks.h"
#include "families/redis/options.h"
#include "families/redis/server_set.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

void min_replicas(const Check& check, Endpoints& ends, Side side, Findings& out) {
    const std::string subject(to_string(side));
    const auto wanted = config_of(ends, side, "min-replicas-to-write");
    if (!wanted) {
        out.push_back(
            finding(check, Severity::info, subject, "min-replicas-to-write cannot be read"));
    } else if (*wanted == "0") {
        out.push_back(finding(check, Severity::pass, subject, "min-replicas-to-write is 0"));
    } else {
        out.push_back(
            finding(check, Severity::warn, subject,
                    "min-replicas-to-write is " + *wanted +
                        ": exodus' link counts as one more replica, so this guard is weaker "
                        "while it is attached",
                    "CONFIG SET min-replicas-to-write " +
                        std::to_string(to_number(*wanted).value_or(0) + 1) +
                        " for the time of the migration"));
    }
}

/// Sentinels name their connections (sentinel.c, sentinelReconnectInstance: "sentinel-<id>-cmd").
void sentinels(const Check& check, Endpoints& ends, Side side, Findings& out) {
    const std::string subject(to_string(side));
    auto client = ends.client(side);
    auto list = client ? (*client)->ask({"CLIENT", "LIST"})
                       : Result<Reply>(tl::unexpected<Error>(client.error()));
    if (!list) {
        out.push_back(failed(check, subject, list.error()));
        return;
    }
    std::size_t count = 0;
    const std::string_view text = list->text();
    for (auto at = text.find(" name=sentinel-"); at != std::string_view::npos;
         at = text.find(" name=sentinel-", at + 1))
        ++count;
    if (count == 0) return;
    out.push_back(finding(
        check, Severity::warn, subject,
        "Sentinel watches it (" + std::to_string(count) +
            " connections): exodus' link is listed there as a replica that is down and never "
            "promoted, and behind a failover the configured address is no primary any more",
        "no failover by hand while the migration runs; after commit SENTINEL RESET its name"));
}

/// WAIT counts replicas: after the switch those of the target, meanwhile perhaps exodus.
void waits(const Check& check, Endpoints& ends, Findings& out) {
    const auto stats = info_of(check, ends, Side::source, "commandstats", out);
    if (!stats || !(stats->has("cmdstat_wait") || stats->has("cmdstat_waitaof"))) return;
    const auto source = info_of(check, ends, Side::source, "replication", out);
    const auto target = info_of(check, ends, Side::target, "replication", out);
    if (!source || !target) return;
    const auto here = replicas_behind(*source).count;
    const auto there = replicas_behind(*target).count;
    const std::string text = "applications use WAIT: the source has " + std::to_string(here) +
                             " replicas that answer it, the target " + std::to_string(there);
    if (there < here) {
        out.push_back(finding(check, Severity::warn, "target",
                              text + ", so it would time out after the switch",
                              "attach as many replicas to the target before the switch"));
    } else if (acknowledges_durable(ends.settings())) {
        out.push_back(finding(check, Severity::warn, "source",
                              text + ", and with redis.stream.ack = durable exodus counts as one",
                              "leave redis.stream.ack out, or let WAIT ask for one more"));
    } else {
        out.push_back(finding(check, Severity::info, "both", text));
    }
}

}  // namespace

Findings check_min_replicas(const Check& check, Endpoints& ends) {
    Findings out;
    for (const Side side : {Side::source, Side::target}) {
        min_replicas(check, ends, side, out);
        sentinels(check, ends, side, out);
    }
    waits(check, ends, out);
    return out;
}

}  // namespace exodus::redis
