// Fuzzes a spool's segment: commands are written, then the file is cut and one byte of it changed;
// what is read of it must be a beginning of what was written, and writing goes on behind it.
#include "families/redis/spool.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace exodus;
using namespace exodus::redis;

namespace {

void check(bool condition) {
    if (!condition) std::abort();
}

const std::string& directory() {
    static const struct Own {
        std::string path = (std::filesystem::temp_directory_path() / "fuzz-spool-XXXXXX").string();
        Own() { check(::mkdtemp(path.data()) != nullptr); }
        ~Own() { std::filesystem::remove_all(path); }
    } own;
    return own.path;
}

std::vector<std::string> read_all(Spool& spool) {
    std::vector<std::string> found;
    check(spool.seek(spool.start().offset).has_value());
    for (;;) {
        const auto block = spool.read(1 << 20);
        check(block.has_value());
        if (!block->bytes) return found;
        for (const Frame& frame : block->frames) found.emplace_back(frame.bytes);
    }
}

void append(Spool& spool, const std::string& command) {
    spool.append({spool.end().offset + command.size(), 3, command});
    check(spool.write().has_value());
}

/// The first three bytes say where the damage is, the rest are the commands by lines.
void damage(const std::string& path, const uint8_t* data) {
    const std::size_t size = std::filesystem::file_size(path);
    const std::size_t at = (data[0] * 256U + data[1]) % size;
    if ((data[2] & 1) != 0) return std::filesystem::resize_file(path, at);
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(at));
    const int was = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(was ^ (data[2] >> 1)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    if (size < 4) return 0;
    std::vector<std::string> commands(1);
    for (std::size_t i = 3; i < size; ++i) {
        commands.back() += static_cast<char>(data[i]);
        if (data[i] == '\n') commands.emplace_back();
    }
    if (commands.back().empty()) commands.pop_back();
    std::filesystem::remove_all(directory());
    {
        auto spool = Spool::open(directory(), "fuzz");
        check(spool && (*spool)->reset({std::string(40, 'r'), 1000, 0}).has_value());
        for (const auto& command : commands) append(**spool, command);
        check(read_all(**spool) == commands);
    }
    for (const auto& entry : std::filesystem::directory_iterator(directory()))
        damage(entry.path().string(), data);
    auto spool = Spool::open(directory(), "fuzz");
    check(spool.has_value());
    if ((*spool)->empty()) return 0;
    std::vector<std::string> found = read_all(**spool);
    check(found.size() <= commands.size());
    check(std::equal(found.begin(), found.end(), commands.begin()));
    append(**spool, "more");
    found.emplace_back("more");
    check(read_all(**spool) == found);
    return 0;
}
