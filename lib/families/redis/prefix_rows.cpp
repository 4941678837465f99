#include "families/redis/prefix_rows.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "core/json_text.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

constexpr std::pair<const char*, uint64_t PrefixCounts::*> kCounts[] = {
    {"requests", &PrefixCounts::requests},
    {"writes", &PrefixCounts::writes},
    {"bytes", &PrefixCounts::bytes},
    {"bytes_out", &PrefixCounts::bytes_out},
    {"errors", &PrefixCounts::errors}};

void append_number(std::string& out, uint64_t value) {
    char digits[20];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append_histogram(std::string& out, const Histogram& histogram) {
    fmt::format_to(std::back_inserter(out),
                   R"({{"count":{},"sum":{},"mean":{},"p50":{},"p95":{},"p99":{},"p999":{},)"
                   R"("max":{},"buckets":[)",
                   histogram.count(), histogram.sum(), histogram.mean(), histogram.percentile(0.50),
                   histogram.percentile(0.95), histogram.percentile(0.99),
                   histogram.percentile(0.999), histogram.max());
    for (int i = 0; i < Histogram::kBuckets; ++i) {
        if (histogram.bucket(i) == 0) continue;
        out += out.back() == '[' ? "[" : ",[";
        append_number(out, static_cast<uint64_t>(i));
        out.push_back(',');
        append_number(out, histogram.bucket(i));
        out.push_back(']');
    }
    out += "]}";
}

void add(PrefixRow& into, const PrefixRow& from) {
    for (const auto& [name, count] : kCounts) into.counts.*count += from.counts.*count;
    into.latency_us.merge(from.latency_us);
}

}  // namespace

Histogram histogram_of(const json& value) {
    Histogram histogram;
    if (!value.is_object() || !value.contains("buckets")) return histogram;
    for (const json& entry : value.at("buckets")) {
        const int index = entry.at(0).get<int>();
        if (index < 0 || index >= Histogram::kBuckets) continue;
        histogram.record_many(Histogram::bucket_upper(index), entry.at(1).get<uint64_t>());
    }
    histogram.set_totals(value.value("sum", uint64_t{0}), value.value("max", uint64_t{0}));
    return histogram;
}

void append_json(std::string& out, std::string_view name, const PrefixRow& row) {
    if (out.back() != '{') out.push_back(',');
    out += json_text(name);
    out += ":{";
    for (const auto& [field, count] : kCounts) {
        out.push_back('"');
        out += field;
        out += "\":";
        append_number(out, row.counts.*count);
        out.push_back(',');
    }
    out += "\"latency_us\":";
    append_histogram(out, row.latency_us);
    out.push_back('}');
}

void add_rows(PrefixRows& into, const json& prefixes) {
    std::vector<std::pair<std::string, PrefixRow>> rows;
    for (const auto& [name, fields] : prefixes.items()) {
        PrefixRow& row = rows.emplace_back(name, PrefixRow{}).second;
        for (const auto& [field, count] : kCounts)
            row.counts.*count = fields.value(field, uint64_t{0});
        const auto latency_us = fields.find("latency_us");
        if (latency_us != fields.end()) row.latency_us = histogram_of(*latency_us);
    }
    for (const auto& [name, row] : rows) add(into[name], row);
    if (into.size() <= limits::kProfilePrefixes_max + 1) return;
    std::vector<std::pair<uint64_t, std::string_view>> names;
    for (const auto& [name, row] : into) {
        if (name != kOtherNames) names.emplace_back(row.counts.requests, name);
    }
    std::sort(names.rbegin(), names.rend());
    PrefixRow& other = into[std::string(kOtherNames)];
    for (std::size_t i = limits::kProfilePrefixes_max; i < names.size(); ++i) {
        const auto row = into.find(names[i].second);
        add(other, row->second);
        into.erase(row);
    }
}

}  // namespace exodus::redis
