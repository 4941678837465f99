// The check of payloads: what the copy would do with a sample of each kind (redis.md 4.9).
#include "families/redis/checks_payload.h"

#include <algorithm>
#include <map>

#include "base/limits.h"
#include "families/redis/checks.h"
#include "families/redis/checks_limits.h"
#include "families/redis/key_reader.h"
#include "families/redis/payload.h"

namespace exodus::redis {

namespace {

using Payloads = std::map<std::string, std::string>;  ///< by kind

/// One small payload per (type, encoding) among the first keys of the selected database.
Status sample_database(Client& client, std::size_t keys_max, Payloads& samples) {
    std::string cursor = "0";
    std::size_t looked = 0;
    do {
        auto reply = client.ask({"SCAN", cursor, "COUNT", "256"});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        cursor = (*reply)[0].text();
        const auto names = (*reply)[1];
        for (std::size_t i = 0; i < names.size(); ++i) {
            client.append({"TYPE", names[i].text()});
            client.append({"OBJECT", "ENCODING", names[i].text()});
            client.append({"MEMORY", "USAGE", names[i].text(), "SAMPLES", "5"});
        }
        if (names.size() > 0) {
            auto facts = client.read_all(names.size() * 3);
            if (!facts) return tl::unexpected<Error>(std::move(facts).error());
            for (std::size_t i = 0; i < names.size(); ++i) {
                const std::string kind = std::string((*facts)[3 * i].text()) + "/" +
                                         std::string((*facts)[3 * i + 1].text());
                const auto bytes = (*facts)[3 * i + 2].integer();
                if (samples.contains(kind) || bytes <= 0 || bytes > limits::kPretestSample_bytes)
                    continue;
                auto dump = client.ask({"DUMP", names[i].text()});
                if (!dump) return tl::unexpected<Error>(std::move(dump).error());
                if (!dump->is_nil()) samples[kind] = dump->text();
            }
        }
        looked += names.size();
    } while (cursor != "0" && looked < keys_max);
    return {};
}

/// The samples by what becomes of them on the target.
struct Sorted {
    std::vector<std::string> raw;
    std::vector<std::string> restamped;
    std::vector<std::string> rewritten;
    std::vector<std::string> refused;
};

/// Each as the copy would write it (KeyReader). Error: the target takes nothing at all.
Result<Sorted> try_samples(Client& target, const std::vector<Sample>& samples) {
    auto there = rdb_version_of(target);
    if (!there) return tl::unexpected<Error>(std::move(there).error());
    Sorted sorted;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const Sample& sample = samples[i];
        const auto version = payload_version(sample.payload);
        const LadderLevel level = version
                                      ? ladder_level(payload_type(sample.payload), *version, *there)
                                      : LadderLevel::refused;
        if (level == LadderLevel::typed || level == LadderLevel::refused) {
            (level == LadderLevel::typed ? sorted.rewritten : sorted.refused)
                .push_back(sample.kind);
            continue;
        }
        const bool raw = level == LadderLevel::raw;
        const std::string payload = raw ? sample.payload : restamp(sample.payload, *there);
        const std::string key = std::string(kSamplePrefix) + std::to_string(i);
        auto reply = target.command({"RESTORE", key, "60000", payload, "REPLACE"});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (!reply->is_error()) {
            // Removed at once; the expiry is for the case that exodus is killed in between.
            auto removed = target.command({"DEL", key});
            if (!removed) return tl::unexpected<Error>(std::move(removed).error());
            (raw ? sorted.raw : sorted.restamped).push_back(sample.kind);
        } else if (error_word(*reply) == "NOPERM" || error_word(*reply) == "OOM") {
            return fail(ErrorCode::permission, "RESTORE: " + std::string(reply->text()),
                        "give exodus the right to write, and memory");
        } else {
            sorted.refused.push_back(sample.kind);
        }
    }
    return sorted;
}

}  // namespace

Result<Samples> take_samples(Client& client) {
    auto info = client.info("keyspace");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    const auto keyspace = info->keyspace();
    Samples out;
    Payloads payloads;
    for (const auto& [db, keys] : keyspace) {
        if (out.databases == limits::kPretestSampleDatabases_max) {
            ++out.left_out;
            continue;
        }
        ++out.databases;
        EXODUS_TRY(client.select(db));
        EXODUS_TRY(sample_database(
            client,
            std::max(limits::kPretestSampleKeys_min, limits::kPretestSample_keys / keyspace.size()),
            payloads));
    }
    EXODUS_TRY(client.select(0));
    for (auto& [kind, payload] : payloads) out.list.push_back({kind, std::move(payload)});
    return out;
}

Findings check_payloads(const Check& check, Endpoints& ends) {
    Findings out;
    auto source = ends.client(Side::source);
    if (!source) return {failed(check, "source", source.error())};
    auto target = ends.client(Side::target);
    if (!target) return {failed(check, "target", target.error())};
    auto samples = take_samples(**source);
    if (!samples) return {failed(check, "source", samples.error())};
    if (samples->list.empty()) {
        return {finding(check, Severity::info, "both",
                        "the source has no keys of a moderate size to take samples of")};
    }
    auto sorted = try_samples(**target, samples->list);
    if (!sorted) return {failed(check, "target", sorted.error())};
    const std::string where =
        samples->databases == 1 && samples->left_out == 0
            ? ""
            : " (in " + std::to_string(samples->databases) + " databases" +
                  (samples->left_out == 0
                       ? ")"
                       : "; " + std::to_string(samples->left_out) + " more were not looked at)");
    const auto tell = [&](Severity severity, const char* subject, const char* what,
                          const std::vector<std::string>& kinds, const char* hint) {
        if (!kinds.empty())
            out.push_back(finding(check, severity, subject, what + joined(kinds) + where, hint));
    };
    tell(Severity::pass, "both", "loaded as they are: ", sorted->raw, "");
    tell(Severity::pass, "both", "loaded with another version number: ", sorted->restamped, "");
    tell(Severity::info, "both",
         "not loaded as they are, written by commands instead: ", sorted->rewritten, "");
    tell(Severity::fail, "target",
         "of a module that the target lacks, or newer than the target: ", sorted->refused,
         "load the module on the target, take a newer target, or exclude these keys ([scope])");
    return out;
}

}  // namespace exodus::redis
