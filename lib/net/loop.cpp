// The libuv side of a loop thread: async handle for the mailbox, check and prepare for the turn's
// end.
#include "net/loop.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <thread>
#include <uv.h>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"

namespace exodus {

struct Loop::Impl {
    std::string name;
    /// On the heap, because a look-up that hangs at the end keeps it (see run).
    std::unique_ptr<uv_loop_t> loop = std::make_unique<uv_loop_t>();
    uv_async_t mail{};
    uv_check_t check{};
    uv_prepare_t prepare{};
    TurnHook* hook = nullptr;
    std::thread thread;
    std::mutex mutex;
    std::vector<std::function<void()>> tasks;    ///< guarded by mutex
    bool open = false;                           ///< guarded by mutex
    std::vector<std::function<void()>> running;  ///< loop thread; keeps its capacity
    std::function<void()> first;
    std::function<void()> last;

    void take_mail() {
        {
            const std::lock_guard lock(mutex);
            running.swap(tasks);
        }
        for (auto& task : running) task();
        running.clear();
    }

    void run() {
        first();
        uv_run(loop.get(), UV_RUN_DEFAULT);
        // stop() ends uv_run at once; the handles' close callbacks still have to run. Only a name
        // look-up in libuv's pool can take longer: it does not get more than this, and then its
        // memory is given up instead of the process's end.
        const Deadline deadline = Deadline::in(milliseconds(limits::kLoopAnswer_ms));
        while (uv_run(loop.get(), UV_RUN_NOWAIT) != 0 && !deadline.passed())
            std::this_thread::sleep_for(milliseconds(1));
        last();
        if (uv_loop_close(loop.get()) != 0) {
            spdlog::warn("{}: a name look-up still hangs; leaving it behind", name);
            (void)loop.release();
        }
    }
};

Loop::Loop(std::string name) : impl_(std::make_unique<Impl>()) { impl_->name = std::move(name); }

Loop::~Loop() { join(); }

Status Loop::start(TurnHook& hook, std::function<void()> first, std::function<void()> last) {
    Impl& impl = *impl_;
    if (const int error = uv_loop_init(impl.loop.get()); error != 0)
        return fail(ErrorCode::io, std::string("event loop: ") + uv_strerror(error));
    impl.hook = &hook;
    impl.first = std::move(first);
    impl.last = std::move(last);
    impl.mail.data = impl.check.data = impl.prepare.data = &impl;
    if (const int error = uv_async_init(
            impl.loop.get(), &impl.mail,
            [](uv_async_t* handle) { static_cast<Impl*>(handle->data)->take_mail(); });
        error != 0) {
        uv_loop_close(impl.loop.get());
        return fail(ErrorCode::io, std::string("event loop: ") + uv_strerror(error));
    }
    // check: right after the events of a poll. prepare: before the next poll, for what timers and
    // close callbacks did in between. Neither keeps the loop alive.
    uv_check_init(impl.loop.get(), &impl.check);
    uv_check_start(&impl.check,
                   [](uv_check_t* handle) { static_cast<Impl*>(handle->data)->hook->end_turn(); });
    uv_prepare_init(impl.loop.get(), &impl.prepare);
    uv_prepare_start(&impl.prepare, [](uv_prepare_t* handle) {
        static_cast<Impl*>(handle->data)->hook->end_turn();
    });
    uv_unref(reinterpret_cast<uv_handle_t*>(&impl.check));
    uv_unref(reinterpret_cast<uv_handle_t*>(&impl.prepare));
    {
        const std::lock_guard lock(impl.mutex);
        impl.open = true;
    }
    // Signals are for the thread that waits for them; SIGPIPE from a late uv_write is an EPIPE.
    sigset_t all;
    sigset_t former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    impl.thread = std::thread([&impl] {
        pthread_setname_np(pthread_self(), impl.name.substr(0, 15).c_str());
        impl.run();
    });
    pthread_sigmask(SIG_SETMASK, &former, nullptr);
    return {};
}

bool Loop::post(std::function<void()> task) {
    const std::lock_guard lock(impl_->mutex);
    if (!impl_->open || impl_->tasks.size() >= limits::kMailbox_max) return false;
    impl_->tasks.push_back(std::move(task));
    // Under the lock: after it, the handle may be closing.
    if (impl_->tasks.size() == 1) uv_async_send(&impl_->mail);
    return true;
}

void Loop::stop() {
    std::vector<std::function<void()>> unrun;
    {
        const std::lock_guard lock(impl_->mutex);
        if (!impl_->open) return;
        impl_->open = false;
        unrun.swap(impl_->tasks);
    }
    for (auto* handle : {reinterpret_cast<uv_handle_t*>(&impl_->mail),
                         reinterpret_cast<uv_handle_t*>(&impl_->check),
                         reinterpret_cast<uv_handle_t*>(&impl_->prepare)})
        uv_close(handle, nullptr);
    uv_stop(impl_->loop.get());
    // What was posted before and cannot run any more was accepted: it runs now.
    for (auto& task : unrun) task();
}

void Loop::join() {
    if (impl_->thread.joinable()) impl_->thread.join();
}

uv_loop_s* Loop::raw() const { return impl_->loop.get(); }

}  // namespace exodus
