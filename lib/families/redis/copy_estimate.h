// How many keys a copy has still to read: an estimate from INFO keyspace and the place of the SCAN.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

#include "families/redis/copy_queue.h"

namespace exodus::redis {

/// Share of a database that lies before a cursor, whatever the size of its table: SCAN counts the
/// bits of the bucket from the highest one down (redis/src/dict.c, dictScan).
double scanned_share(std::string_view cursor);

/// Keys behind `place`, whose databases have so many keys.
uint64_t keys_left(const std::map<int, uint64_t>& keyspace, const ScanPlace& place);

}  // namespace exodus::redis
