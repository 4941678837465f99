#include "families/redis/foreign_keys.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <unistd.h>
#include <utility>

namespace exodus::redis {

namespace {

constexpr std::string_view kPast = "forward-past";  // positions that outlive an attempt
constexpr std::string_view kRecord = "foreign";
constexpr std::size_t kHash_bytes = 16;

struct Stored {
    std::size_t kept = 0;
    std::size_t left = 0;
    std::string digest;
};

std::string path_of(const FamilyContext& context, const std::string& digest) {
    return context.directory + "/redis-foreign-" + digest.substr(0, 16);
}

std::string taken_path_of(const std::string& path, Direction direction) {
    return fmt::format("{}.{}.taken", path, to_string(direction));
}

Result<std::optional<Stored>> stored(Journal& journal) {
    auto text = journal.load_position(kPast, kRecord);
    if (!text) return tl::unexpected<Error>(std::move(text).error());
    if (!*text) return std::optional<Stored>{};
    std::istringstream in(**text);
    Stored record;
    if (!(in >> record.kept >> record.left >> record.digest))
        return fail(ErrorCode::data, "the record of the target's own keys is damaged");
    return std::optional(record);
}

void append(std::string& bytes, const Digest128& hash) {
    bytes.append(reinterpret_cast<const char*>(&hash.low), 8);
    bytes.append(reinterpret_cast<const char*>(&hash.high), 8);
}

Digest128 hash_at(std::string_view bytes, std::size_t index) {
    Digest128 hash;
    std::memcpy(&hash.low, bytes.data() + index * kHash_bytes, 8);
    std::memcpy(&hash.high, bytes.data() + index * kHash_bytes + 8, 8);
    return hash;
}

Result<std::string> read_whole(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    if (!file) return fail(ErrorCode::io, "reading " + path);
    return bytes.str();
}

/// Empty when the file is not there. A piece of a hash at the end is of a write that a crash cut.
Result<std::unordered_set<Digest128, DigestHash>> read_taken(const std::string& path) {
    std::unordered_set<Digest128, DigestHash> taken;
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return taken;
    const auto size = std::filesystem::file_size(path, error);
    if (error) return fail(ErrorCode::io, path + ": " + error.message());
    if (size == 0) return taken;
    auto bytes = read_whole(path);
    if (!bytes) return tl::unexpected<Error>(std::move(bytes).error());
    for (std::size_t i = 0; i < bytes->size() / kHash_bytes; ++i) taken.insert(hash_at(*bytes, i));
    return taken;
}

Status write_all(int file, std::string_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(file, bytes.data(), bytes.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail_errno("writing " + path, errno);
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    if (::fdatasync(file) != 0) return fail_errno("writing " + path, errno);
    return {};
}

void sort_unique(std::vector<Digest128>& hashes) {
    std::sort(hashes.begin(), hashes.end());
    hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
}

bool holds(const std::vector<Digest128>& sorted, const Digest128& key) {
    return std::binary_search(sorted.begin(), sorted.end(), key);
}

}  // namespace

ForeignKeys::~ForeignKeys() {
    if (taken_file_ >= 0) ::close(taken_file_);
}

ForeignKeys::ForeignKeys(ForeignKeys&& other) noexcept { *this = std::move(other); }

ForeignKeys& ForeignKeys::operator=(ForeignKeys&& other) noexcept {
    std::swap(names_, other.names_);
    std::swap(taken_, other.taken_);
    std::swap(direction_, other.direction_);
    std::swap(taken_path_, other.taken_path_);
    std::swap(taken_file_, other.taken_file_);
    return *this;
}

Result<ForeignKeys> ForeignKeys::load(const FamilyContext& context, Direction direction) {
    ForeignKeys keys;
    keys.direction_ = direction;
    auto record = stored(context.journal);
    if (!record) return tl::unexpected<Error>(std::move(record).error());
    if (!*record || (*record)->kept + (*record)->left == 0) return keys;
    const std::string path = path_of(context, (*record)->digest);
    auto bytes = read_whole(path);
    if (!bytes || hex(xxh3_128(*bytes)) != (*record)->digest ||
        bytes->size() != ((*record)->kept + (*record)->left) * kHash_bytes) {
        return fail(ErrorCode::safety,
                    "the list of keys that were on the target before is damaged: " + path,
                    "without it exodus cannot tell the target's own keys from copied ones");
    }
    for (std::size_t i = 0; i < (*record)->kept + (*record)->left; ++i)
        (i < (*record)->kept ? keys.names_.kept : keys.names_.left).push_back(hash_at(*bytes, i));
    auto taken = read_taken(taken_path_of(path, Direction::forward));
    if (!taken) return tl::unexpected<Error>(std::move(taken).error());
    // What the forward direction has written is no longer the target's own, for either direction.
    std::erase_if(keys.names_.left, [&](const Digest128& key) { return taken->contains(key); });
    if (direction == Direction::reverse) {
        auto back = read_taken(taken_path_of(path, direction));
        if (!back) return tl::unexpected<Error>(std::move(back).error());
        keys.taken_ = std::move(*back);
    }
    keys.taken_path_ = taken_path_of(path, direction);
    return keys;
}

Status ForeignKeys::save(const FamilyContext& context, Names names) {
    auto before = stored(context.journal);
    if (!before) return tl::unexpected<Error>(std::move(before).error());
    sort_unique(names.kept);
    sort_unique(names.left);
    std::string bytes;
    bytes.reserve(names.size() * kHash_bytes);
    for (const auto* list : {&names.kept, &names.left}) {
        for (const auto& hash : *list) append(bytes, hash);
    }
    const std::string digest = hex(xxh3_128(bytes));
    const std::string path = path_of(context, digest);
    std::error_code ignored;
    for (const Direction direction : {Direction::forward, Direction::reverse})
        std::filesystem::remove(taken_path_of(path, direction), ignored);
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return fail_errno("making " + path, errno);
    const Status written = write_all(file, bytes, path);
    ::close(file);
    EXODUS_TRY(written);
    EXODUS_TRY(context.journal.save_position(
        kPast, kRecord, fmt::format("{} {} {}", names.kept.size(), names.left.size(), digest)));
    if (*before && (*before)->digest != digest) {
        const std::string old = path_of(context, (*before)->digest);
        std::filesystem::remove(old, ignored);
        for (const Direction direction : {Direction::forward, Direction::reverse})
            std::filesystem::remove(taken_path_of(old, direction), ignored);
    }
    return {};
}

Status ForeignKeys::forget_taken(const FamilyContext& context, Direction direction) {
    auto record = stored(context.journal);
    if (!record) return tl::unexpected<Error>(std::move(record).error());
    if (!*record) return {};
    std::error_code error;
    std::filesystem::remove(taken_path_of(path_of(context, (*record)->digest), direction), error);
    if (error) return fail(ErrorCode::io, "forgetting what was taken over: " + error.message());
    return {};
}

bool ForeignKeys::never_written(const Digest128& key) const {
    return direction_ == Direction::forward && holds(names_.kept, key);
}

bool ForeignKeys::doubtful(const Digest128& key) const {
    if (names_.size() == 0 || taken_.contains(key)) return false;
    return holds(names_.left, key) || (direction_ == Direction::reverse && holds(names_.kept, key));
}

bool ForeignKeys::excuses(const Digest128& key, Difference difference) const {
    if (names_.size() == 0 || difference == Difference::none || taken_.contains(key)) return false;
    if (holds(names_.kept, key)) return true;
    // Only the target has it, seen from the side that has the authority.
    const Difference only_target =
        direction_ == Direction::forward ? Difference::extra : Difference::missing;
    return difference == only_target && holds(names_.left, key);
}

Status ForeignKeys::take(const std::vector<Digest128>& keys) {
    if (keys.empty()) return {};
    if (taken_file_ < 0) {
        taken_file_ = ::open(taken_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (taken_file_ < 0) return fail_errno("making " + taken_path_, errno);
        const off_t size = ::lseek(taken_file_, 0, SEEK_END);
        if (size < 0 || ::ftruncate(taken_file_, size - size % off_t{kHash_bytes}) != 0)
            return fail_errno("opening " + taken_path_, errno);
    }
    std::string bytes;
    for (const auto& key : keys) append(bytes, key);
    EXODUS_TRY(write_all(taken_file_, bytes, taken_path_));
    taken_.insert(keys.begin(), keys.end());
    return {};
}

}  // namespace exodus::redis
