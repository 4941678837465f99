#include "families/redis/link.h"

#include <fmt/format.h>

#include "base/digest.h"
#include "base/limits.h"
#include "base/stop_token.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

Result<StreamPosition> origin_now(Client& client) {
    auto info = client.info("replication");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    if (info->get("role") != "master") {
        return fail(ErrorCode::unreachable,
                    "the origin is a replica (role " + info->get("role") + ")",
                    "point the endpoint at the primary");
    }
    return StreamPosition::of(*info);
}

Result<std::unique_ptr<Client>> Link::dial() {
    return Client::connect(dialer_, endpoint_,
                           {.timeout = options_.connect, .name = "exodus-link", .database = 0});
}

/// 4.2 step 2: makes the origin create its backlog. It does so when a replica asks for a full
/// synchronisation, before it forks; we leave as soon as it is there. With diskless replication the
/// fork comes only after repl-diskless-sync-delay, and so never (2a). Else there is one: of nothing
/// but functions from 7.0 on (2b), of all data below (2c), which the operator must have accepted.
Status Link::activate_backlog(Client& control, const std::stop_token& stop) {
    auto diskless = control.config_get("repl-diskless-sync");
    auto delay = control.config_get("repl-diskless-sync-delay");
    auto at_once = control.config_get("repl-diskless-sync-max-replicas");  // since 7.0
    const bool delayed = diskless && *diskless && **diskless == "yes" && delay && *delay &&
                         **delay != "0" && (!at_once || !*at_once || **at_once == "0");
    auto asking = dial();
    if (!asking) return tl::unexpected<Error>(std::move(asking).error());
    if (auto capa = (*asking)->ask({"REPLCONF", "capa", "eof", "capa", "psync2"}); !capa) {
        return tl::unexpected<Error>(std::move(capa).error().with("REPLCONF"));
    }
    // Asked in 2a too: a fork that comes about all the same then carries nothing.
    auto filter = (*asking)->command({"REPLCONF", "rdb-filter-only", ""});
    if (!filter) return tl::unexpected<Error>(std::move(filter).error());
    if (!delayed && filter->is_error() && !full_sync_accepted_) {
        return fail(ErrorCode::safety,
                    fmt::format("attaching would make the {} fork and write out all its data once",
                                to_string(endpoint_.side)),
                    "CONFIG SET repl-diskless-sync yes and repl-diskless-sync-delay 5 there and "
                    "nothing is forked; or accept it: exodus pretest --accept-full-sync");
    }
    (*asking)->append({"PSYNC", "?", "-1"});
    EXODUS_TRY((*asking)->flush());
    const Deadline deadline = Deadline::in(options_.connect);
    while (!stop.stop_requested()) {
        auto info = control.info("replication");
        if (!info) return tl::unexpected<Error>(std::move(info).error());
        if (info->integer("repl_backlog_active") == 1) return {};
        if (deadline.passed())
            return fail(ErrorCode::timeout, "the origin did not create its replication backlog");
        wait_unless_stopped(stop, milliseconds(5));
    }
    return fail(ErrorCode::cancelled, "attaching was stopped");
}

