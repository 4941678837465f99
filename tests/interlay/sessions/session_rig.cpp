#include "session_rig.h"

namespace exodus::test {

std::string login() { return request({"AUTH", Rig::kUser, Rig::kPassword}); }

nlohmann::json traffic_of(Rig& rig) {
    const std::string out = rig.expect(0, {"--json", "ctl", "traffic"});
    return nlohmann::json::parse(out.substr(0, out.find('\n'))).at("replies").at(0).at("reply");
}

}  // namespace exodus::test
