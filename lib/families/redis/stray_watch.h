// Tells in a stream that only exodus should write what somebody else wrote (redis.md 9, while
// switched). Pure; the reader's own.
#pragma once

#include <string>

#include "families/redis/stream_command.h"

namespace exodus::redis {

class StrayWatch {
  public:
    /// Before the first command of an attached link, which may go on amid a group.
    void attached();
    /// The verb of what somebody else wrote, when `command` is it or ends its group; else empty.
    ///
    /// Ours are groups that hold a checkpoint, and what touches only exodus: keys. Not told,
    /// because the server writes the same by itself when keys or fields expire or are evicted (also
    /// in a group, when one command of a reader finds several of them expired): DEL and UNLINK of
    /// one key, and HDEL. Verification finds what those remove.
    std::string see(const StreamCommand& command);

  private:
    bool in_group_ = false;
    bool ours_ = false;  ///< this group holds a checkpoint
    std::string verb_;   ///< the first of this group that the server does not write by itself
};

}  // namespace exodus::redis
