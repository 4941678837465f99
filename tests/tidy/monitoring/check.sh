#!/usr/bin/env bash
# Checks examples/monitoring: Prometheus accepts configuration and rules, every alert fires when it should and only then, the dashboard is
# sound, the README names every alert, no metric and no state is named that exodus does not have, and the webhook's hook does what it says.
#
#   tests/tidy/monitoring/check.sh [PATH_OF exodus-metrics.7]
#
# Needs promtool (Debian: prometheus), python3 and curl. Listens on a free port of 127.0.0.1 for the webhook; writes to a temporary directory only.
set -euo pipefail
manual=${1:-}
if [ -n "$manual" ]; then
    [ -r "$manual" ] || { echo "monitoring: cannot read $manual" >&2; exit 66; }
    manual=$(realpath "$manual")
fi
here=$(realpath "$(dirname "$0")")
cd "$here/../../../examples/monitoring"
for tool in promtool python3 curl; do
    command -v "$tool" >/dev/null || { echo "monitoring: $tool is missing (Debian packages: prometheus, python3, curl)" >&2; exit 69; }
done

failed=0
try() {   # what it is; command
    local said
    if said=$("${@:2}" 2>&1); then
        echo "ok      $1"
    else
        printf 'FAILED  %s\n%s\n' "$1" "$said" >&2
        failed=1
    fi
}
try "prometheus.yml" promtool check config prometheus.yml
try "exodus.rules.yml" promtool check rules exodus.rules.yml
try "exodus.rules.test.yml" promtool test rules exodus.rules.test.yml
try "hooks.d: syntax" bash -n hooks.d/90-alert-webhook
try "hooks.d: executable, not writable by others" test -x hooks.d/90-alert-webhook -a -z "$(find hooks.d -type f -perm /022)"
try "hooks.d: what the webhook is told" python3 "$here/webhook.py" hooks.d/90-alert-webhook

python3 - "$manual" <<'PYTHON' || failed=1
import json, re, sys

problems = []
def need(holds, text):
    if not holds: problems.append(text)

def read(path):
    with open(path, encoding="utf-8") as file: return file.read()

def uncommented(text): return re.sub(r"(?m)^\s*#.*$", "", text)

rules, tests, readme = (read(p) for p in ("exodus.rules.yml", "exodus.rules.test.yml", "README.md"))
rules, tests = uncommented(rules), uncommented(tests)
recorded = set(re.findall(r"- record: (\S+)", rules))

# Every alert: what a person needs, a case in which it fires and one in which it must not, and a line in the README.
alerts = {}
for block in re.split(r"(?m)^ *- (?=alert: )", rules)[1:]:
    name = re.match(r"alert: (\S+)", block).group(1)
    block = re.split(r"(?m)^ *- (?:record|name): ", block)[0]
    alerts.setdefault(name, []).append(block)
    need(re.search(r"severity: (critical|warning|info)\b", block), f"{name}: no severity")
    for wanted in ("summary:", "description:", "Unchanged: ", "Next: "):
        need(wanted in block, f"{name}: its annotations lack \"{wanted.strip()}\"")
    need("exodus " in block.split("Next: ")[-1], f"{name}: Next names no command of exodus")
groups = {}
for block in re.split(r"(?m)^ *- name: ", tests)[1:]:
    groups[block.split("\n")[0].strip()] = groups.get(block.split("\n")[0].strip(), "") + block
for name in alerts:
    group = groups.get(name, "")
    need(re.search(r"labels: 'ALERTS\{[^}]*alertname=\"%s\"" % name, group), f"{name}: no test in which it fires")
    need('"good:9464"' in group, f"{name}: no test in which it must not fire")
    need(f"`{name}`" in readme, f"{name}: not in README.md")
for name in set(re.findall(r"`(Exodus\w+)`", readme)) - set(alerts): problems.append(f"README.md: there is no alert {name}")
for name in set(groups) - set(alerts):
    need(" " in name, f"exodus.rules.test.yml: there is no alert {name}")

# The dashboard.
used = set()
try:
    dashboard = json.loads(read("grafana-dashboard.json"))
