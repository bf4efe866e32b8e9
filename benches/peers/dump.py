#!/usr/bin/env python3
"""Writes down everything of a tmux server that can be brought back, and compares two of those.

    dump.py write TMUX SOCKET FILE      one dump, when nothing in it has changed for a second
    dump.py enter TMUX SOCKET           presses Enter in the panes in which agent-keeper asks
    dump.py attach TMUX SOCKET [TARGET] a client of 120 columns and 40 rows, until it ends
    dump.py compare BEFORE AFTER FIELD… the fields that differ, one in a line
"""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

SHELLS = {"bash", "sh", "dash", "zsh"}


def tmux(program, socket, *arguments):
    """Runs tmux and returns what it printed."""
    command = [program, "-u", "-S", socket, *arguments]
    return subprocess.run(command, capture_output=True, check=False).stdout.decode("utf-8", "replace")


# Stands in no name of a fixture.
BETWEEN = "@@,,@@"


def values(program, socket, target, names):
    """Returns formats of one target by their names."""
    wanted = BETWEEN.join("#{" + name + "}" for name in names)
    printed = tmux(program, socket, "display-message", "-p", "-t", target, wanted)[:-1]
    return dict(zip(names, printed.split(BETWEEN), strict=False))


def stat(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return {"parent": int(fields[1]), "group": int(fields[2]), "session": int(fields[3]), "front": int(fields[5])}
    except (OSError, IndexError):
        return None


def argv(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace").split("\0")
        return words[:-1]
    except OSError:
        return []


def is_shell(words):
    """An interactive shell: called by a shell's name with nothing but options."""
    name = os.path.basename(words[0]).lstrip("-") if words else ""
    return name in SHELLS and all(word.startswith("-") and "c" not in word[1:2] for word in words[1:])


def is_keeper(words):
    """The process that agent-keeper starts in a restored pane. It calls itself after the program that it runs."""
    return len(words) > 3 and words[1] == "pane" and re.fullmatch("[0-9a-f]{64}", words[2]) is not None


def program(pid):
    """What runs in a pane: the shells in each other, the job in front and the jobs behind."""
    root = stat(pid)
    if root is None:
        return None
    members = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (seen := stat(int(name))) and seen["session"] == root["session"]:
            members[int(name)] = seen
    chain, at = [], pid
    while True:
        below = sorted(p for p, s in members.items() if s["parent"] == at and (is_shell(argv(p)) or is_keeper(argv(p))))
        chain.append(at)
        if not below:
            break
        at = below[0]
    front = [p for p, s in sorted(members.items()) if s["group"] == root["front"] and p not in chain]
    behind = [p for p, s in sorted(members.items()) if p not in chain and p not in front]
    words = argv(pid)
    # A process of agent-keeper stands where a shell stood, and becomes that shell when what it runs ends. So of
    # shells in shells only their number can be seen, and the innermost.
    own = "shell" if is_shell(words) or is_keeper(words) else words
    innermost = os.path.basename((argv(chain[-1]) or [""])[0]).lstrip("-")
    nested = [len(chain) - 1, innermost if len(chain) > 1 else None]
    return {"own": own, "nested": nested, "job": [argv(p) for p in front], "background": [argv(p) for p in behind]}


def options(text):
    return sorted(line for line in text.splitlines() if line)


WINDOW = ["window_id", "window_flags", "window_name", "automatic-rename", "window_zoomed_flag", "synchronize-panes"]
WINDOW.append("window_layout")
PANE = ["pane_active", "pane_last", "pane_pid", "pane_title", "pane_marked", "pane_dead", "pane_dead_status"]


def look(tm, sock):
    """Returns everything, by field and place."""
    dump = {}

    def put(field, place, what):
        dump.setdefault(field, {})[place] = what

    links = {}
    updated = set(re.findall(r"update-environment\[\d+\] (\S+)", tmux(tm, sock, "show-options", "-g")))
    for session in tmux(tm, sock, "list-sessions", "-F", "#{session_id}").split():
        seen = values(tm, sock, session + ":", ["session_name", "session_group_list"])
        name = seen["session_name"]
        put("sessions", "", sorted(dump.get("sessions", {}).get("", []) + [name]))
        put("group", name, bool(seen["session_group_list"]))
        variables = tmux(tm, sock, "show-environment", "-t", session).splitlines()
        put("environment", name, sorted(v for v in variables if re.split("=", v.lstrip("-"))[0] not in updated))
        put("hidden", name, options(tmux(tm, sock, "show-environment", "-h", "-t", session)))
        put("hooks", name, options(tmux(tm, sock, "show-hooks", "-t", session)))
        put("session_options", name, options(tmux(tm, sock, "show-options", "-t", session)))
        for index in tmux(tm, sock, "list-windows", "-t", session, "-F", "#{window_index}").split():
            target = f"{session}:{index}"
            place = f"{name}:{index}"
            dump.setdefault("windows", {}).setdefault(name, []).append(index)
            seen = values(tm, sock, target, WINDOW)
            links.setdefault(seen["window_id"], []).append(place)
            flags = seen["window_flags"]
            if "*" in flags:
                put("window_active", name, index)
            if "-" in flags:
                put("window_last", name, index)
            put("window_name", place, seen["window_name"])
            put("automatic_rename", place, seen["automatic-rename"])
            put("zoom", place, seen["window_zoomed_flag"])
            put("synchronised", place, seen["synchronize-panes"])
            layout = seen["window_layout"].split(",", 1)[-1]
            put("layout", place, re.sub(r"(\d+x\d+,\d+,\d+),\d+", r"\1,P", layout))
            own = options(tmux(tm, sock, "show-options", "-w", "-t", target))
            # That one has a row of its own.
            put("window_options", place, [line for line in own if not line.startswith("automatic-rename ")])
            panes = tmux(tm, sock, "list-panes", "-t", target, "-F", "#{pane_id}").split()
            put("panes", place, len(panes))
            for at, pane in enumerate(panes):
                look_at_pane(tm, sock, put, place, at, pane)
    put("link", "", sorted(sorted(places) for places in links.values() if len(places) > 1))
    return dump


def look_at_pane(tm, sock, put, place, at, pane):
    where = f"{place}.{at}"
    seen = values(tm, sock, pane, PANE)
    for flag in ["pane_active", "pane_last"]:
        if seen[flag] == "1":
            put(flag, place, at)
    pid = seen["pane_pid"]
    try:
        directory = os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
    except OSError:
        directory = None
    put("directory", where, directory)
    put("title", where, seen["pane_title"])
    put("marked", where, seen["pane_marked"])
    put("dead", where, [seen["pane_dead"], seen["pane_dead_status"]])
    put("pane_options", where, options(tmux(tm, sock, "show-options", "-p", "-t", pane)))
    put("program", where, program(int(pid)) if pid.isdigit() else None)
    text = tmux(tm, sock, "capture-pane", "-p", "-e", "-J", "-S", "-", "-t", pane)
    # tmux itself says when the program ended; that is another time in another pane.
    text = re.sub(r"(Pane is dead \(.*), .*\)", r"\1)", text)
    put("text", where, [line.rstrip() for line in text.rstrip().split("\n")])


def settled(tm, sock, seconds):
    """Looks until three looks are the same."""
    deadline = time.monotonic() + seconds
    before, same_looks = look(tm, sock), 1
    while same_looks < 3 and time.monotonic() < deadline:
        time.sleep(0.5)
        now = look(tm, sock)
        same_looks = same_looks + 1 if now == before else 1
        before = now
    return before


def enter(tm, sock):
    """A person would press Enter where a program is offered."""
    for pane in tmux(tm, sock, "list-panes", "-a", "-F", "#{pane_id}").split():
        if any("Press Enter to run" in line for line in tmux(tm, sock, "capture-pane", "-p", "-t", pane).split("\n")):
            tmux(tm, sock, "send-keys", "-t", pane, "Enter")


def attach(tm, sock, *target):
    """A person at a terminal. What tmux draws is thrown away."""
    pid, terminal = pty.fork()
    if pid == 0:
        where = ["-t", *target] if target else []
        os.execv(tm, [tm, "-u", "-S", sock, "attach-session", *where])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)


def without_start(before, after):
    """The session 0 in which a tool was started is none of what it restores."""
    if "0" in before.get("sessions", {}).get("", []):
        return after
    own = lambda place: place == "0" or place.startswith("0:")
    kept = {field: {p: v for p, v in places.items() if not own(p)} for field, places in after.items()}
    if "sessions" in kept:
        kept["sessions"] = {"": [name for name in kept["sessions"][""] if name != "0"]}
    return kept


def same(field, before, after):
    if field != "text":
        return before == after
    # Behind what was saved comes what the restored pane says and its prompt.
    return before.keys() == after.keys() and all(after[k][: len(v)] == v for k, v in before.items())


def main():
    what, *rest = sys.argv[1:]
    if what == "write":
        tm, sock, file = rest
        with open(file, "w", encoding="utf-8") as out:
            json.dump(settled(tm, sock, 15), out, indent=1, sort_keys=True)
    elif what == "enter":
        enter(*rest)
    elif what == "attach":
        attach(*rest)
    else:
        with open(rest[0], encoding="utf-8") as one, open(rest[1], encoding="utf-8") as two:
            before, after = json.load(one), json.load(two)
        after = without_start(before, after)
        for field in rest[2:]:
            if not same(field, before.get(field, {}), after.get(field, {})):
                print(field)


if __name__ == "__main__":
    main()
