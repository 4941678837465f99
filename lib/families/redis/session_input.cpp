// Where a session's input has bounds: before a login, and after the client has ended its side.
#include <vector>

#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

void ClientSession::on_half_closed() {
    if (dead_) return;
    half_closed_ = true;
    finish_half_closed();
}

void ClientSession::finish_half_closed() {
    if (!half_closed_ || dead_ || closing_) return;
    // What has no end of its own ends with its client, as on a server.
    const bool endless = blocked_row_ != nullptr || waits_ || !wait_aof_.empty() ||
                         (sticky_ & (kSubscribed | kMonitor | kTracking | kTunnel)) != 0;
    // A large request whose rest will never come has no answer.
    const uint32_t cut = streaming_to_ != nullptr ? 1 : 0;
    const bool done = outstanding_ <= cut && !parked_.filled && reissue_.empty() &&
                      backlog_at_ >= backlog_.size();
    if (endless || done) worker_.end_session(*this, CloseMode::after_flush);
}

bool ClientSession::without_login() const {
    return identity_ == kAnonymous && !identity_lost_ && worker_.login_required(home());
}

/// The scanner has judged by these limits what came before the answer to a login; what was read
/// behind a login that then failed is judged here, before it can break a connection of many.
bool ClientSession::within_login_limits(const resp::RequestFrame& frame) {
    resp::RequestFault fault = resp::RequestFault::none;
    std::vector<std::string_view> scratch;
    if (frame.argc > static_cast<uint64_t>(limits::kRespUnauthArguments_max)) {
        fault = resp::RequestFault::unauthenticated_multibulk;
    } else if (!frame.partial) {  // a large one takes a connection of its own, which may break
        for (const std::string_view argument : resp::all_arguments(frame, scratch)) {
            if (argument.size() > limits::kRespUnauthBulk_bytes_max)
                fault = resp::RequestFault::unauthenticated_bulk;
        }
    }
    if (fault == resp::RequestFault::none) return true;
    worker_.protocol_error(resp::to_string(fault));
    refuse(fault == resp::RequestFault::unauthenticated_multibulk
               ? "-ERR Protocol error: unauthenticated multibulk length\r\n"
               : "-ERR Protocol error: unauthenticated bulk length\r\n");
    return false;
}

}  // namespace exodus::redis
