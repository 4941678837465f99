// Fuzzes inline splitting: what comes out, quoted again, splits into the same arguments.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "wire/resp/request_scanner.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    const std::vector<char> copy(data, data + size);
    std::vector<std::string> arguments;
    if (!exodus::resp::split_inline({copy.data(), copy.size()}, arguments)) return 0;
    std::string quoted;
    for (const std::string& argument : arguments) {
        quoted += " \"";
        for (const char c : argument) {
            char text[8];
            std::snprintf(text, sizeof text, "\\x%02x",
                          static_cast<unsigned>(static_cast<unsigned char>(c)));
            quoted += text;
        }
        quoted += "\"";
    }
    std::vector<std::string> again;
    if (!exodus::resp::split_inline(quoted, again) || again != arguments) std::abort();
    return 0;
}
