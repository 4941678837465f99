// What the tests of the Redis operations share: a migration between two real servers.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/family.h"
#include "core/journal.h"
#include "core/settings.h"
#include "net/dialer.h"
#include "tests/support/memory_journal.h"

namespace exodus::test {

inline Endpoint endpoint_of(Side side, int port, const std::string& user = {},
                            const std::string& password = {}) {
    Endpoint endpoint;
    endpoint.side = side;
    endpoint.family = "redis";
    endpoint.host = "127.0.0.1";
    endpoint.port = static_cast<uint16_t>(port);
    endpoint.user = user;
    endpoint.password = Secret(password);
    return endpoint;
}

/// Settings, journal and dialer of a migration between two servers on loopback.
struct Migration {
    Migration(int source_port, int target_port, const std::string& user = {},
              const std::string& password = {}) {
        settings.family = "redis";
        settings.source = endpoint_of(Side::source, source_port, user, password);
        settings.target = endpoint_of(Side::target, target_port, user, password);
        settings.config_hash = "test";
    }
    Settings settings;
    MemoryJournal journal;
    std::unique_ptr<Dialer> dialer = make_dialer();
    FamilyContext context{settings, *dialer, journal, "/tmp"};
};

}  // namespace exodus::test
