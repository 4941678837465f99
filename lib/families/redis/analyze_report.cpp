#include "families/redis/analyze_report.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/values.h"
#include "families/redis/plan.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

constexpr std::size_t kCommandsShown = 8;
constexpr std::size_t kPrefixesShown = 8;
constexpr std::size_t kKeysShown = 5;

uint64_t number(const json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_number() ? it->get<uint64_t>() : 0;
}

const json& member(const json& object, const char* name) {
    static const json kNone = json::object();
    const auto it = object.find(name);
    return it == object.end() ? kNone : *it;
}

std::string seconds_text(uint64_t s) {
    if (s < 120) return fmt::format("{} s", s);
    if (s < 7'200) return fmt::format("{} min", s / 60);
    if (s < 172'800) return fmt::format("{} h", s / 3'600);
    return fmt::format("{} d", s / 86'400);
}

/// "p50 10 B   p95 …" of a histogram's JSON.
template <class Text>
std::string spread(const json& histogram, Text text) {
    if (number(histogram, "count") == 0) return "none seen";
    return fmt::format("p50 {}   p95 {}   p99 {}   largest {}", text(number(histogram, "p50")),
                       text(number(histogram, "p95")), text(number(histogram, "p99")),
                       text(number(histogram, "max")));
}

std::string ms_text(uint64_t us) {
    return fmt::format("{:.2f} ms", static_cast<double>(us) / 1000);
}

void commands(const TrafficStats& stats, std::vector<std::string>& out) {
    std::vector<std::pair<std::string, const CommandStats*>> rows;
    uint64_t all = 0;
    for (const auto& [name, row] : stats.commands) {
        all += row.requests;
        if (row.requests > 0) rows.emplace_back(name, &row);
    }
    std::sort(rows.begin(), rows.end(),
              [](const auto& a, const auto& b) { return a.second->requests > b.second->requests; });
    if (rows.empty()) return;
    out.push_back(fmt::format("commands  {:<14} {:>7}  {:>8} {:>8} {:>8} {:>8}  {:>6}", "", "share",
                              "p50", "p95", "p99", "p99.9", "errors"));
    for (std::size_t i = 0; i < std::min(rows.size(), kCommandsShown); ++i) {
        const auto& [name, row] = rows[i];
        const auto ms = [&latency_us = row->latency_us](double share) {
            return ms_text(latency_us.percentile(share));
        };
        out.push_back(
            fmt::format("          {:<14} {:>5.1f} %  {:>8} {:>8} {:>8} {:>8}  {:>6}", name,
                        100.0 * static_cast<double>(row->requests) / static_cast<double>(all),
                        ms(0.5), ms(0.95), ms(0.99), ms(0.999), row->errors));
    }
    if (rows.size() > kCommandsShown)
        out.push_back(
            fmt::format("          and {} more (--json has all)", rows.size() - kCommandsShown));
}

/// The same of the keys that begin alike, of a sample: the errors are those that were in it.
void prefixes(const json& profile, std::vector<std::string>& out) {
    const json& all = member(profile, "prefixes");
    std::vector<std::pair<uint64_t, std::string>> rows;
    uint64_t requests = 0;
    for (const auto& [name, row] : all.items()) {
        rows.emplace_back(number(row, "requests"), name);
        requests += rows.back().first;
    }
    if (requests == 0) return;
    std::sort(rows.rbegin(), rows.rend());
    out.push_back(
        fmt::format("prefixes  {:<14} {:>7}  {:>8} {:>8} {:>8} {:>8}  {:>6}  {:>7}  {:>8}",
                    fmt::format("(1 in {})", number(profile, "sample_every")), "share", "p50",
                    "p95", "p99", "p99.9", "errors", "writes", "bytes"));
    for (std::size_t i = 0; i < std::min(rows.size(), kPrefixesShown); ++i) {
        auto& [count, name] = rows[i];
        const json& row = all.at(name);
        const json& latency_us = member(row, "latency_us");
        const auto ms = [&latency_us](const char* share) {
            return number(latency_us, "count") == 0 ? "-" : ms_text(number(latency_us, share));
        };
        const auto percent = [](uint64_t part, uint64_t whole) {
            return 100.0 * static_cast<double>(part) /
                   static_cast<double>(std::max<uint64_t>(1, whole));
        };
        if (name.size() > 14) name.replace(12, std::string::npos, "..");
        out.push_back(fmt::format(
            "          {:<14} {:>5.1f} %  {:>8} {:>8} {:>8} {:>8}  {:>6}  {:>5.1f} %  {:>8}", name,
            percent(count, requests), ms("p50"), ms("p95"), ms("p99"), ms("p999"),
            number(row, "errors"), percent(number(row, "writes"), count),
            format_bytes((number(row, "bytes") + number(row, "bytes_out")) /
                         std::max<uint64_t>(1, count))));
    }
    if (rows.size() > kPrefixesShown)
        out.push_back(
            fmt::format("          and {} more (--json has all)", rows.size() - kPrefixesShown));
}

void traffic(const TrafficStats& stats, const json& profile, std::vector<std::string>& out) {
    const json& features = member(profile, "features");
    out.push_back(fmt::format(
        "clients   {} now, {} new meanwhile; {} with RESP3; pipeline depth p50 {}, p99 {}",
        stats.clients_now, stats.clients_total, number(features, "hello3"),
        stats.pipeline_depth.percentile(0.5), stats.pipeline_depth.percentile(0.99)));
    std::string used;
    for (const auto& [name, label] :
         {std::pair{"transactions", "transactions"}, std::pair{"scripts", "scripts"},
          std::pair{"functions", "functions"}, std::pair{"blocking", "blocking"},
          std::pair{"subscriptions", "subscriptions"}, std::pair{"publishes", "PUBLISH"},
          std::pair{"watches", "WATCH"}, std::pair{"scans", "SCAN"}, std::pair{"waits", "WAIT"},
          std::pair{"ttl_set", "TTLs set"}}) {
        if (const uint64_t count = number(features, name); count > 0)
            used += fmt::format("{}{} {}", used.empty() ? "" : ", ", count, label);
    }
    if (!used.empty()) out.push_back("uses      " + used);
    const json& hot = member(profile, "hot_keys");
    std::string keys;
    for (std::size_t i = 0; hot.is_array() && i < std::min(hot.size(), kKeysShown); ++i) {
        keys += fmt::format("{}db{} {} {:.1f} %", i == 0 ? "" : "   ", hot[i].value("db", 0),
                            hot[i].value("key", std::string()), 100 * hot[i].value("share", 0.0));
    }
    if (!keys.empty()) out.push_back("hot keys  " + keys);
}

void data_lines(const json& data, std::vector<std::string>& out) {
    std::string types;
    for (const auto& [type, row] : member(data, "types").items())
        types += fmt::format("   {} {}", number(row, "keys"), type);
    out.push_back(fmt::format("data      {} keys, {}{}{}", number(data, "keys"),
                              format_bytes(number(data, "dataset_bytes")),
                              data.value("complete", false)
                                  ? ""
                                  : fmt::format(" ({} looked at)", number(data, "sampled")),
                              types));
    out.push_back("sizes     " + spread(member(data, "value_bytes"), format_bytes));
    out.push_back(fmt::format("TTLs      {:.0f} % without; else {}",
                              100 * data.value("without_ttl_share", 0.0),
                              spread(member(data, "ttl_s"), seconds_text)));
    const json& big = member(data, "big_keys");
    std::string keys;
    for (std::size_t i = 0; big.is_array() && i < std::min(big.size(), kKeysShown); ++i) {
        keys += fmt::format("{}db{} {} ({}, {})", i == 0 ? "" : "   ", big[i].value("db", 0),
                            big[i].value("key", std::string()), big[i].value("type", std::string()),
                            format_bytes(number(big[i], "bytes")));
    }
    if (!keys.empty()) out.push_back("big keys  " + keys);
}

void sizing(const json& plan, std::vector<std::string>& out) {
    out.push_back(fmt::format(
        "plan      {} to {}, by {}; copy ~{} s (limited by {}); changes {}/s, so the spool takes "
        "~{}",
        plan.value("source", std::string()), plan.value("target", std::string()),
        plan.value("feed", std::string()), number(plan, "copy_seconds_estimate"),
        plan.value("limited_by", std::string()), format_bytes(number(plan, "write_bytes_per_s")),
        format_bytes(number(plan, "spool_bytes_estimate"))));
    out.push_back(fmt::format("sizing    {}; target memory ~{}",
                              plan.value("sizing", std::string()),
                              format_bytes(number(plan, "target_memory_bytes"))));
    const json& busy = member(plan, "source_busy");
    std::vector<std::pair<double, std::string>> by_command;
    for (const auto& [name, share] : member(busy, "by_command").items())
        by_command.emplace_back(share.get<double>(), name);
    std::sort(by_command.rbegin(), by_command.rend());
    std::string commands;
    for (std::size_t i = 0; i < std::min(by_command.size(), kKeysShown); ++i)
        commands += fmt::format("   {} {:.0f} %", by_command[i].second, 100 * by_command[i].first);
    if (!commands.empty()) {
        const json& network = member(plan, "network_bytes_per_s");
        out.push_back(fmt::format("          source uses {:.2f} cores, of its time in commands:{}",
                                  busy.value("cores", 0.0), commands));
        out.push_back(fmt::format("          network {}/s in, {}/s out",
                                  format_bytes(number(network, "in")),
                                  format_bytes(number(network, "out"))));
    }
    for (const auto& warning : member(plan, "warnings"))
        if (warning.is_string()) out.push_back("          mind: " + warning.get<std::string>());
}

}  // namespace

std::vector<std::string> analyze_report(const TrafficStats& stats, const json& data,
                                        const json& plan) {
    std::vector<std::string> out;
    commands(stats, out);
    const json profile = traffic_profile_of(stats);
    prefixes(profile, out);
    traffic(stats, profile, out);
    data_lines(data, out);
    sizing(plan, out);
    return out;
}

}  // namespace exodus::redis
