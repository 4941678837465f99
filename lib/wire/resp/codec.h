// The RESP codec in one include: requests, replies, values and writers. Pure functions on bytes; no
// I/O, clock, thread or log.
#pragma once

#include "wire/resp/reply_scanner.h"
#include "wire/resp/request_scanner.h"
#include "wire/resp/value.h"
#include "wire/resp/writer.h"
