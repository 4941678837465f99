#include "families/redis/spool.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "base/digest.h"
#include "base/limits.h"

namespace exodus::redis {

namespace {

constexpr std::string_view kMagic = "EXSPOOL1";
constexpr std::size_t kFrameHead = 20;
/// Longer than a hold lasts behind the start of the way back.
constexpr int64_t kGiveBack_us = 1'000'000;
constexpr std::size_t kRemoved_max = 32;  ///< more are freed at once

template <class T>
void put(std::string& out, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
        out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <class T>
T get(const char* from) {
    uint64_t value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;) value = value << 8 | static_cast<uint8_t>(from[i]);
    return static_cast<T>(value);
}

/// Parses whole good frames; returns the bytes they take.
std::size_t parse_frames(std::string_view bytes, std::vector<Frame>& frames) {
    std::size_t at = 0;
    while (bytes.size() - at >= kFrameHead) {
        const char* head = bytes.data() + at;
        const auto length = get<uint32_t>(head);
        if (bytes.size() - at - kFrameHead < length) break;
        const std::string_view command(head + kFrameHead, length);
        if (get<uint32_t>(head + 16) != (xxh32({head, 16}) ^ xxh32(command))) break;
        frames.push_back({get<uint64_t>(head + 4), get<uint16_t>(head + 12), command});
        at += kFrameHead + length;
    }
    return at;
}

Result<std::string> read_range(int fd, uint64_t from, std::size_t size) {
    std::string bytes(size, '\0');
    std::size_t have = 0;
    while (have < size) {
        const ssize_t got =
            ::pread(fd, bytes.data() + have, size - have, static_cast<off_t>(from + have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("reading the spool", errno);
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    bytes.resize(have);
    return bytes;
}

Status write_whole(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t put_bytes = ::write(fd, bytes.data(), bytes.size());
        if (put_bytes < 0 && errno == EINTR) continue;
        if (put_bytes < 0) return fail_errno("writing the spool", errno);
        bytes.remove_prefix(static_cast<std::size_t>(put_bytes));
    }
    return {};
}

}  // namespace

Spool::Spool(std::string directory, std::string identity, uint64_t segment_bytes)
    : directory_(std::move(directory)),
      identity_(std::move(identity)),
      segment_bytes_(segment_bytes) {}

Spool::~Spool() {
    (void)write();
    for (const int fd : full_fds_) ::close(fd);
    for (const int fd : {write_fd_, read_fd_})
        if (fd >= 0) ::close(fd);
    for (const auto& removed : removed_) ::close(removed.fd);
}

Result<std::unique_ptr<Spool>> Spool::open(const std::string& directory,
                                           const std::string& identity, uint64_t segment_bytes) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error)
        return fail(ErrorCode::cannot_create,
                    fmt::format("spool directory {}: {}", directory, error.message()));
    ::chmod(directory.c_str(), 0700);
    std::unique_ptr<Spool> spool(new Spool(directory, identity, segment_bytes));
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        if (entry.path().extension() == ".seg") paths.push_back(entry.path().string());
    }
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
        auto segment = spool->load(path);
        const bool follows = segment && (spool->segments_.empty() ||
                                         spool->segments_.back().end == segment->start.offset);
        if (!follows) {  // a broken or missing piece: what is left could not be applied in order
            spool->clear();
            return spool;
        }
        spool->segments_.push_back(std::move(*segment));
    }
    if (!spool->segments_.empty()) {
        const Segment& last = spool->segments_.back();
        spool->write_fd_ = ::open(last.path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
        if (spool->write_fd_ < 0 ||
            ::ftruncate(spool->write_fd_, static_cast<off_t>(last.size)) != 0) {
            return fail_errno("opening " + last.path, errno);
        }
        // The process that filled it may have died before it was synced.
        if (const auto filled = spool->segments_.size() - 1; filled > 0) {
            const int fd = ::open(spool->segments_[filled - 1].path.c_str(), O_RDONLY | O_CLOEXEC);
            if (fd < 0) return fail_errno("opening the spool", errno);
            spool->full_fds_.push_back(fd);
        }
        spool->buffered_end_ = {last.start.replid, last.end, last.end_db};
    }
    return spool;
}

