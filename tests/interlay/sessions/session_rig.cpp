#include "session_rig.h"

#include <thread>

namespace exodus::test {

std::string login() { return request({"AUTH", Rig::kUser, Rig::kPassword}); }

nlohmann::json traffic_of(Rig& rig) {
    const std::string out = rig.expect(0, {"--json", "ctl", "traffic"});
    return nlohmann::json::parse(out.substr(0, out.find('\n'))).at("replies").at(0).at("reply");
}

void bring_to_ready(Rig& rig) {
    const std::jthread load([&rig](const std::stop_token& stop) {
        const auto context = connect_to(rig.port(), milliseconds(30'000));
        send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
        while (!stop.stop_requested()) send_command(context.get(), {"GET", "load"});
    });
    rig.bring_to_ready();
}

}  // namespace exodus::test
