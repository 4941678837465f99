#!/usr/bin/env python3
"""Runs the alert hook against a server on loopback: what it sends, and what it does when nobody takes it.

    webhook.py PATH_OF 90-alert-webhook

Called by check.sh. Prints what is wrong; exit code 1 then.
"""
import http.server, json, os, shutil, socket, subprocess, sys, tempfile, threading, time

kHookLimit_s = 30       # after which exodus ends a hook
kSecret = "secret-part-of-the-url"
problems = []


def need(holds, text):
    if not holds: problems.append(text)


class Receiver(http.server.BaseHTTPRequestHandler):
    answer = 200
    got = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Receiver.got.append((self.path, self.headers.get("Content-Type"), body.decode()))
        self.send_response(Receiver.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_): pass


def install(directory, url, more="", mode=0o600):
    os.makedirs(directory, exist_ok=True)
    script = os.path.join(directory, "90-alert-webhook")
    shutil.copy(sys.argv[1], script)
    conf = os.path.join(directory, "alert-webhook.conf")
    with open(conf, "w", encoding="utf-8") as file: file.write(f"# a comment\n url = {url} \n{more}\n")
    os.chmod(conf, mode)
    return script


def begin(script, moment, phase, outcome="", code="", migration="orders", state="ready"):
    environment = {"PATH": os.environ["PATH"], "EXODUS_HOOK_MIGRATION": migration, "EXODUS_HOOK_STATE": state,
                   "EXODUS_HOOK_AUTHORITY": "source", "EXODUS_HOOK_EPOCH": "7"}
    if moment == "after": environment |= {"EXODUS_HOOK_OUTCOME": outcome, "EXODUS_HOOK_EXIT_CODE": code}
    return subprocess.Popen([script, moment, phase], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def run(*arguments, **named):
    hook = begin(*arguments, **named)
    try:
        said, _ = hook.communicate(timeout=kHookLimit_s)
    except subprocess.TimeoutExpired:
        hook.kill()
        problems.append(f"{arguments[1:]}: it hangs")
        return -1, ""
    return hook.returncode, said


def sent(*arguments, **named):
    """What one run of the hook sent; it must have succeeded in silence."""
    Receiver.got.clear()
    code, said = run(*arguments, **named)
    need((code, said) == (0, ""), f"{arguments[1:]}: exit code {code}, said: {said}")
    need(len(Receiver.got) == 1, f"{arguments[1:]}: {len(Receiver.got)} requests")
    if not Receiver.got: return {}
    path, kind, body = Receiver.got[0]
    need(path == f"/{kSecret}", f"the path is {path}")
    need(kind == "application/json", f"the content type is {kind}")
    try:
        return json.loads(body)
    except ValueError as error:
        problems.append(f"{arguments[1:]}: no JSON: {error}: {body}")
        return {}


def what_it_sends(script):
    need(sent(script, "before", "migrate") == {
        "text": "orders: migrate begins (state ready, authority source)", "severity": "info", "migration": "orders", "phase": "migrate",
        "moment": "before", "outcome": "", "exit_code": 0, "state": "ready", "authority": "source", "epoch": 7}, "the body before a phase")
    need(sent(script, "after", "migrate", "failed", "5") == {
        "text": "orders: migrate failed, exit code 5 (state ready, authority source)", "severity": "critical", "migration": "orders",
        "phase": "migrate", "moment": "after", "outcome": "failed", "exit_code": 5, "state": "ready", "authority": "source", "epoch": 7},
         "the body after a phase")
    odd = 'a "name" with \\ and\ta tab'
    need(sent(script, "before", "compare", migration=odd).get("migration") == odd.replace("\t", ""), "quotes and backslashes")
    for phase, outcome, code, wanted in [
            ("migrate", "done", "0", "info"), ("commit", "done", "0", "info"),
            ("migrate", "failed", "1", "critical"), ("rollback", "failed", "5", "critical"), ("commit", "failed", "1", "critical"),
            ("compare", "failed", "69", "critical"), ("test", "failed", "70", "critical"),
            ("compare", "failed", "2", "warning"), ("migrate", "failed", "4", "warning"), ("pretest", "failed", "1", "warning"),
            ("migrate", "failed", "75", "warning"), ("migrate", "stopped", "143", "warning")]:
        said = sent(script, "after", phase, outcome, code).get("severity")
        need(said == wanted, f"{phase} {outcome} with {code}: severity {said}, wanted {wanted}")


def nobody_takes_it(directory, url, what):
    """Fails open, and only before a phase that must not begin unheard the phase is stopped."""
    optional = install(os.path.join(directory, "optional"), url)
    required = install(os.path.join(directory, "required"), url, "required = yes")
    for script, moment, phase, wanted in [
            (optional, "before", "migrate", 0), (optional, "after", "migrate", 0), (required, "before", "migrate", 1),
            (required, "before", "rollback", 0), (required, "after", "migrate", 0)]:
        code, said = run(script, moment, phase, *(("done", "0") if moment == "after" else ()))
        name = f"{what}, {os.path.basename(os.path.dirname(script))}, {moment} {phase}"
        need(code == wanted, f"{name}: exit code {code}, wanted {wanted}")
        need("nobody was told" in said.strip().split("\n")[-1], f"{name}: the last line is no reason: {said}")
        need(kSecret not in said, f"{name}: it tells the URL: {said}")


def not_configured(directory, url):
    Receiver.got.clear()
    open_to_others = install(os.path.join(directory, "open"), url, mode=0o644)
    unknown = install(os.path.join(directory, "unknown"), url, "colour = red")
    bare = install(os.path.join(directory, "bare"), url)
    os.remove(os.path.join(os.path.dirname(bare), "alert-webhook.conf"))
    for script, word in [(open_to_others, "others can read"), (unknown, "unknown key colour"), (bare, "no ")]:
        code, said = run(script, "before", "migrate")
        need(code == 0 and word in said, f"wanted \"{word}\": exit code {code}, said: {said}")
    need(not Receiver.got, "something was sent in spite of a bad configuration")


def command_lines():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file: yield file.read()
        except OSError: pass


with tempfile.TemporaryDirectory() as top:
    # A server that takes the connection and says nothing: the slowest case, so it runs beside the others.
    silent = socket.create_server(("127.0.0.1", 0))
    silent.settimeout(kHookLimit_s)
    slow = begin(install(os.path.join(top, "slow"), f"http://127.0.0.1:{silent.getsockname()[1]}/{kSecret}"), "before", "migrate")
    began = time.monotonic()
    try:
        taken, _ = silent.accept()
        need(not any(kSecret in line for line in command_lines()), "the URL is on a command line, where ps shows it")
    except TimeoutError:
        problems.append("the silent server was never asked")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{kSecret}"
    what_it_sends(install(os.path.join(top, "good"), url))
    not_configured(top, url)
    Receiver.answer = 500
    nobody_takes_it(top, url, "an error")
    server.shutdown()
    server.server_close()
    nobody_takes_it(top, url, "no server")

    try:
        said, _ = slow.communicate(timeout=kHookLimit_s)
        need(slow.returncode == 0 and "nobody was told" in said, f"a silent server: exit code {slow.returncode}, said: {said}")
        need(time.monotonic() - began < kHookLimit_s / 2, "a silent server: it takes more than half of the time that exodus gives a hook")
    except subprocess.TimeoutExpired:
        slow.kill()
        problems.append("a silent server: it hangs")

for problem in problems: print(problem)
sys.exit(1 if problems else 0)