Result<Spool::Segment> Spool::load(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno("opening " + path, errno);
    auto head = read_range(fd, 0, 1024);
    Segment segment;
    segment.path = path;
    const auto broken = [&] {
        ::close(fd);
        return fail(ErrorCode::data, "spool segment is broken: " + path);
    };
    if (!head || head->size() < 26 || !head->starts_with(kMagic)) return broken();
    segment.start.offset = get<uint64_t>(head->data() + 8);
    segment.start.db = static_cast<int>(get<uint32_t>(head->data() + 16));
    std::size_t at = 20;
    for (int part = 0; part < 2; ++part) {
        const auto length = static_cast<uint8_t>((*head)[at]);
        if (head->size() < at + 1 + length + 5) return broken();
        const std::string text = head->substr(at + 1, length);
        if (part == 0)
            segment.start.replid = text;
        else if (text != identity_)
            return broken();
        at += 1 + length;
    }
    if (get<uint32_t>(head->data() + at) != xxh32({head->data(), at})) return broken();
    segment.header = segment.size = at + 4;
    segment.end = segment.start.offset;
    segment.end_db = segment.start.db;
    for (;;) {
        std::size_t want = limits::kBatch_bytes;
        if (auto next = read_range(fd, segment.size, kFrameHead);
            next && next->size() == kFrameHead) {
            want = std::max(want, kFrameHead + get<uint32_t>(next->data()));
        }
        auto bytes = read_range(fd, segment.size, want);
        std::vector<Frame> frames;
        const std::size_t used = bytes ? parse_frames(*bytes, frames) : 0;
        if (used == 0) break;
        segment.end = frames.back().end;
        segment.end_db = frames.back().db;
        segment.size += used;
    }
    ::close(fd);
    return segment;
}

void Spool::clear() {
    const std::lock_guard lock(mutex_);
    for (const int fd : full_fds_) ::close(fd);
    full_fds_.clear();
    for (int* fd : {&write_fd_, &read_fd_})
        if (*fd >= 0) ::close(std::exchange(*fd, -1));
    segments_.clear();
    buffer_.clear();
    unsynced_ = 0;
    durable_end_ = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
        if (entry.path().extension() == ".seg" || entry.path().extension() == ".new")
            remove(entry.path().string());
    }
}

/// With mutex_ held.
void Spool::remove(const std::string& path) {
    const int fd = removed_.size() < kRemoved_max ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC) : -1;
    ::unlink(path.c_str());
    if (fd >= 0) removed_.push_back({steady_us(), fd});
}

void Spool::give_back() {
    for (;;) {
        int fd = -1;
        {
            const std::lock_guard lock(mutex_);
            if (removed_.empty() || steady_us() - removed_.front().us < kGiveBack_us) return;
            fd = removed_.front().fd;
            removed_.pop_front();
        }
        ::close(fd);
    }
}

Status Spool::reset(const StreamPlace& start) {
    clear();
    const std::lock_guard lock(mutex_);
    return begin_segment(start);
}

