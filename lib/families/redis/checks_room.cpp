// Checks about room: whether the target is empty and large enough, and how long the change stream
// can be kept at the rate of today's writes.
#include <algorithm>
#include <map>
#include <sys/statvfs.h>
#include <thread>

#include "base/limits.h"
#include "base/values.h"
#include "families/redis/checks.h"
#include "families/redis/flow.h"
#include "families/redis/options.h"
#include "families/redis/stream_command.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

/// The rate is measured over this many of kPretestRate_ms, about a second: less sees single bursts.
constexpr int kRateWindows = 5;

/// Bytes of the change stream, or of all requests while no backlog counts the stream.
struct ByteCount {
    int64_t bytes = 0;
    int64_t at_us = 0;
    bool stream = false;
    std::string run_id;
};

Result<ByteCount> count_bytes(Client& client) {
    auto info = client.info();
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    const bool stream = info->integer("repl_backlog_active") != 0;
    return ByteCount{info->integer(stream ? "master_repl_offset" : "total_net_input_bytes"),
                     steady_us(), stream, info->get("run_id")};
}

/// Bytes per second that writers add to the change stream; without a backlog all input, which is
/// the upper bound. The server's own rate (instantaneous_input_kbps) is an average over its last
/// samples and far too high just after a bulk load.
Result<uint64_t> write_rate(Endpoints& ends) {
    // What the second look itself sends: INFO without an argument.
    static constexpr std::string_view kOwnRequest = "*1\r\n$4\r\nINFO\r\n";
    // A backlog that becomes active or a restart in between makes the looks incomparable.
    for (int tries = 0; tries < 3; ++tries) {
        auto client = ends.client(Side::source);
        if (!client) return tl::unexpected<Error>(std::move(client).error());
        auto first = count_bytes(**client);
        if (!first) return tl::unexpected<Error>(std::move(first).error());
        std::this_thread::sleep_for(milliseconds(limits::kPretestRate_ms * kRateWindows));
        auto last = count_bytes(**client);
        if (!last) return tl::unexpected<Error>(std::move(last).error());
        if (first->stream != last->stream || first->run_id != last->run_id) continue;
        const int64_t own = first->stream ? 0 : static_cast<int64_t>(kOwnRequest.size());
        const int64_t bytes = std::max<int64_t>(0, last->bytes - first->bytes - own);
        return static_cast<uint64_t>(bytes) * 1'000'000 /
               static_cast<uint64_t>(std::max<int64_t>(1, last->at_us - first->at_us));
    }
    return fail(ErrorCode::unreachable, "the write rate cannot be measured: the source restarts");
}

/// Keys under "exodus:" on the target, by whose they are.
struct ReservedKeys {
    uint64_t count = 0;
    bool ours = false;    ///< this migration's checkpoint
    std::string foreign;  ///< another migration's checkpoint, the first in order
    std::string unknown;  ///< neither, the first that was found; with its database
    uint64_t unknowns = 0;
};

Result<ReservedKeys> reserved_keys(Client& client, const std::map<int, uint64_t>& keyspace,
                                   const std::string& own_checkpoint) {
    ReservedKeys found;
    int turns = 0;
    for (const auto& [db, keys] : keyspace) {
        EXODUS_TRY(client.select(db));
        std::string cursor = "0";
        do {
            auto reply = client.ask({"SCAN", cursor, "MATCH", "exodus:*", "COUNT", "1000"});
            if (!reply) return tl::unexpected<Error>(std::move(reply).error());
            const auto names = (*reply)[1];
            for (std::size_t i = 0; i < names.size(); ++i) {
                const std::string name(names[i].text());
                ++found.count;
                if (db == 0 && name == own_checkpoint) {
                    found.ours = true;
                } else if (db == 0 && name.starts_with(kCheckpointPrefix)) {
                    if (found.foreign.empty() || name < found.foreign) found.foreign = name;
                } else if (!name.starts_with(kSamplePrefix)) {
                    if (++found.unknowns == 1)
                        found.unknown = escape_key(name) + " in database " + std::to_string(db);
                }
            }
            cursor = (*reply)[0].text();
        } while (cursor != "0" && ++turns < limits::kPretestScanTurns);
    }
    EXODUS_TRY(client.select(0));
    return found;
}

}  // namespace

