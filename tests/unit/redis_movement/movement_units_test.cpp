// The movement's units without servers: spool recovery, payload footers, stream roles, planner
// rules of redis.md 4.5, scope.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <set>
#include <sys/resource.h>
#include <thread>

#include "families/redis/copy_queue.h"
#include "families/redis/payload.h"
#include "families/redis/planner.h"
#include "families/redis/scope.h"
#include "families/redis/spool.h"
#include "tests/support/process.h"

namespace exodus::redis {
namespace {

std::string resp(std::initializer_list<std::string_view> words) {
    std::string out;
    append_command(out, words);
    return out;
}

std::vector<StreamCommand> commands(
    const std::vector<std::pair<uint64_t, std::string_view>>& stream) {
    std::vector<StreamCommand> ops;
    for (const auto& [end, raw] : stream) {
        StreamCommand op;
        op.end = end;
        op.raw = raw;
        REQUIRE(split_command(raw, op.args).has_value());
        classify(op);
        ops.push_back(std::move(op));
    }
    return ops;
}

Digest128 h(std::string_view name) { return key_hash(0, name); }

CopyItem copy_of(std::string_view name, uint64_t at) {
    CopyItem item;
    item.key = {0, std::string(name), h(name)};
    item.at = at;
    item.bytes = resp({"SET", name, "copied"});
    item.commands = 1;
    return item;
}

int count_of(const Plan& plan, Step::Kind kind) {
    return static_cast<int>(std::count_if(plan.steps.begin(), plan.steps.end(),
                                          [&](const Step& step) { return step.kind == kind; }));
}

TEST_CASE("planner: an operation on an unknown key copies it and is contained in the copy") {
    Watermarks marks(100);
    Planner planner(marks, {});
    const std::string incr = resp({"INCR", "a"});
    const auto ops = commands({{10, incr}});
    CHECK(planner.closure(ops, {}, {}).contains(h("a")));
    const auto plan = planner.plan(ops, {}, {copy_of("a", 50)});
    CHECK(count_of(plan, Step::Kind::copy) == 1);
    CHECK(count_of(plan, Step::Kind::command) == 0);
}

TEST_CASE("planner: a reset needs no copy, and makes the key known") {
    Watermarks marks(100);
    Planner planner(marks, {});
    const std::string set = resp({"SET", "a", "1"});
    const std::string incr = resp({"INCR", "a"});
    const auto ops = commands({{10, set}, {20, incr}});
    CHECK(planner.closure(ops, {}, {}).empty());
    const auto plan = planner.plan(ops, {}, {});
    CHECK(count_of(plan, Step::Kind::command) == 2);
    CHECK(count_of(plan, Step::Kind::check) == 0);  // a plain SET leaves no expiry behind
}

TEST_CASE(
    "planner: a key behind M is applied with a presence check; -2 leads to a repair over all its "
    "operations") {
    Watermarks marks(100);
    marks.set_doubt(5);
    Planner planner(marks, {});
    const std::string incr = resp({"INCR", "a"});
    const std::string store = resp({"SUNIONSTORE", "b", "a"});
    const auto ops = commands({{10, incr}, {20, store}});
    CHECK(planner.closure(ops, {}, {}).empty());
    const auto plan = planner.plan(ops, {}, {});
    CHECK(count_of(plan, Step::Kind::check) == 1);
    std::vector<StepResult> results(plan.steps.size());
    results[0].value = -2;
    const auto repairs = planner.commit(plan, ops, {}, {}, results);
    CHECK(repairs.size() == 2);
    CHECK(repairs.contains(h("b")));
}

TEST_CASE("planner: keys ahead and keys behind in one operation are copied together") {
    Watermarks marks(100);
    marks.set_doubt(5);
    marks.put(h("a"), {100, 100, 0, true});
    Planner planner(marks, {});
    const std::string rename = resp({"RENAME", "a", "b"});
    const auto ops = commands({{50, rename}});
    CHECK(planner.closure(ops, {}, {}).size() == 2);
}

TEST_CASE("planner: MSET and DEL are split around keys that are ahead") {
    Watermarks marks(100);
    marks.set_doubt(5);
    marks.put(h("a"), {100, 100, 0, true});
    Planner planner(marks, {});
    const std::string mset = resp({"MSET", "a", "1", "b", "2"});
    const auto ops = commands({{50, mset}});
    CHECK(planner.closure(ops, {}, {}).empty());
    const auto plan = planner.plan(ops, {}, {});
    REQUIRE(plan.steps.size() == 1);
    CHECK(plan.steps[0].rewritten == resp({"MSET", "b", "2"}));
}

TEST_CASE(
    "planner: an item of a key that is followed is dropped; one that is not makes it followed") {
    Watermarks marks(100);
    marks.put(h("a"), {30, 30, 0, true});
    Planner planner(marks, {});
    const std::vector<CopyItem> items{copy_of("a", 20), copy_of("b", 20)};
    (void)planner.closure({}, items, {});
    const auto plan = planner.plan({}, items, {});
    REQUIRE(plan.steps.size() == 1);
    CHECK(plan.steps[0].index == 1);
    (void)planner.commit(plan, {}, items, {}, {StepResult{}});
    REQUIRE(marks.find(h("b")) != nullptr);
    CHECK(marks.find(h("b"))->copied_at == 20);
}

TEST_CASE("watermarks: a database with a key copied at the end of an operation holds it already") {
    Watermarks marks(10);
    marks.set_doubt(50);
    CHECK(marks.exact_db_before(0, 100));
    CHECK_FALSE(marks.exact_db_before(0, 50));  // unknown to what ends there
    CHECK(marks.exact_db_before(0, 51));
    // A SWAPDB that ends at 100 is in what was copied at 100: it must not be done again there.
    marks.put(key_hash(0, "a"), {100, 100, 0, false});
    CHECK_FALSE(marks.exact_db_before(0, 100));
    CHECK(marks.exact_db_before(0, 101));
    CHECK(marks.exact_db_before(1, 100));  // another database
    // A key that could not be moved is not what it is on the origin.
    marks.put(key_hash(1, "b"), {kNoOffset, 0, 1, false});
    CHECK_FALSE(marks.exact_db_before(1, 1'000));
}

TEST_CASE("watermarks: a copy of any length keeps the table as large as it was made") {
    constexpr std::size_t kSlots = 16'384;
    Watermarks marks(kSlots);
    marks.set_doubt(kNoOffset);  // as in a fill
    std::size_t most = 0;
    for (int i = 0; i < 40 * static_cast<int>(kSlots); ++i) {
        marks.put(key_hash(0, "key:" + std::to_string(i)), {7, 7, 0, false});
        if (i % 256 == 0) REQUIRE(marks.evict(7, 7));
        most = std::max(most, marks.size());
    }
    CHECK(most <= kSlots - kSlots / 8 + 256);
    CHECK(most >= kSlots / 2);
    CHECK(marks.slots() == kSlots);
}

TEST_CASE("watermarks: what a late chunk or a doubtful operation still needs is not evicted") {
    Watermarks marks(1);
    marks.set_doubt(5);
    marks.put(h("old"), {10, 10, 0, true});
    marks.put(h("ahead"), {100, 10, 0, true});
    marks.put(h("late"), {10, 60, 0, true});
    CHECK_FALSE(marks.evict(50, 55));
    CHECK(marks.find(h("old")) == nullptr);
    CHECK(marks.find(h("ahead")) != nullptr);
    CHECK(marks.find(h("late")) != nullptr);
}

TEST_CASE("stream roles and keys") {
    const std::string set = resp({"set", "k", "v", "PXAT", "99"});
    const std::string keep = resp({"SET", "k", "v", "KEEPTTL"});
    const std::string zunion = resp({"ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"});
    const std::string copy = resp({"COPY", "a", "a", "DB", "3"});
    const std::string flush = resp({"FLUSHALL"});
    const auto ops = commands({{1, set}, {2, keep}, {3, zunion}, {4, copy}, {5, flush}});
    CHECK(ops[0].role == StreamRole::reset);
    CHECK(ops[0].gives_ttl);
    CHECK(ops[1].role == StreamRole::op);
    CHECK(ops[2].keys.size() == 3);
    CHECK(ops[2].keys[0].written_whole);
    REQUIRE(ops[3].keys.size() == 2);
    CHECK(ops[3].keys[1].db == 3);
    CHECK(ops[4].global == GlobalKind::flush_all);
}

TEST_CASE("payload: DUMP of \"bar\" by redis 7.0 and valkey 8.0, re-stamped from 11 to 10") {
    const std::string seven("\x00\x03\x62\x61\x72\x0a\x00\xe6\xbe\x49\x60\xee\x66\xfd\x17", 15);
    const std::string eight("\x00\x03\x62\x61\x72\x0b\x00\x8f\x61\xf4\x13\x13\xf9\x14\x9e", 15);
    CHECK(payload_version(seven) == 10);
    CHECK(payload_version(eight) == 11);
    CHECK(restamp(eight, 10) == seven);
    std::string broken = seven;
    broken[2] = 'x';
    CHECK_FALSE(payload_version(broken).has_value());
    CHECK(ladder_level(0, 11, 10) == LadderLevel::restamped);
    CHECK(ladder_level(20, 11, 10) == LadderLevel::typed);
    CHECK(ladder_level(21, 11, 10) == LadderLevel::typed);
    CHECK(ladder_level(7, 11, 10) == LadderLevel::refused);
    CHECK(ladder_level(19, 10, 11) == LadderLevel::raw);
}

TEST_CASE("spool: frames survive, a torn tail is cut, files of another migration are not used") {
    const test::TempDir directory;
    const std::string place = directory.file("spool");
    const StreamPlace start{std::string(40, 'a'), 100, 2};
    {
        auto spool = Spool::open(place, "id:forward");
        REQUIRE(spool.has_value());
        REQUIRE((*spool)->reset(start).has_value());
        (*spool)->append({110, 2, "0123456789"});
        (*spool)->append({115, 3, "abcde"});
        REQUIRE((*spool)->write().has_value());
        REQUIRE((*spool)->seek(110).has_value());
        auto block = (*spool)->read(1 << 20);
        REQUIRE(block.has_value());
        REQUIRE(block->frames.size() == 1);
        CHECK(block->frames[0].bytes == "abcde");
    }
    std::string path;
    for (const auto& entry : std::filesystem::directory_iterator(place))
        path = entry.path().string();
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 2);
    {
        auto spool = Spool::open(place, "id:forward");
        REQUIRE(spool.has_value());
        CHECK((*spool)->end() == StreamPlace{start.replid, 110, 2});
        CHECK((*spool)->covers(100));
        CHECK_FALSE((*spool)->covers(99));
        (*spool)->append({120, 1, "0123456789"});
        REQUIRE((*spool)->write().has_value());
        REQUIRE((*spool)->seek(100).has_value());
        auto block = (*spool)->read(1 << 20);
        REQUIRE(block.has_value());
        CHECK(block->frames.size() == 2);
    }
    auto other = Spool::open(place, "id:reverse");
    REQUIRE(other.has_value());
    CHECK((*other)->empty());
}

TEST_CASE("spool: what was not written before the link was lost comes again, once") {
    const test::TempDir directory;
    const std::string id(40, 'a');
    auto spool = Spool::open(directory.file("spool"), "id:forward");
    REQUIRE(spool.has_value());
    REQUIRE((*spool)->reset({id, 100, 0}).has_value());
    for (const std::string& next : {id, std::string(40, 'b')}) {
        const uint64_t at = (*spool)->end().offset;
        (*spool)->append({at + 5, 3, "abcde"});
        REQUIRE((*spool)->continue_as(next).has_value());
        CHECK((*spool)->end() == StreamPlace{next, at, 0});
        (*spool)->append({at + 5, 0, "abcde"});
        REQUIRE((*spool)->write().has_value());
    }
    REQUIRE((*spool)->seek(100).has_value());
    std::vector<uint64_t> ends;
    for (auto block = (*spool)->read(1 << 20); block && block->bytes;
         block = (*spool)->read(1 << 20)) {
        for (const auto& frame : block->frames) ends.push_back(frame.end);
    }
    CHECK(ends == std::vector<uint64_t>{105, 110});
}

TEST_CASE("spool: what is removed has no name at once, and is freed a second later") {
    const test::TempDir directory;
    const std::string place = directory.file("spool");
    const std::string id(40, 'a');
    auto spool = Spool::open(place, "id:forward", 64);
    REQUIRE(spool.has_value());
    const auto names = [&] {
        return std::distance(std::filesystem::directory_iterator(place), {});
    };
    const auto not_freed = [&] {
        std::set<std::string> files;
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
            std::error_code gone;
            const std::string file = std::filesystem::read_symlink(entry, gone).string();
            if (file.starts_with(place) && file.ends_with(".seg (deleted)")) files.insert(file);
        }
        return static_cast<std::ptrdiff_t>(files.size());
    };
    const auto fill = [&](int segments) {
        REQUIRE((*spool)->reset({id, 100, 0}).has_value());
        for (int i = 1; i <= segments; ++i) {
            (*spool)->append({100 + 10 * static_cast<uint64_t>(i), 0, "0123456789"});
            REQUIRE((*spool)->write().has_value());
        }
    };
    fill(4);
    const auto made = names();
    REQUIRE(made > 3);
    REQUIRE(not_freed() == 0);
    (*spool)->trim(120);
    CHECK(names() < made);
    CHECK(not_freed() == made - names());
    REQUIRE((*spool)->reset({id, 500, 0}).has_value());
    CHECK(names() == 1);
    (*spool)->give_back();
    CHECK(not_freed() == made);  // too early
    CHECK(test::eventually(milliseconds(10'000), [&] {
        (*spool)->give_back();
        return not_freed() == 0;
    }));
    fill(50);
    REQUIRE((*spool)->reset({id, 500, 0}).has_value());
    CHECK(names() == 1);
    CHECK(not_freed() <= 32);  // so many files are kept open at most
}

TEST_CASE("spool: while a new segment cannot be made the old one goes on") {
    const test::TempDir directory;
    const std::string place = directory.file("spool");
    auto spool = Spool::open(place, "id:forward", 64);
    REQUIRE(spool.has_value());
    REQUIRE((*spool)->reset({std::string(40, 'a'), 100, 0}).has_value());
    const std::string in_the_way = place + "/00000000000000000110.seg.new";
    std::filesystem::create_directory(in_the_way);
    (*spool)->append({110, 0, "0123456789"});
    CHECK_FALSE((*spool)->write().has_value());
    std::filesystem::remove(in_the_way);
    REQUIRE((*spool)->continue_as(std::string(40, 'a')).has_value());  // attached again
    (*spool)->append({115, 0, "abcde"});
    REQUIRE((*spool)->write().has_value());
    (*spool)->append({120, 0, "fghij"});
    REQUIRE((*spool)->write().has_value());
    REQUIRE((*spool)->seek(100).has_value());
    std::string read;
    for (auto block = (*spool)->read(1 << 20); block && block->bytes;
         block = (*spool)->read(1 << 20)) {
        for (const auto& frame : block->frames) read += frame.bytes;
    }
    CHECK(read == "0123456789abcdefghij");
}

TEST_CASE("spool: a full disk leaves whole frames, and writing goes on from their end") {
    const test::TempDir directory;
    auto spool = Spool::open(directory.file("spool"), "id:forward");
    REQUIRE(spool.has_value());
    REQUIRE((*spool)->reset({std::string(40, 'a'), 100, 0}).has_value());
    (*spool)->append({110, 0, "0123456789"});
    REQUIRE((*spool)->write().has_value());
    // A file that may not grow stands for a disk that is full: write() takes a part, then fails.
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{4096, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const std::string large(8192, 'x');
    (*spool)->append({110 + large.size(), 0, large});
    const Status full = (*spool)->write();
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK_FALSE(full.has_value());
    CHECK((*spool)->end().offset == 110);
    (*spool)->append({115, 0, "abcde"});
    REQUIRE((*spool)->write().has_value());
    REQUIRE((*spool)->seek(100).has_value());
    auto block = (*spool)->read(1 << 20);
    REQUIRE(block.has_value());
    REQUIRE(block->frames.size() == 2);
    CHECK(block->frames[1].bytes == "abcde");
}

TEST_CASE("the copy queue is full when its items occupy its bytes, small as their values are") {
    CopyQueue queue;
    std::atomic<std::size_t> delivered{0};
    constexpr std::size_t kItems = 4'096;
    std::jthread copier([&](const std::stop_token& stop) {
        for (;;) {
            const uint64_t id = queue.begin(0, queue.generation());
            if (!queue.deliver(id, std::vector<CopyItem>(kItems, copy_of("k", 7)), {}, stop))
                return;
            ++delivered;
        }
    });
    // Full when nothing more came for a while; it goes on when there is room.
    const auto full = [&] {
        for (std::size_t before = 0; delivered == 0 || delivered != before;) {
            before = delivered;
            std::this_thread::sleep_for(milliseconds(200));
        }
        return delivered.load();
    };
    const std::size_t held = full();
    CHECK(held * kItems * sizeof(CopyItem) <= limits::kCopyQueue_bytes);
    CHECK(held * kItems * sizeof(CopyItem) > limits::kCopyQueue_bytes / 4);
    CHECK(queue.take(kItems, limits::kCopyQueue_bytes).chunks == 1);
    queue.finish();
    CHECK(full() == held + 1);
    copier.request_stop();
    queue.drop_all();
}

TEST_CASE(
    "copy queue: floors are held until the chunk was executed, and a flush drops what was read "
    "before it") {
    CopyQueue queue;
    const std::stop_source stop;
    const auto first = queue.begin(100, queue.generation());
    CHECK(queue.floor() == 100);
    CHECK(queue.deliver(first, {copy_of("a", 120)}, {ScanPlace::Phase::copy, false, 0, "7", "r"},
                        stop.get_token()));
    const auto batch = queue.take(10, 1 << 20);
    CHECK(batch.items.size() == 1);
    CHECK(queue.floor() == 100);
    CHECK(queue.place().cursor == "0");
    queue.finish();
    CHECK(queue.floor() == kNoOffset);
    CHECK(queue.place().cursor == "7");
    const auto second = queue.begin(200, queue.generation());
    queue.drop_db(0);
    CHECK_FALSE(queue.deliver(second, {copy_of("a", 220)}, {}, stop.get_token()));
    CHECK(ScanPlace::parse(queue.place().text()) == queue.place());
}

TEST_CASE("copy queue: a page that was scanned before everything begins again moves no place") {
    CopyQueue queue;
    const std::stop_source stop;
    const uint64_t generation = queue.generation();  // the copier looks, then scans a page …
    const ScanPlace again{ScanPlace::Phase::copy, false, 0, "0", "r"};
    queue.restart(again);  // … and meanwhile the lane met a SWAPDB
    const auto late = queue.begin(300, generation);
    CHECK_FALSE(queue.deliver(late, {copy_of("a", 320)},
                              {ScanPlace::Phase::copy, false, 1, "7", "r"}, stop.get_token()));
    CHECK(queue.idle());
    CHECK(queue.take(10, 1 << 20).chunks == 0);
    CHECK(queue.place() == again);
    const auto next = queue.begin(300, queue.generation());
    CHECK(queue.deliver(next, {copy_of("a", 320)}, {ScanPlace::Phase::copy, false, 0, "3", "r"},
                        stop.get_token()));
}

TEST_CASE("scope globs match as servers do, and never a name of exodus") {
    CHECK(glob_match("a*c", "abbc"));
    CHECK(glob_match("h[^e-g]llo", "hallo"));
    CHECK_FALSE(glob_match("h[^e-g]llo", "hello"));
    CHECK(glob_match("a\\*", "a*"));
    CHECK_FALSE(glob_match("a?", "a"));
    const Scope scope({{"user:*"}, {"user:tmp:*"}});
    CHECK(scope.contains("user:1"));
    CHECK_FALSE(scope.contains("user:tmp:1"));
    CHECK_FALSE(scope.contains("other"));
    CHECK_FALSE(Scope({}).contains("exodus:cp:x"));
}

}  // namespace
}  // namespace exodus::redis
