// One client of the ledger: every verb of a write that can be accounted for, on keys of its own,
// either in pipelined batches or one request at a time.
#pragma once

#include <array>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/support/ledger_account.h"
#include "tests/support/ledger_books.h"

namespace exodus::test {

class LedgerWriter {
  public:
    LedgerWriter(const LedgerOptions& options, int number, LedgerSwitches& switches);

    LedgerAccount account;

    /// Until stopping, or a violation that nothing can follow.
    void run();
    /// Everything that it wrote, on a connection to the authority.
    void check(redisContext* context, std::vector<std::string>& found) const;

  private:
    enum class Kind {
        incr,
        append,
        lpush,
        xadd,
        sadd,
        hincrby,
        multi,
        multi_databases,  ///< with SELECT inside
        eval,
        multi_eval,
        watch,
        watch_touched,  ///< what is watched changes: EXEC must answer nil
        expiring,
        get,
        last_of_kinds = get
    };
    /// A write of the ledger: one request, or a transaction of several.
    struct Operation {
        Kind kind = Kind::get;
        uint64_t id = 0;
        std::string key;
        std::vector<std::vector<std::string>> requests;
        std::size_t multi_at = kNoMulti;  ///< which request is MULTI; the last one is EXEC then
        int ttl_index = 0;
        int64_t sent_ms = 0;
        int64_t relative_ms = 0;  ///< EXPIRE: counted from when the server ran it
    };
    static constexpr std::size_t kNoMulti = ~std::size_t{0};
    static constexpr int kExpiring = 64;

    Operation next_operation();
    void make_expiring(Operation& operation);
    void one_batch(redisContext* context, int size);
    void settle(const Operation& operation, const std::vector<ReplyPtr>& replies,
                int64_t latency_us);
    Outcome judge(const Operation& operation, const std::vector<ReplyPtr>& replies);
    Outcome judge_exec(const Operation& operation, const redisReply* reply, std::size_t queued,
                       bool refused_before);
    void settle_expiring(const Operation& operation, Outcome outcome);
    void count(Counter& counter, const redisReply* reply, bool acknowledged, const char* what);
    [[nodiscard]] int database() const { return number_ % std::max(options_.databases, 1); }
    [[nodiscard]] int other_database() const {
        return (number_ + 1) % std::max(options_.databases, 1);
    }
    [[nodiscard]] std::string key(const std::string& name) const;
    [[nodiscard]] std::string log_key(const char* name, uint64_t id) const;

    const LedgerOptions& options_;
    int number_;
    LedgerSwitches& switches_;
    std::mt19937_64 random_;
    uint64_t next_id_ = 1;
    Counter incr_;
    Counter hincrby_;
    Counter touched_;
    std::map<std::string, IdLog> append_, lpush_, xadd_, sadd_, touched_lists_;
    AtomicLog multi_, multi_databases_, eval_, watch_;
    std::array<Expiring, kExpiring> expiring_{};
};

}  // namespace exodus::test
