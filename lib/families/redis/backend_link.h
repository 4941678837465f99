// One connection to a server as the brain sees it: what it is for, how far its login is, and what
// it still owes, in order. Plain state; TrafficWorker drives it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/limits.h"
#include "core/protocol_worker.h"
#include "families/redis/fifo.h"
#include "families/redis/identity.h"
#include "wire/resp/codec.h"
#include "wire/resp/command_table.h"

namespace exodus::redis {

class ClientSession;

/// What happens with a reply.
enum class Job : uint8_t {
    forward,       ///< straight to the client
    swallow,       ///< nobody wants it
    login,         ///< of our own handshake
    login_id,      ///< CLIENT ID of our own handshake
    login_select,  ///< SELECT of our own handshake
    login_own,     ///< AUTH as our own user in it; whether it worked shows in the SELECT behind it
    login_rule,    ///< PING of a connection without login: does the server want one?
    replicas,      ///< INFO replication, for clients that wait for replicas
    confirm,       ///< (un)subscribe: `more` confirmations
    watched,       ///< collected whole and shown to the session first
    mirror,        ///< the other half of a pair
    unblock,       ///< of CLIENT UNBLOCK at a hold; `session` is who was unblocked
};

namespace expects {
inline constexpr uint8_t kWrite = 1;    ///< counts in writes_in_flight
inline constexpr uint8_t kCounted = 2;  ///< counts in the session's unanswered requests
inline constexpr uint8_t kBlocking = 4;
inline constexpr uint8_t kSilenceEnds =
    8;  ///< proves that what was sent before it without replies has been executed
inline constexpr uint8_t kAskAgain = 16;  ///< a read of the side that follows (AskedReads)
}  // namespace expects

inline constexpr uint32_t kNoPair = ~uint32_t{0};

/// One reply that a server owes.
struct Expected {
    ClientSession* session = nullptr;  ///< nullptr: the client is gone, or it never was about one
    const resp::CommandRow* row = nullptr;
    int64_t sent_us = 0;
    uint32_t request_bytes = 0;
    uint32_t pair = kNoPair;
    uint32_t more = 1;
    Job job = Job::forward;
    uint8_t flags = 0;
    uint16_t what : 6 = 0;     ///< Kind, for watched replies
    uint16_t prefix : 10 = 0;  ///< of TrafficProfile::on_request
};
static_assert(sizeof(Expected) == 40);  // one for each request on its way
static_assert(limits::kProfilePrefixes_max + 1 < 1U << 10);

struct LinkKey {
    Side side = Side::source;
    int resp = 2;
    int database = 0;
    IdentityId identity = kAnonymous;
    bool shadow = false;
    bool operator==(const LinkKey&) const = default;
};

struct BackendLink;

/// The shared connections of one key: a second one above kRedisSharedDepth unanswered.
struct SharedSlot {
    LinkKey key;
    BackendLink* links[2] = {nullptr, nullptr};
    int64_t used_us = 0;  ///< when a client that uses it was last there
};

struct BackendLink {
    enum class State : uint8_t { dialing, login, ready };
    enum class Role : uint8_t { shared, leased, idle, leaving };

    ConnId conn = ConnId::none;
    LinkKey key;
    State state = State::dialing;
    Role role = Role::shared;
    bool raw = false;      ///< no login of ours: the client's AUTH or HELLO is the first request
    bool dirty = false;    ///< holds state of a session that only RESET removes
    bool opaque = false;   ///< a tunnel (SYNC): bytes are not interpreted any more
    bool tracked = false;  ///< CLIENT TRACKING was on: the server goes on invalidating what its
                           ///< client read, and would tell the next one
    bool monitor = false;
    bool reading = true;
    bool selected_for =
        false;  ///< its login lets our own user SELECT, because the client's may not
    bool partial_request =
        false;  ///< a large request was begun and not finished: good for nothing else
    uint32_t login_left = 0;
    uint32_t subscribed = 0;  ///< confirmed subscriptions
    uint32_t silent_writes =
        0;  ///< executed without a reply (CLIENT REPLY) and not yet proven executed
    int64_t real_id = 0;
    std::string name;  ///< as the server knows it; changed when a session of another name leases it
    int64_t idle_since_us = 0;
    int64_t stalled_since_us = 0;
    std::string login_error;         ///< the server's words, "-WRONGPASS …\r\n"
    ClientSession* owner = nullptr;  ///< of a lease
    SharedSlot* slot = nullptr;
    Fifo<Expected> fifo;
    resp::ReplyScanner scanner;
    std::string collected;           ///< of a watched reply that streams
    bool streaming = false;          ///< the front's reply has begun to reach its client
    std::size_t streamed_bytes = 0;  ///< of that reply
    char streamed_type = 0;          ///< of that reply
    std::vector<ClientSession*> waiters;
};

}  // namespace exodus::redis
