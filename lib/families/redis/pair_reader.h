// Both sides of a comparison at known offsets: connections to the authority and to the other side,
// waiting until the other has applied what was read, and the proof whether a key differs (redis.md
// 7). Used by the verifier and the rechecker.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/family.h"
#include "families/redis/canonical.h"
#include "families/redis/client.h"

namespace exodus::redis {

struct KeyName {
    int db = 0;
    std::string name;
    auto operator<=>(const KeyName&) const = default;  // NOLINT(modernize-use-nullptr): a bug of 14
};

/// What a proof about one key ended with; `difference` undecided: it changed while it was read.
struct KeyProof {
    Difference difference = Difference::undecided;
    KeyState authority;
    KeyState other;
};

class PairReader {
  public:
    using OnWait = std::function<void(const std::string& what)>;

    PairReader(const FamilyContext& context, Side authority, Following following);

    /// From here on no command waits beyond it; for a check inside a hold.
    void end_at(Deadline deadline);
    /// Connects what is not connected (or broken). Errors: unreachable, permission.
    Status connect();
    /// Waits until the other side has applied `position`. Errors: timeout after kVerifyWait_ms, the
    /// mover's own.
    Status wait_applied(const StreamPosition& position, const OnWait& on_wait = {});

    /// WATCH, offset, wait, other side, then the authority inside EXEC: not one write to the keys
    /// lies between, so a difference is one. All keys in one database. A batch that was touched is
    /// undecided as a whole.
    Result<std::vector<KeyProof>> prove(int db, const std::vector<std::string_view>& names,
                                        const OnWait& on_wait = {});
    using ReadAuthority = std::function<Result<StreamPosition>()>;
    using ReadOther = std::function<Status()>;
    /// Reads both sides at one place of the stream: the stream stands, `read_authority` reads and
    /// says where that was, the stream goes on to exactly there, `read_other` reads. False: it did
    /// not stand long enough (or nothing follows), and what was read proves nothing.
    Result<bool> at_one_place(const ReadAuthority& read_authority, const ReadOther& read_other);
    /// For keys that never stand still long enough for prove(): the stream stands for them instead.
    /// Undecided: it did not stand, or the key is too large to be read in one piece.
    Result<std::vector<KeyProof>> prove_hot(int db, const std::vector<std::string_view>& names);

    [[nodiscard]] Client& authority_client() { return *authority_.client; }
    [[nodiscard]] Client& other_client() { return *other_.client; }
    [[nodiscard]] CanonicalReader& authority() { return *authority_.reader; }
    [[nodiscard]] CanonicalReader& other() { return *other_.reader; }
    /// run_id of the server behind it, as of connect().
    [[nodiscard]] const std::string& authority_run_id() const { return authority_.run_id; }
    [[nodiscard]] const std::string& other_run_id() const { return other_.run_id; }

  private:
    struct End {
        Side side = Side::source;
        std::unique_ptr<Client> client;
        std::unique_ptr<CanonicalReader> reader;
        std::string run_id;
    };
    Status connect_end(End& end);
    Result<KeyProof> prove_big(int db, std::string_view name, const OnWait& on_wait);

    const Settings& settings_;
    Dialer& dialer_;
    Following following_;
    End authority_;
    End other_;
    StreamPosition known_applied_;
    std::optional<Deadline> end_;
    int64_t rest_until_us_ = 0;  ///< the stream does not stand again before
};

}  // namespace exodus::redis