Findings check_target_empty(const Check& check, Endpoints& ends) {
    Findings out;
    const auto info = info_of(check, ends, Side::target, "keyspace", out);
    if (!info) return out;
    uint64_t keys = 0;
    std::string where;
    for (const auto& [db, count] : info->keyspace()) {
        keys += count;
        where += " db" + std::to_string(db) + ": " + std::to_string(count);
    }
    auto client = ends.client(Side::target);
    if (!client) return {failed(check, "target", client.error())};
    const auto reserved =
        reserved_keys(**client, info->keyspace(),
                      checkpoint_key_of(ends.settings().migration, Direction::forward));
    if (!reserved) return {failed(check, "target", reserved.error())};
    keys -= std::min(keys, reserved->count);
    if (!reserved->foreign.empty()) {
        out.push_back(
            finding(check, Severity::warn, "target",
                    "another migration has written here, its checkpoint is " + reserved->foreign,
                    "end that migration; if it is gone, DEL " + reserved->foreign));
    }
    // A migration that has begun has filled its target itself. Only its own checkpoint, or the note
    // that it left when it forgot it, tells; the same prefix of somebody else does not.
    bool ours = reserved->ours;
    if (!ours) {
        auto past = ends.context().journal.load_position("forward-past", "owned");
        if (!past) return {failed(check, "target", past.error())};
        ours = *past && **past == "1";
    }
    if (!ours && reserved->unknowns > 0) {
        out.push_back(
            finding(check, Severity::fail, "target",
                    std::to_string(reserved->unknowns) +
                        " keys under exodus:, which exodus uses itself: " + reserved->unknown,
                    "rename them; what an earlier migration left there: DEL"));
    }
    const auto policy = ends.settings().migrate.conflict;
    if (keys == 0) {
        out.push_back(finding(check, Severity::pass, "target", "the target is empty"));
    } else if (ends.settings().migrate.data_movement == DataMovement::repair) {
        out.push_back(finding(check, Severity::info, "target",
                              "the target holds " + std::to_string(keys) + " keys:" + where +
                                  "; the repair makes them equal to the source's and removes what "
                                  "the source lacks"));
    } else if (policy == ConflictPolicy::fail && ours) {
        out.push_back(finding(check, Severity::info, "target",
                              "the target holds " + std::to_string(keys) + " keys:" + where +
                                  "; this migration has been filling it"));
    } else if (policy == ConflictPolicy::fail) {
        out.push_back(finding(check, Severity::fail, "target",
                              "the target holds " + std::to_string(keys) + " keys:" + where,
                              "empty it (FLUSHALL on the target), or choose migrate.conflict = "
                              "skip, overwrite or newer"));
    } else {
        out.push_back(finding(check, Severity::info, "target",
                              "the target holds " + std::to_string(keys) + " keys:" + where +
                                  "; the conflict policy decides about those with the same name"));
    }
    return out;
}

Findings check_databases(const Check& check, Endpoints& ends) {
    Findings out;
    const auto info = info_of(check, ends, Side::source, "keyspace", out);
    if (!info) return out;
    int highest = 0;
    for (const auto& [db, count] : info->keyspace()) highest = std::max(highest, db);
    const auto source = config_of(ends, Side::source, "databases");
    const auto target = config_of(ends, Side::target, "databases");
    if (!target)
        return {finding(check, Severity::info, "target", "the number of databases cannot be read")};
    const int64_t room = to_number(*target).value_or(0);
    const std::string text = "the source uses databases up to " + std::to_string(highest) + " of " +
                             source.value_or("?") + ", the target has " + *target;
    if (highest >= room) {
        return {finding(check, Severity::fail, "target", text,
                        "databases " + std::to_string(highest + 1) +
                            " in the target's configuration, then restart it")};
    }
    const bool fewer = source && to_number(*source).value_or(0) > room;
    return {finding(
        check, fewer ? Severity::warn : Severity::pass, "target", text,
        fewer ? "an application that selects a higher one would stop the stream: databases " +
                    *source + " on the target"
              : "")};
}