Status Spool::begin_segment(const StreamPlace& start) {
    Segment segment;
    segment.path = fmt::format("{}/{:020}.seg", directory_, start.offset);
    segment.start = start;
    segment.end = start.offset;
    segment.end_db = start.db;
    std::string head(kMagic);
    put(head, start.offset);
    put(head, static_cast<uint32_t>(start.db));
    for (const std::string& text : {start.replid, identity_}) {
        head.push_back(static_cast<char>(std::min<std::size_t>(text.size(), 255)));
        head.append(text, 0, 255);
    }
    put(head, xxh32(head));
    segment.header = segment.size = head.size();
    // Whole or not at all: while this fails, the segment before it goes on, longer than others.
    const std::string fresh = segment.path + ".new";
    const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return fail_errno("creating " + fresh, errno);
    Status made = write_whole(fd, head);
    if (made && ::rename(fresh.c_str(), segment.path.c_str()) != 0)
        made = fail_errno("renaming " + fresh, errno);
    if (!made) {
        ::close(fd);
        ::unlink(fresh.c_str());
        return made;
    }
    // A segment of the same start without frames is replaced: only its replication id differs.
    if (!segments_.empty() && segments_.back().start.offset == start.offset) segments_.pop_back();
    if (write_fd_ >= 0) full_fds_.push_back(write_fd_);
    write_fd_ = fd;
    names_synced_ = false;
    segments_.push_back(std::move(segment));
    buffered_end_ = start;
    return {};
}

bool Spool::empty() const {
    const std::lock_guard lock(mutex_);
    return segments_.empty();
}

StreamPlace Spool::start() const {
    const std::lock_guard lock(mutex_);
    return segments_.empty() ? StreamPlace{} : segments_.front().start;
}

StreamPlace Spool::end() const {
    const std::lock_guard lock(mutex_);
    if (segments_.empty()) return {};
    const Segment& last = segments_.back();
    return {last.start.replid, last.end, last.end_db};
}

uint64_t Spool::bytes() const {
    const std::lock_guard lock(mutex_);
    uint64_t all = 0;
    for (const auto& segment : segments_) all += segment.size;
    return all;
}

bool Spool::covers(uint64_t offset) const {
    const std::lock_guard lock(mutex_);
    return !segments_.empty() && segments_.front().start.offset <= offset &&
           offset <= segments_.back().end;
}

void Spool::append(const Frame& frame) {
    const std::size_t head = buffer_.size();
    put(buffer_, static_cast<uint32_t>(frame.bytes.size()));
    put(buffer_, frame.end);
    put(buffer_, static_cast<uint16_t>(frame.db));
    put(buffer_, static_cast<uint16_t>(0));
    put(buffer_, xxh32({buffer_.data() + head, 16}) ^ xxh32(frame.bytes));
    buffer_.append(frame.bytes);
    buffered_end_.offset = frame.end;
    buffered_end_.db = frame.db;
}

Status Spool::write() {
    if (write_fd_ < 0 || buffer_.empty()) return {};
    if (Status wrote = write_whole(write_fd_, buffer_); !wrote) {
        // A full disk: what is there stays whole, and the stream is fetched again from its end.
        buffer_.clear();
        const std::lock_guard lock(mutex_);
        const Segment& last = segments_.back();
        if (::ftruncate(write_fd_, static_cast<off_t>(last.size)) != 0)
            return fail_errno("cutting off what was written in part of " + last.path, errno);
        buffered_end_ = {last.start.replid, last.end, last.end_db};
        return wrote;
    }
    unsynced_ += buffer_.size();
    const std::lock_guard lock(mutex_);
    Segment& last = segments_.back();
    last.size += buffer_.size();
    last.end = buffered_end_.offset;
    last.end_db = buffered_end_.db;
    buffer_.clear();
    if (buffer_.capacity() > limits::kSpoolUnsynced_bytes) buffer_.shrink_to_fit();
    if (last.size < segment_bytes_) return {};
    return begin_segment({last.start.replid, last.end, last.end_db});
}

Status Spool::sync_when_due() {
    if (write_fd_ < 0) return {};
    const int64_t now = steady_us();
    if (unsynced_ > limits::kSpoolUnsynced_bytes ||
        (unsynced_ > 0 && now - synced_us_ > limits::kSpoolSync_ms * 1000)) {
        for (; !full_fds_.empty(); full_fds_.pop_back()) {
            if (::fdatasync(full_fds_.back()) != 0) return fail_errno("syncing the spool", errno);
            ::close(full_fds_.back());
        }
        if (::fdatasync(write_fd_) != 0) return fail_errno("syncing the spool", errno);
        if (!names_synced_) EXODUS_TRY(sync_names());
        unsynced_ = 0;
        synced_us_ = steady_us();
        durable_end_ = end().offset;
    }
    return {};
}

