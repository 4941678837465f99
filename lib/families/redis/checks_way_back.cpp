#include "families/redis/checks_way_back.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "base/values.h"
#include "families/redis/checks_limits.h"
#include "families/redis/checks_payload.h"
#include "families/redis/key_reader.h"
#include "families/redis/payload.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

std::string some_of(const std::vector<std::string>& names) {
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), limits::kPretestNames_max); ++i)
        text += (text.empty() ? "" : ", ") + names[i];
    if (names.size() > limits::kPretestNames_max)
        text += " and " + std::to_string(names.size() - limits::kPretestNames_max) + " more";
    return text;
}

void judge_values(const Check& check, const WayBack& way, Findings& out) {
    std::vector<std::string> rewritten;
    std::vector<std::string> refused;
    for (const TargetValue& value : way.values) {
        const LadderLevel level = ladder_level(value.type, value.version, way.source_rdb);
        if (level == LadderLevel::typed) rewritten.push_back(value.kind);
        if (level == LadderLevel::refused) refused.push_back(value.kind);
    }
    if (!rewritten.empty()) {
        out.push_back(finding(check, Severity::info, "both",
                              "the source does not load what the target writes, so it is carried "
                              "back by commands: " +
                                  some_of(rewritten)));
    }
    if (!refused.empty()) {
        out.push_back(
            finding(check, Severity::info, "both",
                    "cannot be carried back, a rollback would lose it: " + some_of(refused),
                    "let applications write such values only after commit"));
    }
    if (way.target_field_expiries && !way.source_field_expiries) {
        out.push_back(finding(check, Severity::info, "both",
                              "hash fields can expire on the target and not on the source: hashes "
                              "with such fields cannot be carried back",
                              "let applications use HEXPIRE and its like only after commit"));
    }
}

void judge_modules(const Check& check, const WayBack& way, Findings& out) {
    if (!way.modules.empty()) {
        out.push_back(finding(check, Severity::info, "both",
                              "values of modules that the source lacks cannot be carried back: " +
                                  some_of(way.modules),
                              "let applications use them only after commit"));
    }
    if (!way.module_values.empty() && way.target_rdb > way.source_rdb) {
        out.push_back(
            finding(check, Severity::warn, "both",
                    "values of modules (" + some_of(way.module_values) +
                        ") that change after the switch cannot be carried back: the target writes "
                        "RDB version " +
                        std::to_string(way.target_rdb) + ", the source loads " +
                        std::to_string(way.source_rdb),
                    "two servers of the same version, or exclude these keys ([scope])"));
    }
}

void judge_limits(const Check& check, const WayBack& way, Findings& out) {
    if (way.source_databases != 0 && way.target_databases > way.source_databases) {
        out.push_back(finding(check, Severity::info, "both",
                              "databases from " + std::to_string(way.source_databases) +
                                  " on exist on the target only: a write there stops the way back",
                              "databases " + std::to_string(way.target_databases) +
                                  " in the source's configuration"));
    }
    if (way.source_bulk_bytes != 0 && way.target_bulk_bytes > way.source_bulk_bytes) {
        out.push_back(finding(check, Severity::info, "both",
                              "values above " +
                                  format_bytes(static_cast<uint64_t>(way.source_bulk_bytes)) +
                                  " (proto-max-bulk-len of the source) cannot be carried back",
                              "CONFIG SET proto-max-bulk-len " +
                                  std::to_string(way.target_bulk_bytes) + " on the source"));
    }
    const bool less_memory =
        way.source_memory_bytes != 0 &&
        (way.target_memory_bytes == 0 || way.target_memory_bytes > way.source_memory_bytes);
    if (less_memory) {
        out.push_back(finding(
            check, Severity::info, "both",
            "what grows beyond " + format_bytes(static_cast<uint64_t>(way.source_memory_bytes)) +
                " (maxmemory of the source) after the switch stops the way back, or is evicted",
            "as much memory on the source until commit"));
    }
}

/// What is made for a moment on the target, one of each kind that clients write.
std::vector<std::vector<std::vector<std::string>>> recipes(const std::string& key,
                                                           bool field_expiries) {
    std::vector<std::vector<std::vector<std::string>>> all = {
        {{"SET", key, "text"}},
        {{"RPUSH", key, "a"}},
        {{"SADD", key, "1"}},
        {{"SADD", key, "a"}},
        {{"ZADD", key, "1", "a"}},
        {{"HSET", key, "a", "b"}},
        {{"XADD", key, "1-1", "a", "b"}, {"XGROUP", "CREATE", key, "g", "0"}},
    };
    if (field_expiries)
        all.push_back({{"HSET", key, "a", "b"}, {"HPEXPIRE", key, "60000", "FIELDS", "1", "a"}});
    return all;
}

