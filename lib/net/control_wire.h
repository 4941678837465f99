// One line of JSON over a Unix socket, with descriptors beside it. Shared by both ends.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "net/file_descriptor.h"

namespace exodus {

/// Buffered lines of one socket.
class LineReader {
  public:
    explicit LineReader(int fd) : fd_(fd) {}
    /// The next line without its end. Errors: timeout, unreachable (closed), data (too long).
    /// Descriptors that come with it are added to `received` when it is given, else closed.
    Result<std::string> next(Deadline deadline, std::vector<FileDescriptor>* received = nullptr);

  private:
    int fd_;
    std::string buffer_;
    std::size_t searched_ = 0;
};

/// Writes a line (its end is added). Descriptors go with its first byte.
Status send_line(int fd, std::string line, Deadline deadline,
                 const std::vector<FileDescriptor>& descriptors = {});

/// Uid of the process at the other end of a Unix socket.
Result<unsigned> peer_uid(int fd);

}  // namespace exodus
