// Hazard: a switch, a rollback behind it or a commit that nobody meant. On a terminal each asks for
// the migration's name; another name, Ctrl-C, --yes or nobody to ask change nothing.
#include <doctest/doctest.h>
#include <thread>

#include "tests/support/scenario.h"
#include "tests/support/terminal.h"

using namespace exodus;
using namespace exodus::test;

namespace {

const std::string kPrompt = "Type the migration's name to go on [rig]: ";

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

struct Asked {
    Rig rig;

    void bring_to_ready() {
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        // Only for analyze, which wants to see requests; the switch itself is not the subject.
        const std::jthread load([this](const std::stop_token& stop) {
            const auto client = connect_to(rig.port());
            send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            while (!stop.stop_requested()) {
                send_command(client.get(), {"SET", "a", "1"});
                sleep_ms(5);
            }
        });
        rig.bring_to_ready();
    }
    std::string stands() {
        const auto status = last_result(rig.expect(0, {"status", "--offline", "--json"}));
        return status["state"].dump() + status["authority"].dump() + status["epoch"].dump();
    }
    /// Runs the command on a terminal, answers the prompt, and gives the exit code. An empty
    /// answer: there must be no prompt.
    int code(std::vector<std::string> words, const std::string& answer,
             const std::string& input = "") {
        words.insert(words.begin(), exodus_binary());
        ProcessOptions options;
        options.directory = rig.file(".");
        options.input = input;
        Terminal terminal(words, options);
        if (!answer.empty() && terminal.wait_for(kPrompt)) terminal.type(answer);
        const int code = terminal.wait().value_or(-1);
        shown = terminal.shown();
        INFO(shown);
        CHECK(has(shown, kPrompt) == !answer.empty());
        return code;
    }
    /// What is not meant changes nothing.
    void refuses(const std::vector<std::string>& words) {
        const std::string before = stands();
        auto yes = words;
        yes.emplace_back("--yes");
        CHECK(code(yes, "rigg\n") == 4);
        CHECK(has(shown, "what was typed is not the migration's name"));
        auto never = words;
        never.emplace_back("--no-input");
        CHECK(code(never, "") == 4);
        CHECK(has(shown, "--confirm rig --reason TEXT"));
        CHECK(stands() == before);
    }

    std::string shown;
};

}  // namespace

TEST_CASE_FIXTURE(Asked, "switch, rollback and commit ask for the name of the migration") {
    const std::vector<std::string> to_target{"migrate", "--switch"};
    bring_to_ready();
    rig.expect(0, {"approve", "switch", "--reason", "test"});
    refuses(to_target);
    const std::string before = stands();
    CHECK(code(to_target, "\x03") == 130);
    CHECK(has(shown, "all traffic goes to the target; rollback stays possible until commit"));
    CHECK(code(to_target, "\x04") == 4);           // Ctrl-D: there will be no answer
    CHECK(code(to_target, "", "/dev/null") == 4);  // stdin is no terminal
    CHECK(stands() == before);
    CHECK(code(to_target, "rig\n") == 0);
    CHECK(rig.authority() == "target");

    refuses({"rollback"});
    CHECK(code({"rollback"}, "rig\n") == 0);
    CHECK(rig.authority() == "source");

    rig.do_switch();
    refuses({"commit"});
    CHECK(code({"commit"}, "rig\n") == 0);
    CHECK(has(shown, "rollback is no longer possible"));
    CHECK(last_result(rig.expect(0, {"status", "--json"}))["state"] == "committed");
}
