// Opening, checking and upgrading a SQLite file; the place where the library's exceptions end.
#include "store/database.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/schema.h"

namespace exodus {

namespace {

// "exds" and "exdd" as 32-bit numbers: what file(1) and we recognise the files by.
constexpr int32_t kStateApplication = 0x65786473;
constexpr int32_t kSamplesApplication = 0x65786464;

class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

std::string directory_of(const std::string& path) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
}

std::string describe(std::string_view what, const std::string& path) {
    return std::string(what) + " " + path;
}

/// Makes the directory entry durable, so that a file which exists for us exists after a power loss.
void sync_directory(const std::string& directory) {
    const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() >= 0) ::fsync(fd.get());
}

}  // namespace

FileKind state_file_kind() { return {kStateApplication, "state file", state_schema()}; }
FileKind samples_file_kind() { return {kSamplesApplication, "samples file", samples_schema()}; }

Status Database::prepare_file(const std::string& path, Mode mode, const FileKind& kind) {
    const std::string name = describe(kind.what, path);
    const std::string directory = directory_of(path);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        if (errno == EACCES) {
            return fail(ErrorCode::permission, name + ": no right to look into its directory");
        }
        if (errno != ENOENT && errno != ENOTDIR) return fail_errno(name, errno);
        if (mode != Mode::create) {
            return fail(ErrorCode::no_input, name + " does not exist",
                        "make one with: exodus init, or name it with --state");
        }
        // O_EXCL and a mode in the open itself: never for a moment readable by others, whatever the
        // umask.
        const Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (fd.get() < 0 && errno != EEXIST) {
            return fail(ErrorCode::cannot_create,
                        name + " cannot be created: " + std::strerror(errno),
                        "choose a directory that " + std::string("exodus may write with --state"));
        }
        if (fd.get() >= 0) {
            ::fchmod(fd.get(), 0600);
            sync_directory(directory);
        }
        return {};
    }
    if (!S_ISREG(info.st_mode)) return fail(ErrorCode::data, name + " is not a file");
    // Never open and close an existing file here: a close drops the POSIX locks that SQLite holds
    // on it for another connection of this process (sqlite.org/howtocorrupt.html 2.2). What it
    // contains, SQLite tells.
    if (::access(path.c_str(), R_OK) != 0) {
        return fail(ErrorCode::permission, name + " cannot be read: " + std::strerror(errno));
    }
    if (mode == Mode::read_only) return {};
    if (::access(path.c_str(), W_OK) != 0) {
        return fail(ErrorCode::cannot_create, name + " cannot be written: " + std::strerror(errno),
                    "give this user the right to write it, or look only with --dry-run");
    }
    if (::access(directory.c_str(), W_OK) != 0) {
        return fail(
            ErrorCode::cannot_create,
            name + ": its directory cannot be written, where the rollback journal must stand: " +
                std::strerror(errno),
            "give this user the right to write " +
                std::filesystem::absolute(directory).lexically_normal().string());
    }
    return {};
}

Database::Database(const std::string& path, int flags, std::string_view what, milliseconds busy)
    : path_(path), what_(what), connection_(path, flags, static_cast<int>(busy.count())) {}

Result<std::unique_ptr<Database>> Database::open(const std::string& path, Mode mode,
                                                 const FileKind& kind, milliseconds busy) {
    // One at a time, so that the descriptor which makes a file is closed before another thread's
    // connection locks it.
    static std::mutex opening;
    const std::scoped_lock lock(opening);
    EXODUS_TRY(prepare_file(path, mode, kind));
    std::unique_ptr<Database> database;
    try {
        // Also for reading: what a process that was killed left half-written is taken back by the
        // first connection that may write (sqlite.org/lockingv3.html 4.2). Without the right to
        // write it SQLite opens for reading by itself.
        database.reset(new Database(path, SQLite::OPEN_READWRITE, kind.what, busy));
        if (mode == Mode::read_only) database->connection_.exec("PRAGMA query_only=ON");
    } catch (const std::exception& error) {
        return fail(ErrorCode::cannot_create,
                    describe(kind.what, path) + " cannot be opened: " + error.what());
    }
    EXODUS_TRY(database->check_schema(mode, kind));
    return database;
}

