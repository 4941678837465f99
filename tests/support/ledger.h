// A load whose every write can be accounted for: unique ids, one writer per key, every
// acknowledgement remembered. After any number of switches, rollbacks and crashes `check` reads the
// authority and says which acknowledged write is missing or was applied twice. Used by tests/real
// and by the example.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/histogram.h"
#include "tests/support/redis_server.h"

namespace exodus::test {

struct LedgerOptions {
    int port = 0;
    std::string user;
    std::string password;
    int writers = 8;  ///< half of them pipeline
    int pipeline = 16;
    int poppers = 2;    ///< BLPOP consumers, each with a producer
    int databases = 2;  ///< writer w works in database w mod this
    int64_t pause_us =
        500;  ///< between two requests (or batches) of one writer; 0: as fast as it can
    uint64_t seed = 1;
    /// Crash tests: go on after a lost connection, and take what exodus says of one as documented.
    /// Else a loss is a violation.
    bool reconnect = true;
};

struct LedgerSummary {
    uint64_t acknowledged = 0;
    uint64_t unknown = 0;  ///< sent, connection lost or "outcome unknown": at most once
    uint64_t refused = 0;  ///< documented refusals, EXECs answered nil: not executed
    uint64_t reads = 0;
    uint64_t watches_broken = 0;  ///< EXECs answered nil although the client changed nothing
    uint64_t connections_lost = 0;
    std::map<std::string, uint64_t> errors;  ///< by text (bounded)
    Histogram latency_us;                    ///< of every request
};

class LedgerPopper;
class LedgerWriter;
struct LedgerSwitches;

class Ledger {
  public:
    explicit Ledger(LedgerOptions options);
    ~Ledger();

    void start();
    /// Lets requests in flight finish and ends all threads.
    void stop();
    /// Stops and resumes sending without closing a connection; returns when no write is in flight.
    void pause(bool paused);
    [[nodiscard]] LedgerSummary summary() const;
    /// What was seen wrong while running (stale reads, counters that jumped, undocumented errors).
    [[nodiscard]] std::vector<std::string> violations() const;
    /// After stop(): reads everything on `port` (the authority) and returns what does not fit.
    /// Empty: exact.
    [[nodiscard]] std::vector<std::string> check(int port, const std::string& user = {},
                                                 const std::string& password = {}) const;
    /// Changes the latency histogram to a new one and returns what was in it: to look at one
    /// switch.
    Histogram take_latency();

  private:
    LedgerOptions options_;
    std::unique_ptr<LedgerSwitches> switches_;
    std::vector<std::unique_ptr<LedgerWriter>> writers_;
    std::vector<std::unique_ptr<LedgerPopper>> poppers_;
    std::vector<std::thread> threads_;
};

/// A realistic data set: strings, lists, sets, hashes, sorted sets, streams with groups, TTLs,
/// HyperLogLogs, bitmaps, geo, one big hash (7 MiB at 100,000 fields), a function library. About
/// `keys` keys over databases 0 and 1. Deterministic for a seed.
void fill_server(redisContext* context, uint64_t keys, uint64_t seed,
                 uint64_t big_fields = 100'000);

}  // namespace exodus::test
