// Keys that verify reads in batches, a few of them on their way at a time, so that no server waits
// for us. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "families/redis/canonical.h"

namespace exodus::redis {

struct VerifyBatch {
    int db = 0;
    uint64_t bytes = 0;  ///< of the keys, or more
    std::vector<std::string_view> names;
    std::vector<std::string> types = {};  ///< as the authority has them; for values only
    Snapshot authority = {};              ///< once it was read
};

enum class BatchRead : uint8_t { payloads, values };

/// What each reader holds of a batch, in the order of the readers.
using TakeBatch = std::function<void(VerifyBatch&, std::span<Snapshot>)>;

/// Reads every batch with every one of `readers`, which work at the same time.
Status read_batches(std::span<CanonicalReader* const> readers, BatchRead how,
                    std::span<VerifyBatch> batches, const TakeBatch& take);

}  // namespace exodus::redis
