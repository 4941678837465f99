// A queue of the ledger: one producer, and one consumer that waits in BLPOP.
#pragma once

#include <string>
#include <vector>

#include "tests/support/ledger_account.h"
#include "tests/support/ledger_books.h"

namespace exodus::test {

class LedgerPopper {
  public:
    LedgerPopper(const LedgerOptions& options, int number, LedgerSwitches& switches);

    LedgerAccount account;

    void produce();
    void consume();
    void check(redisContext* context, std::vector<std::string>& found) const;

  private:
    bool connected(ContextPtr& context);

    const LedgerOptions& options_;
    std::string queue_;
    LedgerSwitches& switches_;
    IdLog produced_;
    std::vector<uint64_t> consumed_;
    uint64_t unknown_pops_ = 0;
};

}  // namespace exodus::test
