// Comparing answers and data: the values that the interlay's comparator, the verifier and the gates
// share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "core/protocol_worker.h"

namespace exodus {

enum class Verdict : uint8_t { equal, not_comparable, candidate };

/// Decides whether two different byte strings mean the same. Pure; called on the comparator thread.
class Normalizer {
  public:
    virtual ~Normalizer() = default;
    /// `reason` receives a bounded class name for a candidate ("value", "order", "ttl",
    /// "type_mismatch", ...).
    virtual Verdict judge(const ExchangePair& pair, std::string& reason) = 0;
};

enum class RecheckOutcome : uint8_t { equal, confirmed, unresolved, not_comparable };

/// Reads both sides again, in the order that proves a difference (redis.md 7). Blocks; comparator
/// thread only.
class Rechecker {
  public:
    virtual ~Rechecker() = default;
    virtual Result<RecheckOutcome> recheck(const ExchangePair& pair) = 0;
    /// Several at once, which costs the movement between the sides less; one outcome for each.
    virtual std::vector<Result<RecheckOutcome>> recheck_all(
        const std::vector<ExchangePair>& pairs) {
        std::vector<Result<RecheckOutcome>> outcomes;
        outcomes.reserve(pairs.size());
        for (const ExchangePair& pair : pairs) outcomes.push_back(recheck(pair));
        return outcomes;
    }
};

/// One confirmed difference in the data.
struct Divergence {
    std::string location;  ///< "db0"; "schema.table"; "database.collection"
    std::string key;       ///< as the family prints it; binary bytes escaped
    std::string kind;      ///< missing | extra | value | type | expiry | groups | ...
    std::string detail;    ///< digests, expiries; never a value
};

struct VerifyProgress {
    uint64_t done = 0;
    uint64_t total_estimate = 0;
    uint64_t candidates = 0;
    std::string waiting_for;  ///< empty when not waiting
    int round = 0;
};

struct VerifyResult {
    uint64_t source_keys = 0;
    uint64_t target_keys = 0;
    uint64_t compared = 0;
    uint64_t missing = 0;  ///< on source, not on target
    uint64_t extra = 0;    ///< on target, not on source
    uint64_t different = 0;
    uint64_t unresolved =
        0;  ///< changed faster than they could be read; not a difference, not a proof
    uint64_t kept =
        0;  ///< differ because the conflict policy keeps the target's own; no divergence
    std::vector<Divergence> samples;  ///< bounded (limits)
    [[nodiscard]] bool clean() const { return missing + extra + different + unresolved == 0; }
};

/// Compares all data of both sides. Runs on a workflow thread, blocks, resumable through the
/// Journal.
class Verifier {
  public:
    virtual ~Verifier() = default;
    using OnProgress = std::function<void(const VerifyProgress&)>;
    virtual Result<VerifyResult> run(const OnProgress& progress) = 0;
    /// Only these keys, as Movement::touched() gives them, while writes go on.
    virtual Result<VerifyResult> check(const std::vector<std::string>& keys,
                                       const OnProgress& progress) = 0;
    /// Inside the hold: nothing moves, so the answer is final. Reads open rows and recently touched
    /// keys once more.
    /// Ends at the deadline, whatever a server does: clients wait for it.
    virtual Result<VerifyResult> final_check(const std::vector<std::string>& touched_keys,
                                             Deadline deadline) = 0;
};

}  // namespace exodus