/// A segment whose name is lost with the host's memory is lost with what it holds.
Status Spool::sync_names() {
    const int fd = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno("opening " + directory_, errno);
    const bool synced = ::fsync(fd) == 0;
    const int error = errno;
    ::close(fd);
    if (!synced) return fail_errno("syncing " + directory_, error);
    names_synced_ = true;
    return {};
}

Status Spool::continue_as(const std::string& replid) {
    const std::lock_guard lock(mutex_);
    buffer_.clear();
    if (segments_.empty()) return {};
    const Segment& last = segments_.back();
    buffered_end_ = {last.start.replid, last.end, last.end_db};
    if (last.start.replid == replid) return {};
    return begin_segment({replid, last.end, last.end_db});
}

Status Spool::seek(uint64_t offset) {
    const std::lock_guard lock(mutex_);
    if (read_fd_ >= 0) ::close(read_fd_);
    read_fd_ = -1;
    skip_through_ = offset;
    for (auto it = segments_.rbegin(); it != segments_.rend(); ++it) {
        if (it->start.offset > offset) continue;
        read_segment_ = it->start.offset;
        read_at_ = it->header;
        return {};
    }
    return fail(ErrorCode::gap, fmt::format("the spool does not reach back to offset {}", offset));
}

Result<SpoolBlock> Spool::read(std::size_t bytes_max) {
    for (;;) {
        uint64_t size = 0;
        bool last = true;
        {
            const std::lock_guard lock(mutex_);
            const auto found = std::find_if(
                segments_.begin(), segments_.end(),
                [&](const Segment& segment) { return segment.start.offset == read_segment_; });
            if (found == segments_.end())
                return fail(ErrorCode::gap, "the spool segment that is read has gone");
            last = std::next(found) == segments_.end();
            if (read_at_ >= found->size && !last) {
                read_segment_ = std::next(found)->start.offset;
                read_at_ = std::next(found)->header;
                if (read_fd_ >= 0) ::close(read_fd_);
                read_fd_ = -1;
                continue;
            }
            size = found->size;
            if (read_fd_ < 0) {
                read_fd_ = ::open(found->path.c_str(), O_RDONLY | O_CLOEXEC);
                if (read_fd_ < 0) return fail_errno("opening " + found->path, errno);
            }
        }
        if (read_at_ >= size) return SpoolBlock{};
        std::size_t want = std::min<uint64_t>(bytes_max, size - read_at_);
        auto head = read_range(read_fd_, read_at_, kFrameHead);
        if (!head) return tl::unexpected<Error>(std::move(head).error());
        if (head->size() == kFrameHead)
            want = std::max(want, kFrameHead + get<uint32_t>(head->data()));
        auto bytes = read_range(read_fd_, read_at_, want);
        if (!bytes) return tl::unexpected<Error>(std::move(bytes).error());
        SpoolBlock block;
        block.bytes = std::make_unique<std::string>(std::move(*bytes));
        const std::size_t used = parse_frames(*block.bytes, block.frames);
        if (used == 0) return fail(ErrorCode::data, "a spool frame is broken");
        read_at_ += used;
        std::erase_if(block.frames,
                      [this](const Frame& frame) { return frame.end <= skip_through_; });
        if (!block.frames.empty()) return block;
    }
}

void Spool::trim(uint64_t offset) {
    const std::lock_guard lock(mutex_);
    while (segments_.size() > 1 && segments_.front().end <= offset &&
           segments_.front().start.offset != read_segment_) {
        remove(segments_.front().path);
        segments_.pop_front();
    }
}

}  // namespace exodus::redis
