// Counting what applications do. The cheap part runs for every request, the part that hashes keys
// for one in eight.
#include "families/redis/traffic_profile.h"

#include <algorithm>

#include "base/limits.h"
#include "wire/resp/slot.h"
#include "wire/resp/value.h"

namespace exodus::redis {

namespace {

using resp::is_word;

/// Printable label of at most kProfileKey_bytes: other bytes as \xNN.
void escape_into(std::string& out, std::string_view key) {
    static constexpr char kHex[] = "0123456789abcdef";
    for (const char c : key.substr(0, limits::kProfileKey_bytes)) {
        if (c >= ' ' && c < 127 && c != '\\') {
            out.push_back(c);
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
        }
    }
}

/// "user:1000:name" → "user:*". Names the data's parts without naming a customer; a key without a
/// separator is "(none)".
std::string_view prefix_of(std::string_view key) {
    const std::size_t end = key.substr(0, 64).find_first_of(":./|#");
    if (end == std::string_view::npos || end == 0) return {};
    return key.substr(0, end + 1);
}

/// Counts by a name of which only a bounded number is kept.
template <class Map>
auto& bounded(Map& map, std::string_view name, std::size_t max) {
    auto found = map.find(name);
    if (found == map.end()) {
        found = map.size() < max ? map.emplace(std::string(name), typename Map::mapped_type{}).first
                                 : map.emplace(kOtherNames, typename Map::mapped_type{}).first;
    }
    return found->second;
}

constexpr std::size_t kNullBulk_bytes = 5;  // "$-1\r\n"; an empty one has 6

}  // namespace

TrafficProfile::TrafficProfile(uint64_t seed)
    : random_(seed | 1), hot_keys_(limits::kProfileHotKeys) {}

/// xorshift64: regular patterns of requests must not hide from the sample.
bool TrafficProfile::sample() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return (random_ >> 40) % kSampleEvery == 0;
}

uint16_t TrafficProfile::on_request(const resp::CommandRow& row, const resp::RequestFrame& frame,
                                    int database) {
    ++requests_;
    if (database != 0) ++features_[kCrossDatabase];
    if (frame.is_inline) ++features_[kInline];
    if (frame.partial) ++features_[kLargeRequests];
    const bool plain =
        row.effect <= resp::Effect::write && row.connection == resp::ConnectionClass::shared;
    if (!plain || row.keys.empty() || row.compare == resp::CompareRule::never ||
        row.has(resp::flag::kBlocking))
        count_feature(row, frame);
    if (row.effect == resp::Effect::write) note_ttl(row, frame.indexed_args());
    if (row.keys.empty() || !sample()) return 0;
    ++sampled_;
    ++databases_[std::clamp(database, -1, 1024)];
    if (!frame.partial) note_value(row, frame.indexed_args());
    return note_keys(row, frame, database);
}

void TrafficProfile::count_feature(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    const std::string_view name = row.name;
    const auto arguments = frame.indexed_args();
    if (!row.known) {
        ++features_[kUnknown];
        note_unknown(frame);
    } else if (name == "MULTI") {
        ++features_[kTransactions];
    } else if (name == "WATCH") {
        ++features_[kWatches];
    } else if (name.starts_with("EVAL") || name.starts_with("FCALL")) {
        ++features_[name[0] == 'E' ? kScripts : kFunctions];
        // Without a declared key a script may touch anything; more cannot be known from outside.
        if (arguments.size() > 2 && arguments[2] == "0") ++features_[kScriptsWithoutKeys];
    } else if (name == "WAIT" || name == "WAITAOF") {
        ++features_[kWaits];
    } else if (row.has(resp::flag::kBlocking)) {
        if (resp::may_block(row, arguments)) ++features_[kBlocking];
    } else if (row.effect == resp::Effect::pubsub) {
        ++features_[name == "MONITOR" ? kMonitors : kSubscriptions];
    } else if (name == "PUBLISH" || name == "SPUBLISH") {
        ++features_[kPublishes];
    } else if (name == "SELECT") {
        ++features_[kSelects];
    } else if (name == "SCAN") {
        ++features_[kScans];
    } else if (name == "KEYS") {
        ++features_[kKeysCommand];
    } else if (name == "CLIENT TRACKING") {
        ++features_[kTracking];
    } else if (name == "CLIENT REPLY") {
        ++features_[kClientReply];
    } else if (name == "AUTH") {
        ++features_[kAuth];
    } else if (name == "HELLO") {
        if (arguments.size() > 1 && arguments[1] == "3") ++features_[kHello3];
    } else if (name == "RESET") {
        ++features_[kResets];
    } else if (name == "FLUSHALL" || name == "FLUSHDB" || name == "SWAPDB") {
        ++features_[kFlushes];
    } else if (row.effect == resp::Effect::admin) {
        ++features_[kAdmin];
    }
}

void TrafficProfile::note_unknown(const resp::RequestFrame& frame) {
    label_.clear();
    escape_into(label_, frame.name().substr(0, 40));
    ++bounded(unknown_, label_, limits::kProfileUnknown_max);
}

