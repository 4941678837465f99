// The copier: SCANs the origin, reads chunks of keys with their offsets, and queues them for the
// lane (redis.md 4.4). In a repair fill it then scans the destination for names that the origin
// lacks. One thread per movement; never writes to a server.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stop_token>

#include "families/redis/copy_pace.h"
#include "families/redis/flow.h"
#include "families/redis/origin_probe.h"
#include "families/redis/repair_reader.h"

namespace exodus::redis {

class Backfill {
  public:
    explicit Backfill(Flow& flow) : flow_(flow), reader_(DestinationFormat{}) {}
    /// Until stopped. Works whenever the queue's place is not done; reconnects by itself.
    void run(const std::stop_token& stop);
    /// From any thread: ends a wait for a server.
    void shutdown();

  private:
    Status connect();
    void disconnect();
    Status page(const std::stop_token& stop);
    Status copy_page(const std::stop_token& stop);
    Status repair_page(std::vector<Key> keys, const ScanPlace& after, const std::stop_token& stop);
    Status sweep_page(const std::stop_token& stop);
    Status big_piece(const std::stop_token& stop);
    std::shared_ptr<const BigKeyRound> big_round();
    Result<std::vector<int64_t>> sizes_of(const std::vector<Key>& keys);
    /// What cannot be read so is added to `rest`; the place moves on when that is empty behind it.
    /// False: the fill begins elsewhere.
    Result<bool> copy_keys(const std::vector<Key>& keys, const std::vector<int64_t>& sizes,
                           ChunkRead how, const ScanPlace& after, std::vector<Key>& rest,
                           const std::stop_token& stop);

    // backfill_page.cpp: what is asked of the origin for each key of a page
    Status fill_page(std::vector<Key> keys, const ScanPlace& after, const std::stop_token& stop);
    Status split_by_type(std::vector<Key>& keys, std::vector<Key>& rest);
    Result<bool> strings_allowed();
    void learn_from_page(std::size_t keys);

    // backfill_repair.cpp: what is equal is left, what only the destination has is removed
    Result<bool> leave_equal(std::vector<Key>& keys, std::vector<int64_t>& sizes,
                             const ScanPlace& after);
    Result<std::optional<std::vector<CopyItem>>> removals(const std::vector<Key>& extra,
                                                          uint64_t at, const std::string& replid);
    Result<bool> wait_applied(const StreamPosition& position);
    bool wait_executed();
    void note_difference(CopyItem& item) const;

    Result<std::vector<Key>> scan(Client& client, ScanPlace& place);
    void next_database(ScanPlace& place) const;

    // backfill_pace.cpp: how fast it reads
    Status keep_pace(const std::stop_token& stop);
    Status hear_idle(const std::stop_token& stop);
    [[nodiscard]] int page_keys() const;
    [[nodiscard]] bool gentle() const;
    void rest(int64_t page_us, const std::stop_token& stop);
    /// While it lives the page waits, and does not work the origin.
    class Waiting {
      public:
        explicit Waiting(Backfill& backfill) : sum_us_(backfill.waited_us_) {}
        ~Waiting() { sum_us_ += steady_us() - began_us_; }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;

      private:
        int64_t& sum_us_;
        const int64_t began_us_ = steady_us();
    };
    bool deliver(uint64_t id, std::vector<CopyItem> items, const ScanPlace& place,
                 const std::stop_token& stop);
    void throttle(std::size_t bytes, const std::stop_token& stop);

    Flow& flow_;
    KeyReader reader_;
    BigKeyReader big_reader_;
    uint64_t big_round_read_ = 0;  ///< the last round that was read to its end
    std::mutex client_mutex_;      ///< guards the pointers against shutdown()
    std::unique_ptr<Client> origin_;
    std::unique_ptr<Client> destination_;
    std::unique_ptr<RepairReader> repair_;                              ///< over both
    std::stop_token stop_;                                              ///< of run()
    std::unordered_map<Digest128, ComparedKey, DigestHash> differing_;  ///< of this page
    std::string run_id_;
    int databases_ = 16;
    int origin_rdb_ = 0;
    bool field_expiries_ = false;
    uint64_t generation_ = 0;
    // What the keys of a page are is what those of the pages before were, most of the time.
    enum class PageRead : uint8_t { whole, by_type, strings };
    struct Learned {
        PageRead read = PageRead::whole;
        int without_expiries = 0;  ///< pages in a row
        int to_trust = 1;          ///< so many of them let expiries be left out
    };
    struct Seen {
        bool expiries = false;
        std::size_t strings = 0;  ///< short ones
        std::size_t others = 0;
    };
    Learned learned_;
    int learned_db_ = -1;
    Seen seen_;                            ///< of this page
    std::optional<bool> strings_allowed_;  ///< of this connection
    ScanPlace place_;                      ///< of the next SCAN
    std::map<int, uint64_t> keyspace_;     ///< keys of each database when it connected
    OriginProbe probe_;
    CopyPace pace_;
    int64_t idle_heard_us_ = 0;  ///< steady; 0: not yet
    int64_t owed_us_ = 0;        ///< of rest
    int64_t waited_us_ = 0;      ///< of this page; see Waiting
    double tokens_ = 0;
    int64_t refilled_us_ = 0;
};

}  // namespace exodus::redis
