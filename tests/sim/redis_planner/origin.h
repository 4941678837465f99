// The origin of a world: a server that is written at random, and its replication stream.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "dice.h"
#include "server.h"

namespace exodus::redis::sim {

struct Logged {
    int db;
    std::string raw;
    uint64_t end;
    uint64_t group;  ///< its EXEC's end; 0: alone
};

class Origin {
  public:
    /// Of `globals_every` writes one is to whole databases; 0: none.
    Origin(Dice& dice, const int64_t& now, uint64_t globals_every)
        : dice_(dice), now_(now), globals_every_(globals_every) {}

    void write();        ///< one command or one group
    void expire_some();  ///< the server removes a key that has expired
    [[nodiscard]] CopyItem read(const Key& key) const { return server_.read(key, offset_, now_); }
    [[nodiscard]] const Server& server() const { return server_; }
    [[nodiscard]] bool ends_with_global() const { return ends_with_global_; }
    [[nodiscard]] uint64_t offset() const { return offset_; }
    [[nodiscard]] const std::deque<Logged>& log() const { return log_; }

  private:
    void emit(int db, const std::vector<std::string>& words, uint64_t group);
    void delete_expired(int db, const std::string& name, uint64_t group);
    void write_one(uint64_t group);
    void write_keys(uint64_t group);
    void write_databases(uint64_t group);

    Dice& dice_;
    const int64_t& now_;
    uint64_t globals_every_;
    Server server_;
    std::deque<Logged> log_;  ///< commands of the lane view what is in it
    uint64_t offset_ = 0;
    bool ends_with_global_ = false;
};

}  // namespace exodus::redis::sim
