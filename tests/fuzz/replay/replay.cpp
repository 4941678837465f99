// Runs one fuzz target over its seeds, each whole and cut at every byte: what fuzzing has found
// once stays found where libFuzzer is not there. Usage: replay_NAME corpus/NAME
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size);

int main(int count, char** arguments) {
    std::size_t seeds = 0;
    for (int i = 1; i < count; ++i) {
        for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) {
            std::ifstream in(entry.path(), std::ios::binary);
            const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
            // In memory of their own, so that reading past the end is seen.
            for (std::size_t size = 0; size <= bytes.size(); ++size) {
                const std::vector<uint8_t> part(bytes.begin(),
                                                bytes.begin() + static_cast<std::ptrdiff_t>(size));
                LLVMFuzzerTestOneInput(part.data(), part.size());
            }
            ++seeds;
        }
    }
    std::printf("%zu seeds\n", seeds);
    return seeds > 0 ? 0 : 1;
}
