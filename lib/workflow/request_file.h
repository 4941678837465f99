// The text file of requests that `test --smoke` and `test --replay` read. Knows no protocol: a
// request is the family's own text form (for Redis what one types into redis-cli) and goes to
// Inspector::execute as it stands.
//
//   # a comment; empty lines are skipped too
//   PING => PONG                      smoke: the reply's text must be exactly this
//   GET user:1 => ~ mira*             the reply must match this glob (* and ?)
//   INCR user:1 => ! WRONGTYPE        the request must fail with an error that begins so ("!"
//   alone: any error) SET smoke:1 x => *                any reply that is no error
//   @1532 r GET user:1                replay: milliseconds after the start, r (only reads) or w
//   (may write), request
//
// Between request and expectation stands " => "; the last one on the line counts. In an expected
// reply \n, \r, \t, \xHH and \\ are escapes. A line without "=>" and without "@" is a smoke request
// whose reply may be anything but an error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace exodus {

struct FileRequest {
    enum class Expect { exact, glob, error, any };
    int line = 0;
    std::string request;
    Expect expect = Expect::any;
    std::string expected;
    int64_t at_ms = 0;      ///< replay only
    bool may_write = true;  ///< replay: "w"; smoke requests are run as they stand
    bool timed = false;     ///< has "@"
};

/// Errors: data, with the line's number and what is wrong with it.
Result<std::vector<FileRequest>> parse_request_file(std::string_view text);
/// Errors: no_input, io, data (also a file above limits::kRequestFile_bytes_max).
Result<std::vector<FileRequest>> read_request_file(const std::string& path);

/// Empty when the reply is what was expected, else why not. `reply` is what execute() returned, or
/// its error.
std::string judge_reply(const FileRequest& request, const Result<std::string>& reply);

bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace exodus
