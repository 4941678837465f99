// A rig that was brought to `ready` under load, and what such tests ask of it.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/support/scenario.h"

namespace exodus::test {

struct Following {
    Rig rig;
    Ledger ledger;
    bool reconnects;
    /// `reconnect`: the load survives a lost connection, for tests that kill the interlay.
    explicit Following(RigOptions options, bool reconnect = false);
    /// The load must go on as if nothing had happened: no error, and no lost connection unless it
    /// may reconnect.
    void check_unaffected();
    /// Every read goes to the target too, until answers of it were really compared.
    void mirror_everything();
    void check_compares();
};

/// "forward" or "reverse" in `status --json`.
nlohmann::json movement(Rig& rig, const std::string& direction);
/// A text field of "forward" or "reverse" in `status --json`.
std::string movement_field(Rig& rig, const std::string& direction, const std::string& field);

/// A counter of the interlay, by its place in `ctl traffic`.
uint64_t traffic(Rig& rig, const std::string& pointer);

/// Pauses the load until everything that was spooled meanwhile is applied.
void wait_applied(Rig& rig, Ledger& ledger);

/// Keys of all databases.
uint64_t key_count(RedisServer& server);

}  // namespace exodus::test
