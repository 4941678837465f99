// What a client of the source notices of the copy: GET and SET of 64 bytes at a steady rate, while
// nothing is copied and while the copy runs, unthrottled and with each of the limits that an
// operator can set.
#pragma once

#include <cstdint>

#include "tests/support/redis_server.h"

namespace exodus::test {

/// Prints a row for each setting of the throttle, medians of alternated rounds. The source holds
/// `keys` keys; the target is emptied before each copy.
void print_source_latency(RedisServer& source, RedisServer& target, uint64_t keys, int rounds);

}  // namespace exodus::test
