// What the applications do with Redis, counted on a traffic thread (by the session or a tap) at
// bounded cost: features used, hot keys, key prefixes with their answers, sizes, TTLs. Costly parts
// see one request in `kSampleEvery`. Keys and prefixes are kept (escaped), values and credentials
// never. One per worker, not thread-safe; JSON texts are merged across workers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/compact_histogram.h"
#include "base/histogram.h"
#include "core/traffic_stats.h"
#include "families/redis/prefix_rows.h"
#include "families/redis/space_saving.h"
#include "wire/resp/command_table.h"
#include "wire/resp/reply_scanner.h"
#include "wire/resp/request_scanner.h"

namespace exodus::redis {

/// Name of the profile among TrafficStats::observations.
inline constexpr const char* kProfileObservation = "redis.profile";

class TrafficProfile {
  public:
    /// Each request once, when it is classified. `frame` may be the head of a large one. `seed`
    /// decides the sampling.
    explicit TrafficProfile(uint64_t seed = 0x9e3779b97f4a7c15);
    TrafficProfile(const TrafficProfile&) = delete;
    TrafficProfile& operator=(const TrafficProfile&) = delete;
    /// Returns the number of the key's prefix when the request is in the sample, else 0: who pairs
    /// replies keeps it for on_answer().
    uint16_t on_request(const resp::CommandRow& row, const resp::RequestFrame& frame, int database);
    /// A request of the sample (`prefix` is not 0) was answered, by a reply of this type and size.
    /// How long a blocking command waited is not kept.
    void on_answer(uint16_t prefix, const resp::CommandRow& row, uint64_t latency_us, char type,
                   std::size_t bytes);
    /// EXEC ran nothing.
    void on_aborted() { ++features_[kAborted]; }
    /// Counts from zero. Of requests on their way only the answers will be counted.
    void begin_anew();

    /// The profile as a JSON object, for observations[kProfileObservation].
    [[nodiscard]] std::string to_json() const;
    /// Sums two such texts; a text that is no profile counts as empty.
    static std::string merge(std::string_view left, std::string_view right);

    /// Adds this profile to the observations of `stats`, to what other workers have put there.
    void add_to(TrafficStats& stats) const { add_to(stats, to_json()); }
    static void add_to(TrafficStats& stats, std::string profile);

    /// Costly observations see one request in this many, at random.
    static constexpr uint32_t kSampleEvery = 8;

    /// What applications use; indexes of the counters.
    enum Feature : uint8_t {
        kTransactions,
        kWatches,
        kAborted,
        kScripts,
        kScriptsWithoutKeys,
        kFunctions,
        kBlocking,
        kSubscriptions,
        kPublishes,
        kSelects,
        kScans,
        kKeysCommand,
        kWaits,
        kMonitors,
        kTracking,
        kClientReply,
        kAuth,
        kHello3,
        kResets,
        kInline,
        kAdmin,
        kFlushes,
        kUnknown,
        kLargeRequests,
        kTtlSet,
        kTtlRemoved,
        kCrossDatabase,
        kFeatures
    };
    [[nodiscard]] uint64_t count(Feature feature) const { return features_[feature]; }

  private:
    bool sample();
    void count_feature(const resp::CommandRow& row, const resp::RequestFrame& frame);
    void note_unknown(const resp::RequestFrame& frame);
    void note_ttl(const resp::CommandRow& row, std::span<const std::string_view> arguments);
    uint16_t note_keys(const resp::CommandRow& row, const resp::RequestFrame& frame, int database);
    void note_value(const resp::CommandRow& row, std::span<const std::string_view> arguments);

    struct Prefix {
        PrefixCounts counts;
        CompactHistogram latency_us;
        uint16_t number = 0;  ///< place in numbered_, from 1
    };

    uint64_t random_;
    uint64_t requests_ = 0;
    uint64_t sampled_ = 0;
    std::array<uint64_t, kFeatures> features_{};
    std::map<int, uint64_t> databases_;  ///< sampled
    std::map<std::string, uint64_t, std::less<>> unknown_;
    std::map<std::string, uint64_t, std::less<>> cross_slot_;  ///< sampled, by command
    std::map<std::string, Prefix, std::less<>> prefixes_;      ///< sampled
    std::vector<Prefix*> numbered_;                            ///< into prefixes_
    SpaceSaving hot_keys_;
    Histogram key_bytes_;    ///< sampled
    Histogram value_bytes_;  ///< sampled: written by SET and its kin, read by GET and its kin
    Histogram ttl_s_;        ///< of TTLs that were set
    std::vector<std::string_view> arguments_;  ///< scratch
    std::vector<resp::KeyRef> keys_;           ///< scratch
    std::string label_;                        ///< scratch
};

}  // namespace exodus::redis
