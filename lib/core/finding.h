// A finding: something about an endpoint, the traffic or the data that an operator should know,
// with a stable id.
#pragma once

#include <string>
#include <vector>

namespace exodus {

enum class Severity { pass, info, warn, fail };
constexpr std::string_view to_string(Severity severity) {
    switch (severity) {
        case Severity::pass:
            return "pass";
        case Severity::info:
            return "info";
        case Severity::warn:
            return "warn";
        case Severity::fail:
            return "fail";
    }
    return "fail";
}

struct Finding {
    std::string id;  ///< "redis.psync", stable; what --only, --skip and --ack name
    Severity severity = Severity::info;
    std::string subject;  ///< "source", "target", "both", "traffic"
    std::string text;     ///< what was found, with the numbers
    std::string hint;     ///< what to do; the exact command where there is one
};

struct CheckInfo {
    std::string id;
    std::string title;  ///< for --list
};

}  // namespace exodus
