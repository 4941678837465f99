#include "families/redis/verify_batches.h"

#include "base/limits.h"

namespace exodus::redis {

Status read_batches(std::span<CanonicalReader* const> readers, BatchRead how,
                    std::span<VerifyBatch> batches, const TakeBatch& take) {
    std::size_t requested = 0;
    std::vector<Snapshot> read(readers.size());
    for (std::size_t at = 0; at < batches.size(); ++at) {
        // Another database is selected only when nothing is on its way.
        while (requested < batches.size() && requested < at + limits::kVerifyBatchesAhead &&
               (requested == at || batches[requested].db == batches[at].db)) {
            const VerifyBatch& next = batches[requested++];
            for (CanonicalReader* reader : readers)
                EXODUS_TRY(how == BatchRead::payloads
                               ? reader->request_payloads(next.db, next.names)
                               : reader->request_typed(next.db, next.names, next.types));
        }
        VerifyBatch& batch = batches[at];
        for (std::size_t i = 0; i < readers.size(); ++i) {
            auto snapshot = how == BatchRead::payloads
                                ? readers[i]->take_payloads(batch.names.size())
                                : readers[i]->take_typed(batch.names.size(), batch.types);
            if (!snapshot) return tl::unexpected<Error>(std::move(snapshot).error());
            read[i] = std::move(*snapshot);
        }
        take(batch, read);
    }
    return {};
}

}  // namespace exodus::redis
