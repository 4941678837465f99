// Two servers with users of their own and the inspector of a migration between them: what the tests
// of pretest's checks share.
#pragma once

#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <vector>

#include "families/redis/inspector.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

namespace exodus::test {

inline ServerOptions options_of(Engine engine, std::vector<std::string> config = {}) {
    ServerOptions options;
    options.engine = engine;
    options.config = std::move(config);
    options.acl = {"user default off", "user admin on >root ~* &* +@all",
                   "user exodus on >own ~* &* +@all", "user app on >pw ~* &* +@all"};
    return options;
}

struct Pair {
    explicit Pair(std::vector<std::string> source_config = {},
                  std::vector<std::string> target_config = {})
        : source(options_of(Engine::redis, std::move(source_config))),
          target(options_of(Engine::valkey, std::move(target_config))),
          migration(source.port(), target.port(), "exodus", "own"),
          inspector(redis::make_redis_inspector(migration.context)) {
        source.login("admin", "root");
        target.login("admin", "root");
    }
    Severity worst(const std::string& id) { return worst(*inspector, id); }
    /// The worst of what a check finds, all of which is kept in `last`.
    Severity worst(Inspector& of, const std::string& id) {
        Severity worst = Severity::pass;
        last.clear();
        for (const auto& finding : of.run(id)) {
            CHECK(finding.id == id);
            worst = std::max(worst, finding.severity);
            last += std::string(to_string(finding.severity)) + " " + finding.subject + ": " +
                    finding.text + " [" + finding.hint + "]\n";
        }
        return worst;
    }
    [[nodiscard]] bool says(const std::string& text) const {
        return last.find(text) != std::string::npos;
    }

    RedisServer source;
    RedisServer target;
    Migration migration;
    std::unique_ptr<Inspector> inspector;
    std::string last;
};

}  // namespace exodus::test
