// Frames per second of the RESP codec and the command table on one core (performance.md: framing
// and pairing 0.03–0.1 µs at depth). One read of 64 KiB full of pipelined frames is scanned again
// and again.
#include <benchmark/benchmark.h>
#include <string>
#include <vector>

#include "wire/resp/codec.h"
#include "wire/resp/command_table.h"

namespace resp = exodus::resp;

namespace {

std::string requests(const char* command, std::size_t value_bytes) {
    std::string bytes;
    const std::string value(value_bytes, 'v');
    for (int i = 0; bytes.size() < 64 * 1024; ++i) {
        const std::string key = "key:" + std::to_string(1'000'000'000 + i);
        if (value_bytes == 0) {
            resp::append_command(bytes, command, key);
        } else {
            resp::append_command(bytes, command, key, value);
        }
    }
    return bytes;
}

std::string replies(std::size_t value_bytes) {
    std::string bytes;
    while (bytes.size() < 64 * 1024) resp::append_bulk(bytes, std::string(value_bytes, 'v'));
    return bytes;
}

void scan_requests(benchmark::State& state, const std::string& bytes, bool classify) {
    resp::RequestScanner scanner;
    int64_t frames = 0;
    for (auto _ : state) {
        scanner.feed(bytes);
        while (scanner.next() == resp::RequestEvent::frame) {
            ++frames;
            if (classify) {
                const resp::CommandRow& row = resp::classify(scanner.frame().indexed_args());
                benchmark::DoNotOptimize(
                    resp::first_key(row, scanner.frame().indexed_args()).data());
            }
            benchmark::DoNotOptimize(scanner.frame().bytes.data());
        }
    }
    state.SetItemsProcessed(frames);
    state.SetBytesProcessed(static_cast<int64_t>(bytes.size()) *
                            static_cast<int64_t>(state.iterations()));
}

void request_get(benchmark::State& state) { scan_requests(state, requests("GET", 0), false); }
void request_get_classified(benchmark::State& state) {
    scan_requests(state, requests("GET", 0), true);
}
void request_set_64(benchmark::State& state) { scan_requests(state, requests("set", 64), true); }
void request_set_1k(benchmark::State& state) { scan_requests(state, requests("SET", 1024), true); }

void scan_replies(benchmark::State& state) {
    const std::string bytes = replies(static_cast<std::size_t>(state.range(0)));
    resp::ReplyScanner scanner;
    int64_t frames = 0;
    for (auto _ : state) {
        scanner.feed(bytes);
        while (scanner.next() == resp::ReplyEvent::frame) {
            ++frames;
            benchmark::DoNotOptimize(scanner.frame().type);
        }
    }
    state.SetItemsProcessed(frames);
}

void array_reply(benchmark::State& state) {
    std::string bytes;
    resp::append_array_header(bytes, 100);
    for (int i = 0; i < 100; ++i) resp::append_bulk(bytes, "element");
    resp::ReplyScanner scanner;
    int64_t elements = 0;
    for (auto _ : state) {
        scanner.feed(bytes);
        while (scanner.next() == resp::ReplyEvent::frame) elements += 100;
    }
    state.SetItemsProcessed(elements);
}

}  // namespace

BENCHMARK(request_get);
BENCHMARK(request_get_classified);
BENCHMARK(request_set_64);
BENCHMARK(request_set_1k);
BENCHMARK(scan_replies)->Arg(8)->Arg(64)->Arg(1024);
BENCHMARK(array_reply);

BENCHMARK_MAIN();
