// Compares keys of an origin with what its destination has, at known offsets of the origin's
// stream, so that a repair writes only what differs (redis.md 4.10, 6 "Repair"). Used by the copier
// and by the conflict policies; it writes nothing.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "families/redis/canonical.h"
#include "families/redis/client.h"

namespace exodus::redis {

/// A key as both sides have it. With `difference` none the destination holds the origin's state at
/// `at`.
struct ComparedKey {
    Difference difference = Difference::undecided;
    uint64_t at = 0;
    KeyState origin;
    KeyState destination;
    /// "origin: hash 1f… expiry none; destination: absent"; digests, never a value.
    [[nodiscard]] std::string detail() const;
};

class RepairReader {
  public:
    /// Waits until the destination has applied this place of the origin's stream. False: given up,
    /// the comparison is void.
    using WaitApplied = std::function<Result<bool>(const StreamPosition& position)>;
    using Names = std::span<const std::string_view>;

    RepairReader(Client& origin, const ServerVersion& origin_version, Client& destination,
                 const ServerVersion& destination_version, WaitApplied wait)
        : origin_(origin, origin_version),
          destination_(destination, destination_version),
          wait_(std::move(wait)) {}

    /// One result per name, in their order; nothing when the wait was given up. Names of one
    /// database.
    Result<std::optional<std::vector<ComparedKey>>> compare(int db, Names names);

  private:
    struct Part {
        std::vector<std::size_t> indexes;  ///< of the names
        std::vector<std::string_view> names;
        Snapshot origin;
    };
    Result<bool> compare_payloads(int db, std::vector<Part>& parts, std::vector<ComparedKey>& out);
    Result<bool> compare_values(int db, std::vector<Part>& parts, std::vector<ComparedKey>& out);
    Result<bool> compare_big(int db, std::string_view name, ComparedKey& out);
    void decide(const Part& part, const Snapshot& destination, std::vector<ComparedKey>& out) const;

    CanonicalReader origin_;
    CanonicalReader destination_;
    WaitApplied wait_;
};

}  // namespace exodus::redis