Status Database::check_schema(Mode mode, const FileKind& kind) {
    const std::string name = describe(kind.what, path_);
    const int wanted = static_cast<int>(kind.steps.size());
    struct Head {
        int application = 0;
        int version = 0;
        int tables = 0;
    };
    const auto look = [](SQLite::Database& db) {
        return Head{db.execAndGet("PRAGMA application_id").getInt(),
                    db.execAndGet("PRAGMA user_version").getInt(),
                    db.execAndGet("SELECT count(*) FROM sqlite_schema").getInt()};
    };
    const auto judge = [&](const Head& head) -> Status {
        const bool is_new = head.application == 0 && head.version == 0 && head.tables == 0;
        if (!is_new && head.application != kind.application_id) {
            return fail(ErrorCode::data,
                        name + " is a database of another program: it was left as it is",
                        "name another file with --state");
        }
        if (head.version > wanted) {
            return fail(ErrorCode::data,
                        name + " was written by a newer exodus (schema " +
                            std::to_string(head.version) + ", this one knows " +
                            std::to_string(wanted) + "): it was left as it is",
                        "use that exodus, or a newer one");
        }
        return {};
    };
    auto head = read("opening " + name, look);
    if (!head) return tl::unexpected(std::move(head).error());
    EXODUS_TRY(judge(*head));
    if (mode == Mode::read_only) {
        if (head->version == wanted) return {};
        if (head->version == 0)
            return fail(ErrorCode::no_input, name + " is empty", "make it with: exodus init");
        return fail(ErrorCode::data, name + " has an older schema",
                    "run a command that may write it once; it is brought up to date then");
    }
    // TRUNCATE, because in it a commit is synced to the end: with DELETE a power loss can bring the
    // journal back unless synchronous is EXTRA, and making and unlinking the file costs two syncs
    // of the directory more.
    auto pragmas = read("opening " + name, [](SQLite::Database& db) {
        const std::string journal = db.execAndGet("PRAGMA journal_mode=TRUNCATE").getString();
        db.exec("PRAGMA synchronous=FULL");
        db.exec("PRAGMA foreign_keys=ON");
        db.exec("PRAGMA trusted_schema=OFF");
        return journal;
    });
    if (!pragmas) return tl::unexpected(std::move(pragmas).error());
    if (*pragmas != "truncate") {
        return fail(ErrorCode::data, name + " cannot be used in rollback-journal mode (it is in " +
                                         *pragmas + " mode)");
    }
    if (head->version == wanted) return {};
    return write("upgrading " + name, [&](SQLite::Database& db) -> Status {
        // Another process may have been faster between the look and the lock.
        const Head now = look(db);
        EXODUS_TRY(judge(now));
        for (int step = now.version; step < wanted; ++step) {
            db.exec(std::string(kind.steps[static_cast<std::size_t>(step)]));
        }
        db.exec("PRAGMA application_id=" + std::to_string(kind.application_id));
        db.exec("PRAGMA user_version=" + std::to_string(wanted));
        return {};
    });
}

Error Database::translate(const std::exception& error, std::string_view doing) const {
    const auto* sqlite = dynamic_cast<const SQLite::Exception*>(&error);
    const std::string name = describe(what_, path_);
    const std::string context = std::string(doing) + ": ";
    if (sqlite == nullptr) return Error{ErrorCode::internal, context + error.what(), {}};
    switch (sqlite->getErrorCode() & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return Error{
                ErrorCode::locked, context + name + " is locked by another process",
                "try again; if it stays so, look for a stopped exodus process, or for a disk that "
                "does not answer"};
        case SQLITE_FULL:
            return Error{ErrorCode::cannot_create,
                         context + "the disk of " + name + " is full; nothing was changed",
                         "free some space and run the command again"};
        case SQLITE_READONLY:
            return Error{ErrorCode::cannot_create,
                         context + name + " cannot be written: " + error.what(),
                         "check the rights of the file, its directory and its file system"};
        case SQLITE_CANTOPEN:
            return Error{ErrorCode::cannot_create,
                         context + name + " cannot be opened: " + error.what(),
                         "check the rights of the file and of its directory"};
        case SQLITE_PERM:
        case SQLITE_AUTH:
            return Error{ErrorCode::permission, context + name + ": " + error.what(), {}};
        case SQLITE_NOTADB:
            return Error{ErrorCode::data,
                         context + name + " is not a database; it was left as it is",
                         "name another file with --state"};
        case SQLITE_CORRUPT:
            return Error{ErrorCode::data, context + name + " is damaged: " + error.what(),
                         "keep the file for analysis; restore it from a backup"};
        case SQLITE_IOERR:
            return Error{ErrorCode::io, context + name + ": " + error.what(), {}};
        default:
            return Error{ErrorCode::internal, context + name + ": " + error.what(), {}};
    }
}

}  // namespace exodus