Status Link::psync(const std::string& replid, uint64_t offset) {
    detach();
    auto client = dial();
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    if (auto capa = (*client)->ask({"REPLCONF", "capa", "eof", "capa", "psync2"}); !capa) {
        return tl::unexpected<Error>(std::move(capa).error().with("REPLCONF"));
    }
    // Asked first whether it can go on: a refusal by FULLRESYNC would come only after
    // repl-diskless-sync-delay, and until we close the origin would prepare to fork
    // (redis/src/replication.c masterTryPartialResync has the same conditions).
    auto info = (*client)->info("replication");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    if (info->get("role") != "master") return tl::unexpected<Error>(origin_now(**client).error());
    const auto next = static_cast<int64_t>(offset + 1);
    const int64_t first = info->integer("repl_backlog_first_byte_offset");
    const bool same_history =
        info->get("master_replid") == replid ||
        (info->get("master_replid2") == replid && next <= info->integer("second_repl_offset"));
    if (!same_history || info->integer("repl_backlog_active") != 1 || next < first ||
        next > first + info->integer("repl_backlog_histlen")) {
        return fail(ErrorCode::gap,
                    fmt::format("the origin's stream does not go on behind offset {}", offset));
    }
    (*client)->append({"PSYNC", replid, std::to_string(offset + 1)});
    EXODUS_TRY((*client)->flush());
    std::string line;
    const Deadline deadline = Deadline::in(options_.connect);
    while (line.empty()) {  // empty lines keep a waiting replica alive
        auto got = (*client)->read_line(deadline);
        if (!got) return tl::unexpected<Error>(std::move(got).error().with("PSYNC"));
        line = std::move(*got);
    }
    if (line.starts_with("+FULLRESYNC")) {
        return fail(ErrorCode::gap,
                    fmt::format("the origin's stream does not go on behind offset {}", offset));
    }
    if (line.starts_with("-NOPERM") || line.starts_with("-NOAUTH")) {
        return fail(ErrorCode::permission, "PSYNC is refused: " + line.substr(1),
                    "grant +psync +replconf to exodus' user");
    }
    if (!line.starts_with("+CONTINUE"))
        return fail(ErrorCode::unreachable, "PSYNC answered: " + line);
    const std::string changed = line.size() > 10 ? line.substr(10) : std::string();
    RawLink raw = (*client)->take_raw();
    const std::lock_guard lock(mutex_);
    stream_ = std::move(raw.stream);
    buffer_ = std::move(raw.unread);
    parse_at_ = 0;
    place_.replid = changed.size() == 40 ? changed : replid;
    place_.offset = offset;
    attached_end_ = static_cast<uint64_t>(info->integer("master_repl_offset"));
    in_group_ = false;
    ack_ = 0;
    acked_us_ = 0;
    heard_us_ = steady_us();
    return {};
}

Status Link::attach_at(const StreamPlace& place) {
    place_.db = place.db;
    return psync(place.replid, place.offset);
}

Result<StreamPlace> Link::attach_now(const std::stop_token& stop) {
    auto control = dial();
    if (!control) return tl::unexpected<Error>(std::move(control).error());
    auto info = (*control)->info("replication");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    if (info->get("role") != "master") return tl::unexpected<Error>(origin_now(**control).error());
    if (info->integer("repl_backlog_active") != 1) EXODUS_TRY(activate_backlog(**control, stop));
    const auto now = origin_now(**control);
    if (!now) return tl::unexpected<Error>(now.error());
    place_.db = -1;
    EXODUS_TRY(psync(now->replid, static_cast<uint64_t>(now->offset)));
    return find_marker(**control, stop);
}

/// 4.2 step 4: PUBLISH in two databases; the second one follows an explicit SELECT.
Result<StreamPlace> Link::find_marker(Client& control, const std::stop_token& stop) {
    const std::string nonce = hex(xxh3_128(random_bytes(16)));
    auto other = control.command({"SELECT", "1"});
    if (!other) return tl::unexpected<Error>(std::move(other).error());
    const bool single = other->is_error();
    if (!single) {
        if (auto sent = control.ask({"PUBLISH", options_.channel, "start"}); !sent) {
            return tl::unexpected<Error>(std::move(sent).error().with("writing a marker"));
        }
    }
    if (auto back = control.ask({"SELECT", "0"}); !back)
        return tl::unexpected<Error>(std::move(back).error());
    if (auto sent = control.ask({"PUBLISH", options_.channel, nonce}); !sent) {
        return tl::unexpected<Error>(std::move(sent).error().with("writing a marker"));
    }
    bool found = false;
    StreamPlace start;
    const Deadline deadline = Deadline::in(milliseconds(limits::kRedisConnect_ms));
    while (!found) {
        if (stop.stop_requested()) return fail(ErrorCode::cancelled, "attaching was stopped");
        if (deadline.passed())
            return fail(ErrorCode::timeout, "the marker did not come back through the stream");
        // Commands behind the marker in the same read are data: pump stops at the marker by an
        // error of its own.
        const Status pumped = pump(
            [&](const Frame& frame, const std::vector<std::string_view>& args) -> Status {
                if (args.size() == 3 && word_is(args[0], "PUBLISH") && args[2] == nonce) {
                    found = true;
                    start = {place_.replid, frame.end, single ? 0 : frame.db};
                    return fail(ErrorCode::cancelled, "marker");
                }
                return {};
            },
            milliseconds(50));
        if (!pumped && !found) return tl::unexpected<Error>(pumped.error());
    }
    if (start.db < 0) return fail(ErrorCode::protocol, "the marker came without a SELECT");
    place_ = start;
    return start;
}

