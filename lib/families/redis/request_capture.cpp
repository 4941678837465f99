#include "families/redis/request_capture.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "families/redis/stream_command.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

/// Logins, administration (passwords in CONFIG SET, ACL, MIGRATE) and what turns a connection into
/// something else are no workload that could be sent again.
bool is_workload(const resp::CommandRow& row) {
    const bool connection = row.effect == resp::Effect::connection && row.name != "SELECT" &&
                            row.name != "PING" && row.name != "ECHO";
    return row.known && !connection && row.effect != resp::Effect::admin &&
           row.effect != resp::Effect::pubsub;
}

/// Only reads that stand for themselves and answer at once may be sent to the target again.
bool may_be_replayed(const resp::CommandRow& row) {
    return row.effect == resp::Effect::read && row.connection == resp::ConnectionClass::shared &&
           !row.has(resp::flag::kBlocking);
}

}  // namespace

RequestCapture::~RequestCapture() {
    if (thread_.joinable()) (void)end();
}

Status RequestCapture::begin(const std::string& path) {
    if (thread_.joinable()) (void)end();
    const std::lock_guard calls(calls_);
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd_ < 0 && errno == EEXIST)
        return fail(ErrorCode::cannot_create, path + " exists already",
                    "a capture never overwrites a file: name another, or remove it");
    if (fd_ < 0) return fail_errno(path, errno);
    began_us_ = wall_us();
    errno_ = 0;
    written_ = bytes_ = 0;
    {
        const std::lock_guard lock(mutex_);
        queue_.clear();
        queued_bytes_ = 0;
        dropped_ = 0;
        ending_ = false;
    }
    write("# requests captured by exodus; it holds keys and values of the application\n");
    thread_ = std::thread([this] { run(); });
    on_ = true;
    return {};
}

Result<RequestCapture::Counts> RequestCapture::end() {
    const std::lock_guard calls(calls_);
    if (!thread_.joinable()) return fail(ErrorCode::not_allowed, "no capture runs");
    on_ = false;
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    ready_.notify_all();
    thread_.join();
    const Counts counts{written_, dropped_, bytes_};
    write(fmt::format("# end: {} requests, {} left out\n", written_, dropped_));
    if (::close(fd_) != 0 && errno_ == 0) errno_ = errno;
    fd_ = -1;
    if (errno_ != 0) return fail_errno("writing the capture", errno_);
    return counts;
}

void RequestCapture::add(const resp::CommandRow& row, const resp::RequestFrame& frame, int database,
                         int64_t client, int64_t wall_us) {
    if (!is_workload(row)) return;
    Request request{wall_us, client, database, may_be_replayed(row), {}};
    const bool whole = !frame.partial;
    if (whole) request.frame = frame.bytes;
    const std::size_t size = sizeof request + request.frame.size();
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        if (!whole || ending_ || queued_bytes_ + size > limits::kCaptureQueue_bytes) {
            ++dropped_;
            return;
        }
        first = queue_.empty();
        queued_bytes_ += size;
        queue_.push_back(std::move(request));
    }
    if (first) ready_.notify_one();
}

void RequestCapture::run() {
    std::deque<Request> taken;
    std::string text;
    std::vector<std::string_view> words;
    while (true) {
        {
            std::unique_lock lock(mutex_);
            ready_.wait(lock, [this] { return ending_ || !queue_.empty(); });
            if (queue_.empty()) return;
            taken.swap(queue_);
            queued_bytes_ = 0;
        }
        uint64_t left_out = 0;
        text.clear();
        for (const Request& request : taken) {
            words.clear();
            const auto used = split_command(request.frame, words);
            std::string line = fmt::format(
                "@{} {} [{} {}]", std::max<int64_t>(0, request.wall_us - began_us_) / 1000,
                request.reads ? 'r' : 'w', request.database, request.client);
            for (const std::string_view word : words)
                line.append(" \"").append(escape_key(word, word.size())).append("\"");
            line += '\n';
            // The reader takes no larger file; room for the last line is kept.
            if (!used || *used == 0 || errno_ != 0 ||
                bytes_ + text.size() + line.size() + 256 > limits::kRequestFile_bytes_max) {
                ++left_out;
                continue;
            }
            text += line;
            ++written_;
        }
        write(text);
        taken.clear();
        const std::lock_guard lock(mutex_);
        dropped_ += left_out;
    }
}

bool RequestCapture::write(std::string_view bytes) {
    while (!bytes.empty() && errno_ == 0) {
        const ssize_t done = ::write(fd_, bytes.data(), bytes.size());
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            errno_ = errno;
            break;
        }
        bytes_ += static_cast<uint64_t>(done);
        bytes.remove_prefix(static_cast<std::size_t>(done));
    }
    return errno_ == 0;
}

}  // namespace exodus::redis
