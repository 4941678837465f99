// Fuzzes the Redis brain: the first bytes choose how the world moves (pieces, holds, switches, lost
// connections), the rest is what two clients send. Nothing may crash, be counted twice or stay in
// flight, and a side that is not the authority never sees a write.
#include <cstdlib>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis::sim;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    if (size < 4 || size > 4096) return 0;
    const std::size_t piece = 1 + data[0];
    std::size_t moves = data[1] % 16;
    const bool sharing = (data[2] & 1) == 0;
    const bool lose = (data[2] & 2) != 0;
    const bool cut = (data[2] & 4) != 0;
    if ((data[2] & 8) != 0) moves += 64;
    const std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);
    World world(sharing);
    world.brain_route_.mirror_percent = (data[2] & 16) != 0 ? 100 : 0;
    world.route(Side::source, false);
    const std::size_t half = text.size() / 2;
    const std::uint64_t clients[] = {world.connect(), world.connect()};
    world.write(clients[0], text.substr(0, half));
    world.write(clients[1], (data[2] & 32) != 0 ? text : text.substr(half));
    const auto move_some = [&] {
        for (std::size_t i = 0; i < moves; ++i) {
            for (std::uint64_t id = 1; id <= world.peers.size(); ++id) {
                if (world.peers.contains(id)) world.move(id, piece);
            }
        }
    };
    move_some();
    world.route(Side::source, true);
    move_some();
    if (lose) {
        for (std::uint64_t id = 3; id <= world.peers.size(); ++id) {
            if (world.peers.contains(id) && world.peers.at(id).connected)
                world.lose(id, CloseReason::error);
        }
    }
    if (cut) world.hang_up(clients[1]);
    world.settle_for(300'000);
    if (world.brain->quiescence().writes_in_flight == 0) {
        world.servers[1].data = world.servers[0].data;
        world.servers[0].fenced = true;
        world.route(Side::target, false);
    } else {
        world.route(Side::source, false);
    }
    world.settle_for(300'000);
    for (const FakeServer& server : world.servers) {
        if (!server.strays.empty()) std::abort();
    }
    for (const std::uint64_t client : clients) world.hang_up(client);
    world.settle_for(300'000);
    const auto now = world.brain->quiescence();
    if (now.held != 0 || now.writes_in_flight != 0) std::abort();
    return 0;
}
