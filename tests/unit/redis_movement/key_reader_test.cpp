// Hazard: what is asked of the origin for a key is less than what its copy needs: an expiry that is
// not there on the other side, an empty string that was no key, a value cut off. The reader must
// tell by itself which keys it could not read so.
#include "families/redis/key_reader.h"

#include <doctest/doctest.h>
#include <initializer_list>

#include "families/redis/payload.h"

using namespace exodus;
using namespace exodus::redis;

namespace {

/// Answers with what it was given.
class Scripted final : public ByteStream {
  public:
    explicit Scripted(std::string replies) : replies_(std::move(replies)) {}
    Result<std::size_t> read(std::span<char> buffer, Deadline) override {
        if (replies_.empty()) return fail(ErrorCode::unreachable, "connection closed");
        const std::size_t size = std::min(buffer.size(), replies_.size());
        std::copy_n(replies_.begin(), size, buffer.begin());
        replies_.erase(0, size);
        return size;
    }
    Status write(std::string_view, Deadline) override { return {}; }
    void shutdown() override {}

  private:
    std::string replies_;
};

std::string bulk(std::string_view text) {
    return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

std::string info(std::string_view keyspace) {
    return bulk("# Replication\r\nmaster_replid:R\r\nmaster_repl_offset:70\r\n" +
                std::string(keyspace));
}

constexpr std::string_view kSomeExpire = "\r\n# Keyspace\r\ndb3:keys=9,expires=2,avg_ttl=5\r\n";
constexpr std::string_view kNoneExpires =
    "\r\n# Keyspace\r\ndb1:keys=9,expires=9,avg_ttl=5\r\ndb3:keys=9,expires=0,avg_ttl=0\r\n"
    "db33:keys=9,expires=9,avg_ttl=5\r\n";

Chunk read(ChunkRead how, std::initializer_list<std::string> answers, std::string_view keyspace) {
    const std::size_t count = answers.size() / (how.expiries ? 2 : 1);
    std::vector<Key> keys;
    for (std::size_t i = 0; i < count; ++i) {
        const std::string name = "k" + std::to_string(i);
        keys.push_back({3, name, key_hash(3, name)});
    }
    std::string replies = "+OK\r\n";
    for (std::size_t i = 0; i < answers.size() + 2; ++i) replies += "+QUEUED\r\n";
    replies += "*" + std::to_string(answers.size() + 2) + "\r\n+OK\r\n";
    for (const auto& answer : answers) replies += answer;
    replies += info(keyspace);
    Client client(std::make_unique<Scripted>(replies));
    KeyReader::send(client, 3, keys, how);
    DestinationFormat format;
    format.rdb_version = 10;
    auto chunk = KeyReader(format).receive(client, keys, "R", how);
    REQUIRE(chunk.has_value());
    CHECK(client.pending_replies() == 0);
    for (const auto& item : chunk->items) CHECK(item.at == 70);
    return std::move(*chunk);
}

std::string command(std::initializer_list<std::string_view> words) {
    std::string out;
    append_command(out, words);
    return out;
}

std::vector<std::string> names(const std::vector<Key>& keys) {
    std::vector<std::string> all;
    all.reserve(keys.size());
    for (const auto& key : keys) all.push_back(key.name);
    return all;
}

const std::string kWrongType =
    "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

}  // namespace

TEST_CASE("short strings with their expiry; absent, long ones and other types") {
    const std::string most(kShortString_bytes, 'x');
    const auto chunk = read({.strings = true, .expiries = true},
                            {bulk("a\r\nb"), ":1700000000123\r\n", bulk("kept"), ":-1\r\n",
                             bulk(""), ":-1\r\n", bulk(""), ":-2\r\n", kWrongType, ":-1\r\n",
                             bulk(most + "x"), ":-1\r\n", bulk(most), ":-1\r\n"},
                            kSomeExpire);
    CHECK(names(chunk.rest) == std::vector<std::string>{"k4", "k5"});
    REQUIRE(chunk.items.size() == 5);
    CHECK(chunk.items[0].bytes == command({"SET", "k0", "a\r\nb", "PXAT", "1700000000123"}));
    CHECK(chunk.items[0].expires);
    CHECK(chunk.items[1].bytes == command({"SET", "k1", "kept"}));
    CHECK_FALSE(chunk.items[1].expires);
    CHECK(chunk.items[2].bytes == command({"SET", "k2", ""}));
    CHECK_FALSE(chunk.items[2].absent);
    CHECK(chunk.items[3].bytes == command({"DEL", "k3"}));
    CHECK(chunk.items[3].absent);
    CHECK(chunk.items[4].bytes == command({"SET", "k6", most}));
    CHECK(chunk.strings == 4);
    CHECK(chunk.expiries);
}

TEST_CASE("without asking for expiries: only while the database has none, whatever others have") {
    const ChunkRead how{.strings = true, .expiries = false};
    const auto proven = read(how, {bulk("a"), bulk(""), kWrongType}, kNoneExpires);
    REQUIRE(proven.items.size() == 1);
    CHECK(proven.items[0].bytes == command({"SET", "k0", "a"}));
    // An empty string, or no key at all.
    CHECK(names(proven.rest) == std::vector<std::string>{"k1", "k2"});
    CHECK_FALSE(proven.expiries);
    for (const std::string_view keyspace :
         {kSomeExpire, std::string_view(), std::string_view("\r\n# Keyspace\r\ndb3:keys=9\r\n")}) {
        INFO(keyspace);
        const auto unproven = read(how, {bulk("a"), bulk(""), kWrongType}, keyspace);
        CHECK(unproven.items.empty());
        CHECK(unproven.rest.size() == 3);
        CHECK(unproven.expiries);
    }
}

TEST_CASE("DUMP without expiries, and what a page learns of it") {
    const std::string bar("\x00\x03\x62\x61\x72\x0a\x00\xe6\xbe\x49\x60\xee\x66\xfd\x17", 15);
    const auto proven =
        read({.strings = false, .expiries = false}, {bulk(bar), "$-1\r\n"}, kNoneExpires);
    REQUIRE(proven.items.size() == 2);
    CHECK(proven.items[0].bytes == command({"RESTORE", "k0", "0", bar, "REPLACE", "ABSTTL"}));
    CHECK(proven.items[1].absent);
    CHECK(proven.strings == 1);
    CHECK(proven.others == 0);
    const auto unproven =
        read({.strings = false, .expiries = false}, {bulk(bar), "$-1\r\n"}, kSomeExpire);
    CHECK(unproven.items.empty());
    CHECK(unproven.rest.size() == 2);
    const auto asked =
        read({}, {bulk(bar), ":1700000000123\r\n", "$-1\r\n", ":-2\r\n"}, kSomeExpire);
    REQUIRE(asked.items.size() == 2);
    CHECK(asked.rest.empty());
    CHECK(asked.items[0].bytes ==
          command({"RESTORE", "k0", "1700000000123", bar, "REPLACE", "ABSTTL"}));
}

TEST_CASE("the length of a string in its payload") {
    const auto of = [](const std::string& bytes) { return payload_string_bytes(bytes); };
    CHECK(of(std::string("\x00\x03\x62\x61\x72", 5)) == 3);
    CHECK(of(std::string("\x00\x41\x02", 3) + std::string(258, 'x')) == 258);
    CHECK(of(std::string("\x00\x80\x00\x01\x00\x00", 6)) == 65'536);
    CHECK(of(std::string("\x00\x81\x00\x00\x00\x01\x00\x00\x00\x00", 10)) == 4'294'967'296);
    CHECK(of(std::string("\x00\xc1\x39\x30", 4)) == 11);               // 12345
    CHECK(of(std::string("\x00\xc3\x09\x44\xb0\x01xx", 8)) == 1'200);  // LZF: 9 bytes of 1200
    CHECK_FALSE(of(std::string("\x00\xc3\x09", 3)));
    CHECK_FALSE(of(std::string("\x00\x80\x00", 3)));
    CHECK_FALSE(of(std::string("\x00\xc4\x01", 3)));
    CHECK_FALSE(of(std::string("\x04\x03\x62\x61\x72", 5)));  // a hash
    CHECK_FALSE(of(std::string("\x00", 1)));
    CHECK_FALSE(of(""));
}
