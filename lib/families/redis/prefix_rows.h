// What the traffic profile tells of the keys of one prefix, as rows that add up and as JSON. There
// may be hundreds with a histogram each, and a traffic thread writes them for every look at its
// counters: as text, without a tree of values.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/histogram.h"

namespace exodus::redis {

/// Of the sample, all of them.
struct PrefixCounts {
    uint64_t requests = 0;
    uint64_t writes = 0;
    uint64_t bytes = 0;      ///< of requests
    uint64_t bytes_out = 0;  ///< of answers
    uint64_t errors = 0;
};

struct PrefixRow {
    PrefixCounts counts;
    Histogram latency_us;  ///< without commands that may block
};

using PrefixRows = std::map<std::string, PrefixRow, std::less<>>;

/// Sums what has no row of its own.
inline constexpr std::string_view kOtherNames = "(other)";

/// A histogram from core's to_json(); empty when it is none.
Histogram histogram_of(const nlohmann::json& value);
/// Appends `"name":{…}` to an object's text, behind a comma when it is not the first; the histogram
/// as core's to_json() writes one.
void append_json(std::string& out, std::string_view name, const PrefixRow& row);
/// Adds the rows of such an object; throws json::exception where the types are others, before it
/// has added any. Of more than kProfilePrefixes_max names the rarest become "(other)".
void add_rows(PrefixRows& into, const nlohmann::json& prefixes);

}  // namespace exodus::redis