Findings check_maxmemory(const Check& check, Endpoints& ends) {
    Findings out;
    const auto source = info_of(check, ends, Side::source, "memory", out);
    const auto target = source ? info_of(check, ends, Side::target, "memory", out) : std::nullopt;
    if (!source || !target) return out;
    const auto dataset =
        static_cast<uint64_t>(std::max<int64_t>(0, source->integer("used_memory_dataset")));
    const auto needed = dataset + dataset / 5;
    const auto limit = static_cast<uint64_t>(target->integer("maxmemory"));
    const auto used = static_cast<uint64_t>(target->integer("used_memory"));
    const auto system = static_cast<uint64_t>(target->integer("total_system_memory"));
    const uint64_t ceiling = limit != 0 ? limit : system;
    const std::string text =
        "data set " + format_bytes(dataset) + ", with a fifth of reserve " + format_bytes(needed) +
        "; target " +
        (limit != 0 ? "maxmemory " + format_bytes(limit)
                    : "without maxmemory, host memory " + format_bytes(system)) +
        ", used " + format_bytes(used);
    // An empty or small target's own overhead is in `used`; what it already holds is replaced, not
    // added.
    const bool fits = ceiling == 0 || needed <= ceiling;
    return {finding(check, fits ? Severity::pass : Severity::fail, "target", text,
                    fits ? ""
                         : "CONFIG SET maxmemory " + std::to_string(needed + needed / 5) +
                               " on the target, or a larger host")};
}

Findings check_eviction(const Check& check, Endpoints& ends) {
    Findings out;
    for (const Side side : {Side::target, Side::source}) {
        const std::string subject(to_string(side));
        const auto info = info_of(check, ends, side, "memory", out);
        if (!info) continue;
        const std::string policy = info->get("maxmemory_policy");
        const auto limit = info->integer("maxmemory");
        const std::string text =
            "maxmemory-policy " + policy +
            (limit == 0 ? ", no maxmemory"
                        : ", maxmemory " + format_bytes(static_cast<uint64_t>(limit)));
        const bool evicts = policy != "noeviction" && limit != 0;
        if (side == Side::target && evicts) {
            out.push_back(
                finding(check, Severity::warn, subject,
                        text + ": the target may drop keys that the source keeps",
                        "CONFIG SET maxmemory-policy noeviction on the target until the switch"));
        } else {
            out.push_back(finding(
                check, evicts ? Severity::info : Severity::pass, subject,
                text +
                    (evicts ? ": evictions are in the change stream and reach the target" : "")));
        }
    }
    return out;
}

Findings check_backlog(const Check& check, Endpoints& ends) {
    Findings out;
    const auto info = info_of(check, ends, Side::source, "replication", out);
    if (!info) return out;
    const auto measured = write_rate(ends);
    if (!measured) return {failed(check, "source", measured.error())};
    const auto size =
        static_cast<uint64_t>(std::max<int64_t>(0, info->integer("repl_backlog_size")));
    const uint64_t rate = *measured;
    const uint64_t seconds = rate == 0 ? 0 : size / rate;
    const std::string text = "backlog " + format_bytes(size) + ", write rate " +
                             format_bytes(rate) + "/s" +
                             (rate == 0 ? std::string(": lasts as long as nobody writes")
                                        : ": lasts " + std::to_string(seconds) + " s");
    const bool enough = rate == 0 || seconds >= limits::kPretestBacklog_s;
    return {finding(check, enough ? Severity::pass : Severity::warn, "source", text,
                    enough ? ""
                           : "CONFIG SET repl-backlog-size " +
                                 std::to_string(rate * limits::kPretestBacklog_s * 2))};
}

