// A server reduced to databases of strings with expiries, and to the commands that occur in the
// model.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "families/redis/planner.h"

namespace exodus::redis::sim {

inline constexpr int kDatabases = 3;
inline constexpr int kNames = 10;  ///< in each database

using Name = std::pair<int, std::string>;

struct Value {
    std::string text;
    int64_t expiry = -1;
    bool operator==(const Value&) const = default;
};

class Server {
  public:
    std::map<Name, Value> data;  ///< with what has expired and was not removed yet

    [[nodiscard]] const Value* find(const Name& name, int64_t now) const;
    /// The key as it is now, said to be its state at offset `at`.
    [[nodiscard]] CopyItem read(const Key& key, uint64_t at, int64_t now) const;
    /// Executes one command; the result of PEXPIRETIME, else 0.
    int64_t run(int db, const std::vector<std::string_view>& args, int64_t now);

  private:
    Value* alive(const Name& name, int64_t now);
    bool write_key(const std::string& verb, int db, const std::vector<std::string_view>& args,
                   int64_t now);
    bool write_keys(const std::string& verb, int db, const std::vector<std::string_view>& args,
                    int64_t now);
    bool write_databases(const std::string& verb, int db,
                         const std::vector<std::string_view>& args);
};

Key key_of(int db, int number);

}  // namespace exodus::redis::sim