/// Each is made, read and removed in one transaction.
Result<std::vector<TargetValue>> made_values(Client& target, bool field_expiries) {
    const std::string key = std::string(kSamplePrefix) + "made";
    std::vector<TargetValue> values;
    for (const auto& recipe : recipes(key, field_expiries)) {
        target.append({"MULTI"});
        target.append({"DEL", key});
        for (const auto& command : recipe) target.append(command);
        target.append({"TYPE", key});
        target.append({"OBJECT", "ENCODING", key});
        target.append({"DUMP", key});
        target.append({"DEL", key});
        target.append({"EXEC"});
        auto replies = target.read_all();
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        const Reply& exec = replies->back();
        const std::size_t at = recipe.size() + 1;
        if (exec.is_error() || exec.size() != at + 4) {
            // The transaction names no reason; the first refused command does.
            for (const Reply& reply : *replies) {
                if (reply.is_error())
                    return tl::unexpected<Error>(error_of(reply, "a sample value"));
            }
            return fail(ErrorCode::protocol, "a sample value: EXEC answered something else");
        }
        for (std::size_t i = 0; i < exec.size(); ++i) {
            if (exec[i].is_error())
                return tl::unexpected<Error>(error_of(exec[i], "a sample value"));
        }
        const auto payload = exec[at + 2].text();
        const auto version = payload_version(payload);
        if (!version) return fail(ErrorCode::protocol, "a sample value: DUMP without a checksum");
        values.push_back({std::string(exec[at].text()) + "/" + std::string(exec[at + 1].text()) +
                              (recipe.back().front() == "HPEXPIRE" ? " with expiries" : ""),
                          payload_type(payload), *version});
    }
    return values;
}

Result<std::set<std::string>> names_of(Client& client, Client::Args command,
                                       std::string_view field) {
    auto reply = client.command(command);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    std::set<std::string> names;
    if (reply->is_error()) {
        // A server without modules, or one that renamed the command.
        if (error_word(*reply) == "ERR") return names;
        return tl::unexpected<Error>(error_of(*reply, *command.begin()));
    }
    for (std::size_t i = 0; i < reply->size(); ++i) {
        const ReplyView entry = (*reply)[i];
        names.emplace(field.empty() ? entry.text() : entry.field(field).text());
    }
    return names;
}

/// What is different about the two servers' commands and modules.
Status compare_names(Client& source, Client& target, WayBack& way) {
    auto here = names_of(source, {"COMMAND", "LIST"}, {});
    if (!here) return fail(std::move(here).error(), "source");
    auto there = names_of(target, {"COMMAND", "LIST"}, {});
    if (!there) return fail(std::move(there).error(), "target");
    std::set_difference(there->begin(), there->end(), here->begin(), here->end(),
                        std::back_inserter(way.commands));
    auto modules_here = names_of(source, {"MODULE", "LIST"}, "name");
    if (!modules_here) return fail(std::move(modules_here).error(), "source");
    auto modules_there = names_of(target, {"MODULE", "LIST"}, "name");
    if (!modules_there) return fail(std::move(modules_there).error(), "target");
    std::set_difference(modules_there->begin(), modules_there->end(), modules_here->begin(),
                        modules_here->end(), std::back_inserter(way.modules));
    if (modules_here->empty()) return {};
    auto samples = take_samples(source);
    if (!samples) return fail(std::move(samples).error(), "source");
    for (const Sample& sample : samples->list) {
        if (kind_of_name(sample.kind.substr(0, sample.kind.find('/'))) == ValueKind::other)
            way.module_values.push_back(sample.kind);
    }
    return {};
}

int64_t number_of(Endpoints& ends, Side side, std::string_view name) {
    return to_number(config_of(ends, side, name).value_or("0")).value_or(0);
}

}  // namespace

Findings judge_way_back(const Check& check, const WayBack& way) {
    Findings out;
    judge_values(check, way, out);
    judge_modules(check, way, out);
    if (!way.commands.empty()) {
        out.push_back(finding(check, Severity::info, "both",
                              "commands that the source lacks: " + some_of(way.commands) +
                                  ": the keys that they write are carried back by state, but after "
                                  "a rollback they are errors",
                              "let applications use them only after commit"));
    }
    judge_limits(check, way, out);
    if (out.empty())
        out.push_back(finding(check, Severity::pass, "both",
                              "whatever the target can hold, the way back can carry"));
    return out;
}

Findings check_way_back(const Check& check, Endpoints& ends) {
    auto source = ends.client(Side::source);
    if (!source) return {failed(check, "source", source.error())};
    auto target = ends.client(Side::target);
    if (!target) return {failed(check, "target", target.error())};
    WayBack way;
    auto source_rdb = rdb_version_of(**source);
    if (!source_rdb) return {failed(check, "source", source_rdb.error())};
    auto target_rdb = rdb_version_of(**target);
    if (!target_rdb) return {failed(check, "target", target_rdb.error())};
    way.source_rdb = *source_rdb;
    way.target_rdb = *target_rdb;
    auto here = (*source)->server_version();
    if (!here) return {failed(check, "source", here.error())};
    auto there = (*target)->server_version();
    if (!there) return {failed(check, "target", there.error())};
    way.source_field_expiries = here->has_field_expiries();
    way.target_field_expiries = there->has_field_expiries();
    auto values = made_values(**target, way.target_field_expiries);
    if (!values) return {failed(check, "target", values.error())};
    way.values = std::move(*values);
    if (auto status = compare_names(**source, **target, way); !status)
        return {failed(check, "both", status.error())};
    way.source_databases = number_of(ends, Side::source, "databases");
    way.target_databases = number_of(ends, Side::target, "databases");
    way.source_bulk_bytes = number_of(ends, Side::source, "proto-max-bulk-len");
    way.target_bulk_bytes = number_of(ends, Side::target, "proto-max-bulk-len");
    Findings out;
    const auto memory = info_of(check, ends, Side::source, "memory", out);
    const auto memory_there =
        memory ? info_of(check, ends, Side::target, "memory", out) : std::nullopt;
    if (!memory || !memory_there) return out;
    way.source_memory_bytes = memory->integer("maxmemory");
    way.target_memory_bytes = memory_there->integer("maxmemory");
    return judge_way_back(check, way);
}

}  // namespace exodus::redis
