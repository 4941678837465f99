// The profile as JSON, and sums of such texts: what travels over the control socket and is stored
// as evidence.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "core/json_text.h"
#include "families/redis/prefix_rows.h"
#include "families/redis/stream_command.h"
#include "families/redis/traffic_profile.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

constexpr const char* kFeatureNames[TrafficProfile::kFeatures] = {"transactions",
                                                                  "watches",
                                                                  "transactions_aborted",
                                                                  "scripts",
                                                                  "scripts_without_keys",
                                                                  "functions",
                                                                  "blocking",
                                                                  "subscriptions",
                                                                  "publishes",
                                                                  "selects",
                                                                  "scans",
                                                                  "keys_command",
                                                                  "waits",
                                                                  "monitors",
                                                                  "tracking",
                                                                  "client_reply",
                                                                  "auth",
                                                                  "hello3",
                                                                  "resets",
                                                                  "inline",
                                                                  "admin",
                                                                  "flushes",
                                                                  "unknown_commands",
                                                                  "large_requests",
                                                                  "ttl_set",
                                                                  "ttl_removed",
                                                                  "requests_outside_db0"};

void add_counts(json& into, const json& from) {
    if (into.is_null()) into = json::object();
    for (const auto& [name, value] : from.items())
        into[name] = into.value(name, uint64_t{0}) + value.get<uint64_t>();
}

const json& member(const json& object, const char* name) {
    static const json kNone = json::object();
    const auto found = object.find(name);
    return found == object.end() ? kNone : *found;
}

void merge_into(json& into, const json& from) {
    for (const char* name : {"requests", "sampled"})
        into[name] = into.value(name, uint64_t{0}) + from.value(name, uint64_t{0});
    for (const char* name : {"features", "databases", "unknown", "cross_slot"})
        add_counts(into[name], member(from, name));
    for (const char* name : {"key_bytes", "value_bytes", "ttl_s"}) {
        Histogram sum = histogram_of(member(into, name));
        sum.merge(histogram_of(member(from, name)));
        into[name] = to_json(sum);
    }
    json& keys = into["hot_keys"];
    for (const json& key : member(from, "hot_keys")) {
        const auto same = std::find_if(keys.begin(), keys.end(), [&](const json& have) {
            return have.at("key") == key.at("key") && have.at("db") == key.at("db");
        });
        if (same == keys.end()) {
            keys.push_back(key);
        } else {
            for (const char* name : {"count", "error"})
                (*same)[name] = same->at(name).get<uint64_t>() + key.at(name).get<uint64_t>();
        }
    }
    std::stable_sort(keys.begin(), keys.end(), [](const json& a, const json& b) {
        return a.at("count").get<uint64_t>() > b.at("count").get<uint64_t>();
    });
    while (keys.size() > limits::kProfileHotKeysShown) keys.erase(keys.size() - 1);
    const double sampled =
        static_cast<double>(std::max<uint64_t>(1, into.at("sampled").get<uint64_t>()));
    for (json& key : keys)
        key["share"] = static_cast<double>(key.at("count").get<uint64_t>()) / sampled;
}

json empty_profile() {
    return {{"requests", 0},
            {"sampled", 0},
            {"sample_every", TrafficProfile::kSampleEvery},
            {"features", json::object()},
            {"databases", json::object()},
            {"unknown", json::object()},
            {"cross_slot", json::object()},
            {"hot_keys", json::array()}};
}

/// The text of a profile up to its prefixes; their rows and "}}" are to follow.
std::string begin_text(const json& rest) {
    std::string out = json_text(rest);
    out.back() = ',';
    return out + "\"prefixes\":{";
}

}  // namespace

std::string TrafficProfile::to_json() const {
    json out = empty_profile();
    out["requests"] = requests_;
    out["sampled"] = sampled_;
    for (int i = 0; i < kFeatures; ++i)
        out["features"][kFeatureNames[i]] = features_[static_cast<std::size_t>(i)];
    for (const auto& [database, count] : databases_)
        out["databases"][std::to_string(database)] = count;
    out["unknown"] = unknown_;
    out["cross_slot"] = cross_slot_;
    if (unknown_.empty()) out["unknown"] = json::object();
    if (cross_slot_.empty()) out["cross_slot"] = json::object();
    out["key_bytes"] = exodus::to_json(key_bytes_);
    out["value_bytes"] = exodus::to_json(value_bytes_);
    out["ttl_s"] = exodus::to_json(ttl_s_);
    for (const SpaceSaving::Item& item : hot_keys_.top(limits::kProfileHotKeysShown)) {
        const std::string_view text = item.text;
        const std::size_t blank = text.find(' ');
        const auto database = to_number(text.substr(0, blank));
        EXODUS_ASSERT(database && blank != std::string_view::npos);  // as note_keys() wrote it
        out["hot_keys"].push_back(
            {{"db", *database},
             {"key", text.substr(blank + 1)},
             {"count", item.count},
             {"error", item.error},
             {"share", static_cast<double>(item.count) /
                           static_cast<double>(std::max<uint64_t>(1, sampled_))}});
    }
    std::string text = begin_text(out);
    for (const auto& [name, prefix] : prefixes_) {
        if (prefix.counts.requests > 0)
            append_json(text, name, {prefix.counts, prefix.latency_us.whole()});
    }
    return text + "}}";
}

std::string TrafficProfile::merge(std::string_view left, std::string_view right) {
    json sum = empty_profile();
    PrefixRows rows;
    for (const std::string_view text : {left, right}) {
        const json part = json::parse(text, nullptr, false);
        if (!part.is_object()) continue;
        try {  // the text came over a socket: wrong types inside must not end the process
            json next = sum;
            merge_into(next, part);
            add_rows(rows, member(part, "prefixes"));
            sum = std::move(next);
        } catch (const json::exception&) {
            continue;
        }
    }
    std::string out = begin_text(sum);
    for (const auto& [name, row] : rows) append_json(out, name, row);
    return out + "}}";
}

void TrafficProfile::add_to(TrafficStats& stats, std::string profile) {
    std::string& text = stats.observations[kProfileObservation];
    text = text.empty() ? std::move(profile) : merge(text, profile);
}

}  // namespace exodus::redis