except ValueError as error:
    problems.append(f"grafana-dashboard.json: {error}")
else:
    panels = dashboard["panels"] + [inner for panel in dashboard["panels"] for inner in panel.get("panels", [])]
    ids = [panel["id"] for panel in panels]
    need(len(ids) == len(set(ids)), f"grafana-dashboard.json: panel ids are not unique: {sorted(i for i in set(ids) if ids.count(i) > 1)}")
    need([i["name"] for i in dashboard["__inputs"]] == ["DS_PROMETHEUS"], "grafana-dashboard.json: no input DS_PROMETHEUS")
    for panel in panels:
        title = panel.get("title", "")
        need(title, f"grafana-dashboard.json: panel {panel['id']} has no title")
        if panel["type"] == "row": continue
        need(panel.get("description"), f"grafana-dashboard.json: {title}: no description")
        need(panel.get("targets"), f"grafana-dashboard.json: {title}: asks nothing")
        need(panel.get("datasource", {}).get("uid") == "${DS_PROMETHEUS}", f"grafana-dashboard.json: {title}: another data source")
        box = panel["gridPos"]
        need(box["x"] + box["w"] <= 24, f"grafana-dashboard.json: {title}: wider than the page")
        for other in panels:
            o = other["gridPos"]
            if other["id"] > panel["id"] and box["x"] < o["x"] + o["w"] and o["x"] < box["x"] + box["w"] \
                    and box["y"] < o["y"] + o["h"] and o["y"] < box["y"] + box["h"]:
                problems.append(f"grafana-dashboard.json: {title} and {other.get('title')} lie on each other")
        for target in panel.get("targets", []): used |= {(target["expr"], title)}
    for query in dashboard["annotations"]["list"]:
        if "expr" in query: used |= {(query["expr"], query["name"])}
    for variable in dashboard["templating"]["list"]: used |= {(variable["definition"], variable["name"])}

# Names. A word with a colon is recorded by the rules, every other one comes from exodus.
names = {}
places = [(rules, "exodus.rules.yml"), (tests, "exodus.rules.test.yml")] + [(e, "dashboard, " + t) for e, t in sorted(used)]
for text, where in places:
    for name in re.findall(r"\bexodus:[a-z0-9_:]+", text):
        need(name in recorded, f"{where}: nothing records {name}")
    for name in re.findall(r"\bexodus_[a-z0-9_]+", text): names.setdefault(name, where)
# States, as they are called in the state file and in /metrics.
states = set(re.findall(r'MigrationState::\w+, "(\w+)"', read("../../lib/core/state.cpp")))
need(states, "lib/core/state.cpp: names no state")
asked = set()
for text, where in places:
    for labels in re.findall(r"\bexodus_state\s*\{([^}]*)\}", text):
        for value in re.findall(r'\bstate\s*(?:=~|!~|!=|=)\s*\\?"([^"\\]*)', labels):
            for state in value.split("|"):
                asked.add(state)
                need(state in states, f"{where}: exodus has no state \"{state}\"")
need(asked, "no rule asks for a state")

manual = sys.argv[1]
if manual:
    known = set(re.findall(r"exodus_[a-z0-9_]+", re.sub(r"\\([-_&])", lambda m: "" if m[1] == "&" else m[1], read(manual))))
    need(known, f"{manual}: names no metric")
    for name, where in sorted(names.items()):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        need(name in known or base in known, f"{where}: {name} is not in the manual")

for problem in problems: print("FAILED ", problem, file=sys.stderr)
if problems: sys.exit(1)
print(f"ok      {len(alerts)} alerts, each with texts, a case that fires, one that must not, and a line in the README")
print(f"ok      dashboard: {len(panels)} panels")
print(f"ok      {len(asked)} names of states, all in lib/core/state.cpp")
if manual: print(f"ok      {len(names)} names of metrics, all in the manual")
else: print("SKIPPED names of metrics: give the path of exodus-metrics.7 to check them")
PYTHON

[ $failed -eq 0 ] && echo "monitoring: all is well" || { echo "monitoring: see above" >&2; exit 1; }