void TrafficProfile::note_ttl(const resp::CommandRow& row,
                              std::span<const std::string_view> arguments) {
    std::string_view value;
    int64_t unit_ms = 1000;
    if (row.name == "SET" || row.name == "GETEX") {
        for (std::size_t i = row.name == "SET" ? 3 : 2; i < arguments.size(); ++i) {
            if (is_word(arguments[i], "PERSIST")) ++features_[kTtlRemoved];
            const bool seconds = is_word(arguments[i], "EX");
            const bool absolute = is_word(arguments[i], "EXAT") || is_word(arguments[i], "PXAT");
            if (!seconds && !absolute && !is_word(arguments[i], "PX")) continue;
            if (absolute) {  // no clock here: counted, without a length
                ++features_[kTtlSet];
                return;
            }
            if (i + 1 < arguments.size()) value = arguments[i + 1];
            unit_ms = seconds ? 1000 : 1;
            break;
        }
    } else if (row.name == "EXPIRE" || row.name == "SETEX") {
        if (arguments.size() > 2) value = arguments[2];
    } else if (row.name == "PEXPIRE" || row.name == "PSETEX") {
        if (arguments.size() > 2) value = arguments[2];
        unit_ms = 1;
    } else if (row.name == "EXPIREAT" || row.name == "PEXPIREAT") {
        ++features_[kTtlSet];
        return;
    } else if (row.name == "PERSIST") {
        ++features_[kTtlRemoved];
        return;
    }
    int64_t ttl = 0;
    if (value.empty() || !resp::parse_int(value, ttl)) return;
    ++features_[kTtlSet];
    if (ttl > 0) ttl_s_.record(static_cast<uint64_t>(unit_ms == 1 ? ttl / 1000 : ttl));
}

uint16_t TrafficProfile::note_keys(const resp::CommandRow& row, const resp::RequestFrame& frame,
                                   int database) {
    const auto arguments = frame.indexed_args();
    std::string_view first;
    // Beyond the indexed arguments only the first key counts: a sample must stay cheap for MSETs of
    // a million keys.
    if (frame.indexed == frame.argc && resp::extract_keys(row, arguments, keys_) &&
        !keys_.empty()) {
        first = keys_.front().key;
        for (const resp::KeyRef& key : keys_) {
            key_bytes_.record(key.key.size());
            label_ = std::to_string(database);
            label_.push_back(' ');
            escape_into(label_, key.key);
            hot_keys_.add(label_);
        }
        const uint16_t slot = resp::key_slot(first);
        if (std::any_of(keys_.begin(), keys_.end(),
                        [&](const resp::KeyRef& key) { return resp::key_slot(key.key) != slot; })) {
            ++bounded(cross_slot_, row.name, 64);
        }
    } else {
        first = resp::first_key(row, arguments);
        if (first.data() == nullptr) return 0;
        key_bytes_.record(first.size());
        label_ = std::to_string(database);
        label_.push_back(' ');
        escape_into(label_, first);
        hot_keys_.add(label_);
    }
    label_.clear();
    escape_into(label_, prefix_of(first));
    Prefix& prefix =
        bounded(prefixes_, label_.empty() ? std::string_view("(none)") : std::string_view(label_),
                limits::kProfilePrefixes_max);
    ++prefix.counts.requests;
    prefix.counts.bytes += frame.wire_bytes;
    if (row.writes()) ++prefix.counts.writes;
    if (prefix.number == 0) {
        numbered_.push_back(&prefix);
        prefix.number = static_cast<uint16_t>(numbered_.size());
    }
    return prefix.number;
}

void TrafficProfile::on_answer(uint16_t prefix, const resp::CommandRow& row, uint64_t latency_us,
                               char type, std::size_t bytes) {
    Prefix& of = *numbered_[prefix - 1U];
    of.counts.bytes_out += bytes;
    of.counts.errors += type == '-' || type == '!' ? 1 : 0;
    if (!row.has(resp::flag::kBlocking)) of.latency_us.record(latency_us);
    if (type == '$' && row.effect == resp::Effect::read && bytes > kNullBulk_bytes)
        value_bytes_.record(bytes);
}

/// The names of prefixes stay: requests on their way hold their numbers.
void TrafficProfile::begin_anew() {
    requests_ = sampled_ = 0;
    features_ = {};
    databases_.clear();
    unknown_.clear();
    cross_slot_.clear();
    for (Prefix* prefix : numbered_) {
        prefix->counts = {};
        prefix->latency_us = {};
    }
    hot_keys_ = SpaceSaving(limits::kProfileHotKeys);
    key_bytes_ = value_bytes_ = ttl_s_ = {};
}

void TrafficProfile::note_value(const resp::CommandRow& row,
                                std::span<const std::string_view> arguments) {
    if (row.name == "SET" || row.name == "GETSET" || row.name == "SETNX" || row.name == "APPEND") {
        if (arguments.size() > 2) value_bytes_.record(arguments[2].size());
    } else if (row.name == "SETEX" || row.name == "PSETEX" || row.name == "HSET") {
        if (arguments.size() > 3) value_bytes_.record(arguments[3].size());
    } else if (row.name == "LPUSH" || row.name == "RPUSH" || row.name == "SADD") {
        for (const std::string_view element :
             arguments.subspan(std::min<std::size_t>(2, arguments.size())))
            value_bytes_.record(element.size());
    }
}

}  // namespace exodus::redis