Status Link::pump(const Sink& sink, milliseconds wait) {
    if (!stream_) return fail(ErrorCode::unreachable, "the replication link is not attached");
    const int64_t now = steady_us();
    if (now - acked_us_ > limits::kReplicaAck_ms * 1000) {
        std::string ack;
        append_command(ack, {"REPLCONF", "ACK", std::to_string(ack_)});
        EXODUS_TRY(stream_->write(ack, Deadline::in(milliseconds(limits::kReplicaAck_ms))));
        acked_us_ = now;
    }
    chunk_.resize(limits::kReadChunk_bytes * 4);
    bool quiet = false;
    // What a stopped sink left over is parsed before more is read.
    if (parse_at_ != 0 || buffer_.empty()) {
        auto got = stream_->read(chunk_, Deadline::in(wait));
        if (got) {
            buffer_.append(chunk_.data(), *got);
            heard_us_ = steady_us();
        } else if (got.error().code == ErrorCode::timeout) {
            quiet = true;
            if (steady_us() - heard_us_ > limits::kLinkSilent_ms * 1000) {
                return fail(ErrorCode::unreachable,
                            "nothing came over the replication link for a minute");
            }
        } else {
            return tl::unexpected<Error>(std::move(got).error());
        }
    }
    if (buffer_.size() < parse_at_ && !quiet) return {};
    std::size_t at = 0;
    Status result;
    parse_at_ = 1;
    std::vector<std::string_view> args;
    while (at < buffer_.size()) {
        if (buffer_[at] == '\n') {  // a bare LF keeps the link alive; it is not in the offset
            ++at;
            continue;
        }
        auto used = split_command(std::string_view(buffer_).substr(at), args);
        if (!used) return tl::unexpected<Error>(std::move(used).error());
        if (*used == 0) {
            parse_at_ = (buffer_.size() - at) +
                        (buffer_.size() - at) / 2;  // not at each read of a large command
            break;
        }
        place_.offset += *used;
        if (args.size() == 2 && word_is(args[0], "SELECT"))
            place_.db = static_cast<int>(to_number(args[1]).value_or(0));
        if (args.size() == 1 && word_is(args[0], "MULTI")) in_group_ = true;
        if (args.size() == 1 && word_is(args[0], "EXEC")) in_group_ = false;
        const Frame frame{place_.offset, place_.db, std::string_view(buffer_).substr(at, *used)};
        at += *used;
        result = sink(frame, args);
        if (!result) {
            parse_at_ = 0;
            break;
        }
    }
    buffer_.erase(0, at);
    return result;
}

void Link::detach() {
    const std::lock_guard lock(mutex_);
    stream_.reset();
    buffer_.clear();
    parse_at_ = 0;
}

void Link::shutdown() {
    const std::lock_guard lock(mutex_);
    if (stream_) stream_->shutdown();
}

}  // namespace exodus::redis
