// What a verification keeps durable: how far it is and what it has found, so that a killed one goes
// on where it was, and the open rows that the final check in a hold reads again.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/compare.h"
#include "core/journal.h"
#include "core/movement.h"
#include "families/redis/pair_reader.h"

namespace exodus::redis {

/// How far round 0 is.
struct VerifyCursor {
    bool second_pass = false;  ///< false: scanning the authority; true: scanning the other side
    std::size_t db_index = 0;
    std::string scan = "0";
    std::vector<int> dbs;
};

struct VerifyRun {
    VerifyCursor cursor;
    VerifyResult result;  ///< source_keys: of the authority, target_keys: of the other side
    std::set<KeyName> candidates;
    std::set<KeyName> open;  ///< confirmed or unresolved
};

/// Of which configuration, copy and servers a record is: SCAN cursors of another process mean
/// nothing, and what an earlier copy lacked says nothing about this one.
struct VerifyIdentity {
    std::string config_hash;
    std::string lineage;  ///< of the movement: where its copy began
    std::string authority_run_id;
    std::string other_run_id;
    int64_t age_ms_max = 0;
};

class VerifyRecord {
  public:
    VerifyRecord(Journal& journal, Direction direction)
        : journal_(journal),
          record_("verify:" + std::string(to_string(direction))),
          open_record_("verify-open:" + std::string(to_string(direction))) {}

    /// Into `run` what a killed verification of the same identity has stored. False: there is none,
    /// `run` is as it was. Error data: damaged.
    Result<bool> load(const VerifyIdentity& identity, VerifyRun& run);
    Status save(const VerifyIdentity& identity, const VerifyRun& run);
    Status erase();
    /// And what a final check would read again: the copy they are about is given up.
    Status forget();

    /// Rows that a final check must read again; none are kept when there are none.
    Status save_open(std::set<KeyName> keys);
    Result<std::set<KeyName>> load_open();

  private:
    Journal& journal_;
    std::string record_;
    std::string open_record_;
};

}  // namespace exodus::redis
