#!/usr/bin/env bash
# What each tool brings back: every server of fixtures.sh is saved by the tool's own means, ended with kill-server,
# restored by the tool's own means, and compared with what it was. Prints a table in Markdown.
#
#   benches/peers/run.sh [--ours DIR] [--resurrect DIR] [--tmuxp FILE] [--tmux-backup FILE] [FEATURE…]
#
#   --ours         the directory of agent-keeper and keeperctl        (target/debug)
#   --resurrect    a checkout of https://github.com/tmux-plugins/tmux-resurrect
#   --tmuxp        the program tmuxp of https://pypi.org/project/tmuxp
#   --tmux-backup  the program tmux-backup of https://crates.io/crates/tmux-backup
#
# It fetches nothing. A tool that is not there is SKIPPED. It needs bash and python3, talks to its own tmux servers
# only, and keeps everything below one temporary directory. TMUX_PROGRAM names another tmux.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ours="$here/../../target/debug" resurrect='' tmuxp='' backup='' wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    --ours) ours=$2; shift 2 ;;
    --resurrect) resurrect=$2; shift 2 ;;
    --tmuxp) tmuxp=$2; shift 2 ;;
    --tmux-backup) backup=$2; shift 2 ;;
    -*) echo "unknown: $1" >&2; exit 2 ;;
    *) wanted+=("$1"); shift ;;
    esac
done
TMUX_PROGRAM=$(command -v "${TMUX_PROGRAM:-tmux}")
absolute() { [ -z "$1" ] || realpath -s -- "$1"; }
ours=$(absolute "$ours") resurrect=$(absolute "$resurrect") tmuxp=$(absolute "$tmuxp") backup=$(absolute "$backup")
ROOT=$(mktemp -d "${TMPDIR:-/tmp}/akp.XXXXXX")
# shellcheck source=fixtures.sh
. "$here/fixtures.sh"

# What a tool runs as tmux reaches the private server only.
mkdir -p "$ROOT/bin"
# shellcheck disable=SC2016 # it is expanded when the tool runs
printf '#!/bin/sh\nexec %s -u -S "$PEERS_SOCKET" "$@"\n' "$TMUX_PROGRAM" >"$ROOT/bin/tmux"
chmod +x "$ROOT/bin/tmux"

tm() { "$TMUX_PROGRAM" -u -S "$PEERS_SOCKET" -f "$CONF" "$@"; }

# A new place, with an environment of its own, for one tool and one server.
begin() {
    D="$ROOT/$1" && mkdir -p "$D/home" "$D/run" "$D/state" "$D/config" "$D/data" "$D/place" "$D/canary"
    chmod 700 "$D/run"
    PLACE="$D/place" CANARY="$D/canary" CONF="$D/home/.tmux.conf"
    export PEERS_SOCKET="$D/s"
    export HOME="$D/home" XDG_RUNTIME_DIR="$D/run" XDG_STATE_HOME="$D/state" XDG_CONFIG_HOME="$D/config" \
        XDG_DATA_HOME="$D/data" TMUX_TMPDIR="$D/run" SHELL=/bin/bash TERM=xterm-256color \
        DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent
    unset TMUX TMUX_PANE
    cat >"$CONF" <<EOF
set -g default-shell /bin/bash
set -g history-limit 5000
set -g @resurrect-dir $D/resurrect
set -g @resurrect-capture-pane-contents on
set -g @resurrect-processes :all:
EOF
    attached='' daemon=''
}

# Several tools work only where somebody is attached.
attach() {
    python3 "$here/dump.py" attach "$TMUX_PROGRAM" "$PEERS_SOCKET" "$@" </dev/null >/dev/null 2>&1 &
    attached=$!
    for _ in $(seq 100); do
        [ -n "$(tm list-clients 2>/dev/null)" ] && return
        sleep 0.1
    done
}

end() {
    [ -n "$daemon" ] && kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null
    tm kill-server 2>/dev/null
    [ -n "$attached" ] && wait "$attached" 2>/dev/null
    daemon='' attached=''
}

gone() {
    tm kill-server
    for _ in $(seq 100); do
        tm list-sessions >/dev/null 2>&1 || break
        sleep 0.1
    done
    [ -n "$attached" ] && wait "$attached" 2>/dev/null
    attached=''
}

# As inside a pane: the scripts find their server by these.
inside() {
    env PATH="$ROOT/bin:$PATH" TMUX="$PEERS_SOCKET,$(tm display-message -p '#{pid}'),0" \
        TMUX_PANE="$(tm list-panes -a -F '#{pane_id}' | head -n 1)" timeout 120 "$@"
}

