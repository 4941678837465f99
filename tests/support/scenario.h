// Steps that scenarios of tests/real share: a load through a rig's interlay, waiting for it,
// comparing both servers at rest.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/support/compare_servers.h"
#include "tests/support/ledger.h"
#include "tests/support/rig.h"

namespace exodus::test {

/// Options for a ledger that goes through the rig's interlay as the application user.
LedgerOptions load_through(const Rig& rig);

/// A connection as exodus' own user.
ContextPtr own(RedisServer& server);

/// Fails the test when the load does not get `more` writes acknowledged within 30 s.
void wait_for_load(const Ledger& ledger, uint64_t more);

/// Fails the test when a client was told something that is not documented, with all that was seen.
void require_no_violation(const Ledger& ledger);

/// With the load paused both servers must become equal within 30 s, whatever the direction of the
/// stream.
void check_equal(Rig& rig, Ledger& ledger);

/// init, an interlay under load, pretest and analyze: what stands before compare and migrate.
void bring_to_analyzed(Rig& rig, Ledger& ledger);

/// The result object of a command run with --json; fails the test when there is none.
nlohmann::json last_result(const std::string& out);

/// Ends the load and checks it on the side that must be the authority.
void check_ledger(Ledger& ledger, RedisServer& authority);

}  // namespace exodus::test
