#include "families/redis/backfill.h"

#include <algorithm>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "families/redis/copy_estimate.h"

namespace exodus::redis {

namespace {

constexpr int kNice = 10;          ///< of the copier's thread
constexpr milliseconds kIdle{50};  ///< looks again for what nobody tells, such as room in the spool

}  // namespace

void Backfill::run(const std::stop_token& stop) {
    stop_ = stop;
    // On a machine that is short of cores the threads that clients wait for come first.
    (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
    int64_t back_off = limits::kRetry_ms_min;
    generation_ = flow_.queue.generation();
    place_ = flow_.queue.place();
    while (!stop.stop_requested()) {
        const uint64_t seen = flow_.copier_work.seen();
        if (const uint64_t now = flow_.queue.generation(); now != generation_) {
            generation_ = now;
            place_ = flow_.queue.place();
            big_reader_.forget();  // pieces may have been dropped
        }
        const bool paused = flow_.paused && place_.phase != ScanPlace::Phase::done;
        const bool nothing = place_.phase == ScanPlace::Phase::done && !big_round();
        if (nothing || paused || flow_.spool_pressed || flow_.followed().empty() ||
            flow_.destination_rdb == 0) {
            flow_.note(&MovementStatus::throttled, {});  // nothing is read that could be slowed
            probe_.end();
            flow_.copier_work.wait(seen, stop, kIdle);
            continue;
        }
        const Status done = page(stop);
        flow_.queue.abandon();
        if (done) {
            back_off = limits::kRetry_ms_min;
            continue;
        }
        if (stop.stop_requested()) return;
        // Another history or a lost connection: the link finds out what happened; until then
        // nothing is read.
        disconnect();
        place_ = flow_.queue.place();
        big_reader_.forget();
        flow_.note(&MovementStatus::degraded, "copy: " + done.error().message);
        wait_unless_stopped(stop, milliseconds(back_off));
        back_off = std::min(back_off * 2, limits::kRetry_ms_max);
    }
}

Status Backfill::connect() {
    auto origin = flow_.connect(flow_.origin, "copy");
    if (!origin) return tl::unexpected<Error>(std::move(origin).error());
    {
        const std::lock_guard lock(client_mutex_);
        origin_ = std::move(*origin);
    }
    auto info = origin_->info("server");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    run_id_ = info->get("run_id");
    strings_allowed_.reset();
    (void)origin_->command(
        {"CLIENT", "NO-TOUCH", "ON"});  // >= 7.2: reading does not change idle times
    auto version = rdb_version_of(*origin_);
    if (!version) return tl::unexpected<Error>(std::move(version).error());
    origin_rdb_ = *version;
    auto server = origin_->server_version();
    if (!server) return tl::unexpected<Error>(std::move(server).error());
    field_expiries_ = server->has_field_expiries();
    auto databases = origin_->config_get("databases");
    databases_ =
        databases && *databases ? static_cast<int>(to_number(**databases).value_or(16)) : 16;
    auto keyspace = origin_->info("keyspace");
    if (!keyspace) return tl::unexpected<Error>(std::move(keyspace).error());
    keyspace_ = keyspace->keyspace();
    auto destination = flow_.connect(flow_.destination, "sweep");
    if (!destination) return tl::unexpected<Error>(std::move(destination).error());
    auto format = DestinationFormat::of(**destination);
    if (!format) return tl::unexpected<Error>(std::move(format).error());
    reader_ = KeyReader(*format);
    auto destination_info = (*destination)->info("server");
    if (!destination_info) return tl::unexpected<Error>(std::move(destination_info).error());
    repair_ = std::make_unique<RepairReader>(
        *origin_, ServerVersion::of(*info), **destination, ServerVersion::of(*destination_info),
        [this](const StreamPosition& position) { return wait_applied(position); });
    const std::lock_guard lock(client_mutex_);
    destination_ = std::move(*destination);
    return {};
}

void Backfill::disconnect() {
    probe_.end();
    repair_.reset();
    const std::lock_guard lock(client_mutex_);
    origin_.reset();
    destination_.reset();
}

void Backfill::shutdown() {
    probe_.shutdown();
    const std::lock_guard lock(client_mutex_);
    if (origin_) origin_->shutdown();
    if (destination_) destination_->shutdown();
}

Status Backfill::page(const std::stop_token& stop) {
    if (!origin_) EXODUS_TRY(connect());
    EXODUS_TRY(keep_pace(stop));
    waited_us_ = 0;
    const int64_t began_us = steady_us();
    EXODUS_TRY(big_round()                              ? big_piece(stop)
               : place_.phase == ScanPlace::Phase::copy ? copy_page(stop)
                                                        : sweep_page(stop));
    rest(steady_us() - began_us, stop);
    return {};
}

Result<std::vector<Key>> Backfill::scan(Client& client, ScanPlace& place) {
    EXODUS_TRY(client.select(place.db));
    auto reply = client.ask({"SCAN", place.cursor, "COUNT", std::to_string(page_keys())});
    if (!reply)
        return fail(std::move(reply).error(), fmt::format("scanning database {}", place.db));
    place.cursor = (*reply)[0].text();
    std::vector<Key> keys;
    const ReplyView names = (*reply)[1];
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto name = names[i].text();
        if (flow_.scope.contains(name))
            keys.push_back({place.db, std::string(name), key_hash(place.db, name)});
    }
    return keys;
}

void Backfill::next_database(ScanPlace& place) const {
    place.cursor = "0";
    if (++place.db < databases_) return;
    place.db = 0;
    place.phase = place.phase == ScanPlace::Phase::copy && place.repair ? ScanPlace::Phase::sweep
                                                                        : ScanPlace::Phase::done;
}

Status Backfill::copy_page(const std::stop_token& stop) {
    if (place_.run_id != run_id_) place_.cursor = "0";  // hash seeds differ after a restart
    place_.run_id = run_id_;  // in place_ itself: chunks before the page's last one store it
    {
        const std::lock_guard lock(flow_.mutex);
        flow_.status.items_total_estimate =
            flow_.status.items_done + keys_left(keyspace_, flow_.queue.place());
    }
    ScanPlace place = place_;
    auto keys = scan(*origin_, place);
    if (!keys) return tl::unexpected<Error>(std::move(keys).error());
    if (place.cursor == "0") next_database(place);
    differing_.clear();
    return place.repair ? repair_page(std::move(*keys), place, stop)
                        : fill_page(std::move(*keys), place, stop);
}

/// Bytes of each key; -1 for one that is to be copied in pieces.
Result<std::vector<int64_t>> Backfill::sizes_of(const std::vector<Key>& keys) {
    for (const auto& key : keys) origin_->append({"MEMORY", "USAGE", key.name});
    EXODUS_TRY(origin_->flush());
    std::vector<int64_t> sizes;
    std::vector<std::size_t> large;
    const BigKeySizes big{reader_.may_need_typed(origin_rdb_), field_expiries_};
    for (std::size_t i = 0; i < keys.size(); ++i) {
        auto size = origin_->read_reply();
        if (!size) return tl::unexpected<Error>(std::move(size).error());
        sizes.push_back(size->integer());
        if (big.may_be(sizes.back())) large.push_back(i);
    }
    for (const auto i : large) origin_->append({"TYPE", keys[i].name});
    auto types = origin_->read_all(large.size());
    if (!types) return tl::unexpected<Error>(std::move(types).error());
    for (std::size_t n = 0; n < large.size(); ++n) {
        int64_t& size = sizes[large[n]];
        if (big.in_pieces(kind_of_name((*types)[n].text()), size)) size = -1;
    }
    return sizes;
}

std::shared_ptr<const BigKeyRound> Backfill::big_round() {
    const std::lock_guard lock(flow_.mutex);
    return flow_.big_round && flow_.big_round->round != big_round_read_ ? flow_.big_round : nullptr;
}

/// One piece of the big key that the lane asks for. It takes the way of every chunk, so that it is
/// written in the order in which it was read.
Status Backfill::big_piece(const std::stop_token& stop) {
    const auto round = big_round();
    if (!round) return {};
    const uint64_t id = flow_.queue.begin(flow_.link_end, generation_);
    auto item = big_reader_.next(*origin_, *round, flow_.followed());
    if (!item) return tl::unexpected<Error>(std::move(item).error());
    const bool last = item->piece.last;
    const std::size_t bytes = item->bytes.size();
    std::vector<CopyItem> items;
    items.push_back(std::move(*item));
    if (!deliver(id, std::move(items), place_, stop)) {
        big_reader_.forget();
        return {};
    }
    if (last) big_round_read_ = round->round;
    throttle(bytes, stop);
    return {};
}

Result<bool> Backfill::copy_keys(const std::vector<Key>& keys, const std::vector<int64_t>& sizes,
                                 ChunkRead how, const ScanPlace& after, std::vector<Key>& rest,
                                 const std::stop_token& stop) {
    const std::string replid = flow_.followed();
    // Chunks are pipelined while nothing has to be read in between and their sum stays small.
    const bool pipelined = how.strings || !reader_.may_need_typed(origin_rdb_);
    // Of short strings only the bound is known: a page of them is small whatever it says.
    const std::size_t chunk_bytes =
        gentle() && !how.strings ? limits::kChunk_bytes / 4 : limits::kChunk_bytes;
    const std::size_t pipe_bytes = gentle() ? chunk_bytes : 8 * chunk_bytes;
    struct Sent {
        uint64_t id;
        std::vector<Key> keys;
        std::vector<Key> big;
    };
    std::vector<Sent> sent;
    std::size_t at = 0;
    std::size_t in_pipe = 0;
    const auto receive = [&]() -> Result<bool> {
        EXODUS_TRY(origin_->flush());
        for (std::size_t i = 0; i < sent.size(); ++i) {
            auto chunk = reader_.receive(*origin_, sent[i].keys, replid, how);
            if (!chunk) return tl::unexpected<Error>(std::move(chunk).error());
            seen_.expiries = seen_.expiries || chunk->expiries;
            seen_.strings += chunk->strings;
            seen_.others += chunk->others;
            for (auto& key : chunk->rest) rest.push_back(std::move(key));
            std::size_t bytes = 0;
            for (auto& item : chunk->items) {
                bytes += item.bytes.size();
                note_difference(item);
            }
            for (auto& key : sent[i].big) {
                CopyItem named;
                named.key = std::move(key);
                named.big = true;
                note_difference(named);
                chunk->items.push_back(std::move(named));
            }
            const bool last = i + 1 == sent.size() && at >= keys.size() && rest.empty();
            ScanPlace done = place_;
            if (!deliver(sent[i].id, std::move(chunk->items), last ? after : done, stop))
                return false;
            throttle(bytes, stop);
        }
        sent.clear();
        in_pipe = 0;
        return true;
    };
    do {
        std::vector<Key> part;
        std::vector<Key> big;
        std::size_t bytes = 0;
        while (at < keys.size() && part.size() < limits::kChunkKeys_max &&
               (part.empty() || bytes < chunk_bytes)) {
            if (sizes[at] < 0) {
                big.push_back(keys[at++]);
                continue;
            }
            const auto size = static_cast<std::size_t>(sizes[at]);
            if (!part.empty() && bytes + size > chunk_bytes) break;
            bytes += size;
            part.push_back(keys[at++]);
        }
        const uint64_t id = flow_.queue.begin(flow_.link_end, generation_);
        KeyReader::send(*origin_, part.empty() ? place_.db : part.front().db, part, how);
        sent.push_back({id, std::move(part), std::move(big)});
        in_pipe += bytes;
        if (at < keys.size() && pipelined && in_pipe < pipe_bytes) continue;
        auto going = receive();
        if (!going) return tl::unexpected<Error>(std::move(going).error());
        if (!*going) {  // dropped: what is still in the pipe is thrown away with the connection
            if (origin_->pending_replies() > 0) disconnect();
            return false;
        }
    } while (at < keys.size());
    if (rest.empty()) place_ = after;
    return true;
}

Status Backfill::sweep_page(const std::stop_token& stop) {
    ScanPlace place = place_;
    auto info = destination_->info("server");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    if (place.run_id != info->get("run_id")) place.cursor = "0";
    place.run_id = info->get("run_id");
    const std::string replid = flow_.followed();
    auto selected = destination_->command({"SELECT", std::to_string(place.db)});
    if (!selected) return tl::unexpected<Error>(std::move(selected).error());
    std::vector<Key> keys;
    if (selected->is_error()) {  // fewer databases there
        place.cursor = "0";
    } else {
        auto scanned = scan(*destination_, place);
        if (!scanned) return tl::unexpected<Error>(std::move(scanned).error());
        keys = std::move(*scanned);
    }
    const ScanPlace after = [&] {
        ScanPlace next = place;
        if (next.cursor == "0") next_database(next);
        return next;
    }();
    const uint64_t id = flow_.queue.begin(flow_.link_end, generation_);
    origin_->append({"MULTI"});
    origin_->append({"SELECT", std::to_string(place_.db)});
    for (const auto& key : keys) origin_->append({"EXISTS", key.name});
    origin_->append({"INFO", "replication"});
    origin_->append({"EXEC"});
    auto replies = origin_->read_all();
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    const Reply& exec = replies->back();
    if (exec.is_error() || exec.size() != keys.size() + 2)
        return tl::unexpected<Error>(error_of(exec, "sweep"));
    const auto at = offset_of_info(exec[keys.size() + 1].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    std::vector<Key> extra;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (exec[i + 1].integer() == 0) extra.push_back(keys[i]);
    }
    auto items = removals(extra, *at, replid);
    if (!items) return tl::unexpected<Error>(std::move(items).error());
    if (!*items) return {};
    if (deliver(id, std::move(**items), after, stop)) place_ = after;
    return {};
}

}  // namespace exodus::redis