save_resurrect() { attach work; inside "$resurrect/scripts/save.sh" quiet; }
restore_resurrect() {
    tm new-session -d -x 120 -y 39
    attach
    inside "$resurrect/scripts/restore.sh"
}

save_tmuxp() {
    local name n=0
    tm list-sessions -F '#{session_name}' | while IFS= read -r name; do
        n=$((n + 1))
        env -u TMUX timeout 60 "$tmuxp" freeze -S "$PEERS_SOCKET" -y -q -f yaml -o "$D/frozen$n.yaml" "$name" </dev/null
    done
}
restore_tmuxp() {
    local file
    for file in "$D"/frozen*.yaml; do
        env -u TMUX timeout 60 "$tmuxp" load -S "$PEERS_SOCKET" -f "$CONF" -d -y "$file" </dev/null
    done
}

save_backup() { attach work; inside "$backup" -d "$D/backups" save; }
restore_backup() {
    tm new-session -d -x 120 -y 39
    attach
    inside "$backup" -d "$D/backups" restore
}

keeper() {
    "$ours/agent-keeper" -S "$PEERS_SOCKET" >/dev/null 2>>"$D/log" &
    daemon=$!
    for _ in $(seq 300); do
        "$ours/keeperctl" status --json 2>/dev/null | grep -q '"state": "watching"' && return
        sleep 0.1
    done
}
save_ours() {
    keeper
    "$ours/keeperctl" -S "$PEERS_SOCKET" snapshot take
    kill "$daemon"; wait "$daemon"; daemon=''
}
restore_ours() {
    keeper
    "$ours/keeperctl" -S "$PEERS_SOCKET" restore latest
    sleep 1
    python3 "$here/dump.py" enter "$TMUX_PROGRAM" "$PEERS_SOCKET"
}

# One tool, one server: prints what is wrong, or nothing.
try() {
    local tool=$1 feature=$2 fields=$3 wrong
    begin "$tool-$feature"
    # What is run as code must not touch anything elsewhere.
    cd "$D" || exit
    "$feature"
    python3 "$here/dump.py" write "$TMUX_PROGRAM" "$PEERS_SOCKET" "$D/before.json"
    {
        "save_$tool"
        gone
        "restore_$tool"
    } >>"$D/log" 2>&1
    python3 "$here/dump.py" write "$TMUX_PROGRAM" "$PEERS_SOCKET" "$D/after.json"
    # shellcheck disable=SC2086 # a list of words
    wrong=$(python3 "$here/dump.py" compare "$D/before.json" "$D/after.json" $fields 2>&1 | paste -sd ' ')
    end >>"$D/log" 2>&1
    if [ -n "$(find "$D/canary" "$D/place/canary" -type f 2>/dev/null)" ]; then
        wrong="**executed** $wrong"
    fi
    echo "$wrong"
}

tools=()
present() {
    if [ -n "$2" ] && [ -e "$2" ]; then tools+=("$1"); else echo "SKIPPED $1: ${3}" >&2; fi
}
present ours "$ours/agent-keeper" "no agent-keeper in $ours (--ours DIR)"
present resurrect "${resurrect:+$resurrect/scripts/save.sh}" 'name a checkout with --resurrect DIR'
present tmuxp "$tmuxp" 'name the program with --tmuxp FILE'
present backup "$backup" 'name the program with --tmux-backup FILE'
[ ${#tools[@]} -gt 0 ] || exit 1

real_home=$HOME
declare -A right
total=0
printf '| |'; printf ' %s |' "${tools[@]}"; printf '\n|---|'; printf -- '---|%.0s' "${tools[@]}"; printf '\n'
while IFS='|' read -r feature fields words; do
    [ -n "$feature" ] || continue
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $feature "* ]]; then continue; fi
    total=$((total + 1))
    row="| $words |"
    for tool in "${tools[@]}"; do
        wrong=$(try "$tool" "$feature" "$fields")
        if [ -z "$wrong" ]; then
            row="$row ✔ |"
            right[$tool]=$((${right[$tool]:-0} + 1))
        else
            row="$row ✘ $wrong |"
        fi
    done
    printf '%s\n' "$row"
done <<<"$FEATURES"
printf '| **right, of %d** |' "$total"
for tool in "${tools[@]}"; do printf ' **%d** |' "${right[$tool]:-0}"; done
printf '\n'
HOME=$real_home
if [ -n "${KEEP:-}" ]; then echo "kept: $ROOT" >&2; else rm -rf "$ROOT"; fi
