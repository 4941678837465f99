#include "tests/wire/resp/recorded.h"

#include <fstream>
#include <stdexcept>
#include <utility>

namespace exodus::test {

namespace {

std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\') {
            out.push_back(
                static_cast<char>(std::stoi(std::string(text.substr(i + 2, 2)), nullptr, 16)));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

}  // namespace

std::vector<Exchange> load_recorded(const std::string& name) {
    std::ifstream file(std::string(EXODUS_SOURCE_DIR) + "/tests/wire/resp/recorded/" + name +
                       ".txt");
    if (!file) throw std::runtime_error("no recorded conversation " + name);
    std::vector<Exchange> all;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("> ")) all.push_back({unescape(std::string_view(line).substr(2)), {}});
        if (line.starts_with("< "))
            all.at(all.size() - 1).reply = unescape(std::string_view(line).substr(2));
    }
    if (all.size() < 50) throw std::runtime_error("recorded conversation is too short");
    return all;
}

std::vector<Event> scan_requests(const std::vector<std::string>& pieces,
                                 const resp::RequestLimits& limits, bool restricted) {
    resp::RequestScanner scanner(limits);
    scanner.set_restricted(restricted);
    std::vector<Event> events;
    std::string streamed;
    std::vector<std::string_view> arguments;
    const auto whole = [&](std::string bytes) {
        Event event{"frame", std::move(bytes), {}, 0, {}};
        if (!resp::split_arguments(event.bytes, arguments))
            event.kind = "frame that cannot be split";
        for (const std::string_view argument : arguments) event.arguments.emplace_back(argument);
        events.push_back(std::move(event));
    };
    for (const std::string& piece : pieces) {
        scanner.feed(piece);
        for (bool more = true; more;) {
            switch (scanner.next()) {
                case resp::RequestEvent::need_more:
                    more = false;
                    break;
                case resp::RequestEvent::frame: {
                    whole(std::string(scanner.frame().bytes));
                    const resp::RequestFrame& frame = scanner.frame();
                    if (frame.argc != events.back().arguments.size() ||
                        frame.indexed !=
                            std::min<std::size_t>(frame.argc, resp::kIndexedArguments)) {
                        events.back().kind = "frame with a wrong count";
                    }
                    for (std::size_t i = 0; i < frame.indexed && i < events.back().arguments.size();
                         ++i) {
                        if (frame.args[i] != events.back().arguments[i])
                            events.back().kind = "frame with a wrong argument";
                    }
                    break;
                }
                case resp::RequestEvent::head:
                    streamed = scanner.frame().bytes;
                    break;
                case resp::RequestEvent::body:
                    streamed += scanner.piece();
                    if (scanner.last_piece()) whole(std::exchange(streamed, {}));
                    break;
                case resp::RequestEvent::error:
                    events.push_back({"error " + scanner.error().reply, {}, {}, 0, {}});
                    return events;
            }
        }
    }
    if (!scanner.idle()) events.push_back({"unfinished", {}, {}, 0, {}});
    return events;
}

std::vector<Event> scan_replies(const std::vector<std::string>& pieces,
                                const resp::ReplyLimits& limits) {
    resp::ReplyScanner scanner(limits);
    std::vector<Event> events;
    std::string streamed;
    for (const std::string& piece : pieces) {
        scanner.feed(piece);
        for (bool more = true; more;) {
            switch (scanner.next()) {
                case resp::ReplyEvent::need_more:
                    more = false;
                    break;
                case resp::ReplyEvent::frame: {
                    const resp::ReplyFrame& frame = scanner.frame();
                    events.push_back({"frame",
                                      std::string(frame.bytes),
                                      {},
                                      frame.type,
                                      std::string(frame.value)});
                    break;
                }
                case resp::ReplyEvent::head:
                    streamed = scanner.frame().bytes;
                    break;
                case resp::ReplyEvent::body:
                    streamed += scanner.piece();
                    if (scanner.last_piece()) {
                        // What a streamed frame is shows when it is scanned again as a whole.
                        resp::ReplyScanner again(resp::ReplyLimits{streamed.size() + 1});
                        again.feed(streamed);
                        if (again.next() != resp::ReplyEvent::frame) {
                            events.push_back({"streamed pieces are no frame", streamed, {}, 0, {}});
                            return events;
                        }
                        events.push_back({"frame",
                                          streamed,
                                          {},
                                          again.frame().type,
                                          std::string(again.frame().value)});
                    }
                    break;
                case resp::ReplyEvent::error:
                    events.push_back({"error " + std::string(scanner.error()), {}, {}, 0, {}});
                    return events;
            }
        }
    }
    if (!scanner.idle()) events.push_back({"unfinished", {}, {}, 0, {}});
    return events;
}

std::vector<std::string> single_bytes(const std::string& text) {
    std::vector<std::string> out;
    for (const char c : text) out.emplace_back(1, c);
    return out;
}

}  // namespace exodus::test
