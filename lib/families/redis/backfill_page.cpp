// Backfill: what is asked of the origin for each key of a page (decision 0023). MEMORY USAGE, DUMP
// and PEXPIRETIME of every key are always right. Where the pages before held short strings, or keys
// without expiry, less is asked, in a way that tells by itself for which keys that was not enough:
// those are read again as always. Never is more of a value read than what its size allows.
#include "base/limits.h"
#include "families/redis/backfill.h"

namespace exodus::redis {

namespace {

/// After keys with an expiry were met, so many pages without any make it worth trying again.
constexpr int kPagesToTrust = 16;

}  // namespace

Status Backfill::fill_page(std::vector<Key> keys, const ScanPlace& after,
                           const std::stop_token& stop) {
    const std::size_t count = keys.size();
    if (place_.db != learned_db_) learned_ = {};
    learned_db_ = place_.db;
    ChunkRead how;
    how.expiries = learned_.without_expiries < learned_.to_trust;
    if (learned_.read != PageRead::whole) {
        auto allowed = strings_allowed();
        if (!allowed) return tl::unexpected<Error>(std::move(allowed).error());
        how.strings = *allowed;
    }
    seen_ = {};
    std::vector<Key> rest;
    if (how.strings && learned_.read == PageRead::by_type) EXODUS_TRY(split_by_type(keys, rest));
    for (;;) {
        std::vector<int64_t> sizes(keys.size(), static_cast<int64_t>(kShortString_bytes));
        if (!how.strings) {
            auto told = sizes_of(keys);
            if (!told) return tl::unexpected<Error>(std::move(told).error());
            sizes = std::move(*told);
        }
        auto copied = copy_keys(keys, sizes, how, after, rest, stop);
        if (!copied) return tl::unexpected<Error>(std::move(copied).error());
        if (!*copied) return {};
        if (rest.empty()) break;
        keys = std::exchange(rest, {});
        how = {.strings = false, .expiries = how.expiries || seen_.expiries};
    }
    learn_from_page(count);
    return {};
}

/// Leaves the strings in `keys`. A key that is another type by then is found when it is read.
Status Backfill::split_by_type(std::vector<Key>& keys, std::vector<Key>& rest) {
    for (const auto& key : keys) origin_->append({"TYPE", key.name});
    EXODUS_TRY(origin_->flush());
    std::vector<Key> strings;
    for (auto& key : keys) {
        auto type = origin_->read_reply();
        if (!type) return tl::unexpected<Error>(std::move(type).error());
        (type->text() == "string" ? strings : rest).push_back(std::move(key));
    }
    keys = std::move(strings);
    return {};
}

/// A user may have DUMP and not GETRANGE, or it has another name there: inside a MULTI that would
/// fail the whole chunk.
Result<bool> Backfill::strings_allowed() {
    if (strings_allowed_) return *strings_allowed_;
    auto reply = origin_->command({"GETRANGE", flow_.checkpoint_key, "0", "0"});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    strings_allowed_ = !reply->is_error();
    return *strings_allowed_;
}

/// A command on a key of another type is an error in the origin's statistics, which people watch:
/// types are only not asked for while no page shows any other.
void Backfill::learn_from_page(std::size_t keys) {
    if (keys == 0) return;
    learned_.read = 2 * seen_.strings < keys ? PageRead::whole
                    : seen_.others > 0       ? PageRead::by_type
                                             : PageRead::strings;
    if (seen_.expiries)
        learned_ = {learned_.read, 0, kPagesToTrust};
    else
        ++learned_.without_expiries;
}

}  // namespace exodus::redis
