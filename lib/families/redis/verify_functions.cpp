#include "families/redis/verify_functions.h"

#include "base/limits.h"
#include "families/redis/functions.h"

namespace exodus::redis {

namespace {

void count(const LibraryComparison& compared, bool proven, VerifyResult& result) {
    result.kept += compared.kept;
    for (Divergence difference : compared.differences) {
        if (!proven) {
            ++result.unresolved;
            difference.kind = "unresolved";
            difference.detail = "changed faster than it could be read";
        } else if (difference.kind == "missing") {
            ++result.missing;
        } else if (difference.kind == "extra") {
            ++result.extra;
        } else {
            ++result.different;
        }
        if (result.samples.size() < limits::kVerifySamples_max)
            result.samples.push_back(std::move(difference));
    }
}

}  // namespace

Status verify_functions(PairReader& pair, const FamilyContext& context, Direction direction,
                        VerifyResult& result, const PairReader::OnWait& on_wait) {
    auto rules = library_rules(context, direction);
    if (!rules) return tl::unexpected<Error>(std::move(rules).error());
    auto left = read_libraries(pair.authority_client());
    if (!left) return tl::unexpected<Error>(std::move(left).error());
    for (int tries = 0;; ++tries) {
        auto replication = pair.authority_client().info("replication");
        if (!replication) return tl::unexpected<Error>(std::move(replication).error());
        EXODUS_TRY(pair.wait_applied(StreamPosition::of(*replication), on_wait));
        auto right = read_libraries(pair.other_client());
        if (!right) return tl::unexpected<Error>(std::move(right).error());
        const LibraryComparison compared = compare_libraries(*left, *right, *rules);
        auto again = compared.differences.empty() ? left : read_libraries(pair.authority_client());
        if (!again) return tl::unexpected<Error>(std::move(again).error());
        const bool stood = *again == *left;
        if (stood || tries == limits::kItemTries_max) {
            count(compared, stood, result);
            return {};
        }
        left = std::move(again);
    }
}

}  // namespace exodus::redis
