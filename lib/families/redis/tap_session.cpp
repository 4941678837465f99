// One tapped Redis connection: requests and replies found by the codec, paired in order, counted.
// Keeps no argument but keys.
#include "families/redis/tap_session.h"

#include <algorithm>
#include <deque>

#include "base/limits.h"
#include "families/redis/traffic_profile.h"
#include "wire/resp/codec.h"
#include "wire/resp/command_table.h"

namespace exodus::redis {

namespace {

class RedisTapSession final : public TapSession {
  public:
    void on_client_bytes(std::string_view bytes, int64_t wall_us) override {
        stats_.bytes_from_clients += bytes.size();
        if (resync_requests_) {
            // A capture that begins, or goes on, inside a connection: the next packet that begins
            // like a request is one, because clients write whole requests. Inline requests cannot
            // be told from the inside of a value.
            if (bytes.size() < 4 || bytes[0] != '*' || bytes[1] < '1' || bytes[1] > '9') return;
            resync_requests_ = false;
            requests_ = resp::RequestScanner();
        }
        requests_.feed(bytes);
        uint64_t depth = 0;
        for (;;) {
            switch (requests_.next()) {
                case resp::RequestEvent::need_more:
                    if (depth != 0) stats_.pipeline_depth.record(depth);
                    return;
                case resp::RequestEvent::frame:
                case resp::RequestEvent::head:
                    ++depth;
                    on_request(wall_us);
                    break;
                case resp::RequestEvent::body:
                    row_in_->bytes_in += requests_.piece().size();
                    break;
                case resp::RequestEvent::error:
                    ++stats_.protocol_errors[std::string(to_string(requests_.error().fault))];
                    lose_track();
                    return;
            }
        }
    }

    void on_server_bytes(std::string_view bytes, int64_t wall_us) override {
        stats_.bytes_to_clients += bytes.size();
        if (!pairing_) return;
        if (resync_replies_) {
            if (pending_.empty()) return;
            resync_replies_ = false;
            replies_ = resp::ReplyScanner();
        }
        replies_.feed(bytes);
        for (;;) {
            switch (replies_.next()) {
                case resp::ReplyEvent::need_more:
                    return;
                case resp::ReplyEvent::frame:
                case resp::ReplyEvent::head:
                    on_reply(wall_us);
                    if (!pairing_ || resync_replies_) return;
                    break;
                case resp::ReplyEvent::body:
                    if (row_out_ != nullptr) row_out_->bytes_out += replies_.piece().size();
                    break;
                case resp::ReplyEvent::error:
                    ++stats_.protocol_errors["reply"];
                    lose_track();
                    return;
            }
        }
    }

    void on_gap() override {
        ++stats_.counters["redis.tap.gaps"];
        lose_track();
    }

    void collect(TrafficStats& stats) const override {
        TrafficStats mine = stats_;
        mine.clients_total = 1;
        stats.merge(mine);
        profile_.add_to(stats);
    }

  private:
    struct Pending {
        const resp::CommandRow* row;
        CommandStats* stats;
        int64_t sent_us;
        uint16_t prefix;
    };

    void on_request(int64_t wall_us) {
        const resp::RequestFrame& frame = requests_.frame();
        const resp::CommandRow& row = resp::classify(frame.indexed_args());
        CommandStats& stats = stats_.commands[std::string(row.name)];
        row_in_ = &stats;
        ++stats.requests;
        stats.bytes_in += frame.wire_bytes;
        stats.is_write = row.writes();
        const uint16_t prefix = profile_.on_request(row, frame, database_);
        if (!pairing_) return;
        // From here on replies come that no single request asked for, or requests that get none.
        if (row.effect == resp::Effect::pubsub || row.name == "CLIENT REPLY" ||
            row.name == "PSYNC" || row.name == "SYNC") {
            pairing_ = false;
            pending_.clear();
            return;
        }
        if (row.name == "SELECT" && frame.indexed == 2) {
            int64_t database = 0;
            if (resp::parse_int(frame.args[1], database))
                selecting_ = static_cast<int>(std::clamp<int64_t>(database, 0, 1024));
        }
        if (pending_.size() >= limits::kTapPending_max) {  // the replies are not in the capture
            lose_track();
            return;
        }
        pending_.push_back({&row, &stats, wall_us, prefix});
    }

    void on_reply(int64_t wall_us) {
        const resp::ReplyFrame& reply = replies_.frame();
        row_out_ = nullptr;
        if (reply.is_push()) return;
        if (pending_.empty()) {
            resync_replies_ = true;
            return;
        }
        const Pending request = pending_.front();
        pending_.pop_front();
        row_out_ = request.stats;
        row_out_->bytes_out += reply.bytes.size();
        if (reply.is_error()) ++row_out_->errors;
        const auto latency = static_cast<uint64_t>(std::max<int64_t>(0, wall_us - request.sent_us));
        row_out_->latency_us.record(latency);
        if (request.row->name == "SELECT" && !reply.is_error()) database_ = selecting_;
        const std::size_t size = reply.bytes.size() + replies_.remaining_bytes();
        if (request.prefix != 0)
            profile_.on_answer(request.prefix, *request.row, latency, reply.type, size);
        if (request.row->name == "EXEC" && reply.is_null()) profile_.on_aborted();
    }

    /// Bytes are missing or are no RESP: start again at the next request, and pair only what is
    /// asked after it.
    void lose_track() {
        resync_requests_ = true;
        resync_replies_ = true;
        pending_.clear();
        row_out_ = nullptr;
    }

    resp::RequestScanner requests_;
    resp::ReplyScanner replies_;
    std::deque<Pending> pending_;
    TrafficStats stats_;  // std::map: the addresses in Pending stay valid
    TrafficProfile profile_;
    CommandStats* row_in_ = nullptr;
    CommandStats* row_out_ = nullptr;
    int database_ = 0;
    int selecting_ = 0;
    bool pairing_ = true;
    bool resync_requests_ = false;
    bool resync_replies_ = false;
};

}  // namespace

std::unique_ptr<TapSession> make_redis_tap_session() { return std::make_unique<RedisTapSession>(); }

}  // namespace exodus::redis