Findings check_spool_room(const Check& check, Endpoints& ends) {
    Findings out;
    const auto measured = write_rate(ends);
    if (!measured) return {failed(check, "source", measured.error())};
    const std::string directory = ends.context().directory.empty() ? "." : ends.context().directory;
    struct statvfs disk {};
    std::string probed = directory;
    while (::statvfs(probed.c_str(), &disk) != 0) {
        // The directory is made by the first migrate; its nearest parent is on the same disk.
        const auto slash = probed.rfind('/');
        if (slash == std::string::npos || slash == 0) {
            probed = slash == 0 ? "/" : ".";
            if (::statvfs(probed.c_str(), &disk) != 0)
                return {finding(check, Severity::fail, "both",
                                "free disk of " + directory + " cannot be read")};
            break;
        }
        probed.resize(slash);
    }
    const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
    const uint64_t room = std::min(spool_bytes_max(ends.settings(), free), free);
    const uint64_t rate = *measured;
    const uint64_t needed = rate * limits::kPretestSpool_s;
    const bool enough = needed <= room;
    return {finding(check, enough ? Severity::pass : Severity::warn, "both",
                    "the change stream may use " + format_bytes(room) + " of " +
                        format_bytes(free) + " free in " + directory + "; four hours at " +
                        format_bytes(rate) + "/s need " + format_bytes(needed),
                    enough ? "" : "put the state file on a larger disk, or raise redis.spool.max")};
}

/// Valkey replays its append-only file as the user `default` (observed on 8.0.1: ACLs are checked
/// again at EXEC, and a transaction that this user may not run is dropped with a line in the log).
/// Everything that exodus writes to the target comes in transactions.
Findings check_aof_user(const Check& check, Endpoints& ends) {
    Findings out;
    const auto append = config_of(ends, Side::target, "appendonly");
    auto client = ends.client(Side::target);
    if (!client) return {failed(check, "target", client.error())};
    auto version = (*client)->server_version();
    if (!version) return {failed(check, "target", version.error())};
    if (!version->is_valkey() || !append || *append != "yes") {
        return {finding(check, Severity::pass, "target",
                        version->is_valkey() ? "it keeps no append-only file"
                                             : "its append-only file is loaded without ACLs")};
    }
    auto user = (*client)->command({"ACL", "GETUSER", "default"});
    if (!user) return {failed(check, "target", user.error())};
    if (user->is_error())
        return {finding(check, Severity::info, "target",
                        "whether the user default may load the append-only file cannot be asked: " +
                            std::string(user->text()))};
    const bool commands = user->field("commands").text().find("+@all") != std::string_view::npos &&
                          !user->field("commands").text().starts_with("-") &&
                          user->field("commands").text().find(" -") == std::string_view::npos;
    const bool keys = user->field("keys").text().find("~*") != std::string_view::npos;
    if (commands && keys)
        return {finding(check, Severity::pass, "target",
                        "the user default, as which the append-only file is loaded, may run it")};
    bool off = false;
    const ReplyView flags = user->field("flags");
    for (std::size_t i = 0; i < flags.size(); ++i) off = off || flags[i].text() == "off";
    return {finding(
        check, Severity::warn, "target",
        "appendonly is on, but the user default, as which Valkey loads the file, lacks rights (" +
            std::string(user->field("commands").text()) + " " +
            std::string(user->field("keys").text()) +
            "): a restart would drop every transaction, which is all that exodus writes",
        std::string("ACL SETUSER default off ~* &* +@all; ACL SAVE or CONFIG REWRITE") +
            (off ? " (it stays off: nobody can log in as it)"
                 : " (off: who logs in as it today needs a user of its own)"))};
}

}  // namespace exodus::redis
