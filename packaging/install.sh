#!/usr/bin/env bash
# Build agent-keeper, install it, start it, and prove that it can bring back what it saves.
set -euo pipefail

usage() {
    cat <<END
Usage: packaging/install.sh [--dry-run] [--no-packages]

Builds agent-keeper and keeperctl from this clone, installs them, and sets the keeper up for the user who
runs it. Root installs below /usr/local, everybody else below ~/.local. Steps whose work is done already are
left out, so it can be run again at any time, also to upgrade; sessions live on.

  -n, --dry-run      only name the steps
      --no-packages  leave the system's packages alone
  -h, --help         show this
END
}

dry_run=
packages=yes
while (($# > 0)); do
    case $1 in
        -n | --dry-run) dry_run=yes ;;
        --no-packages) packages= ;;
        -h | --help)
            usage
            exit
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    shift
done
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How long the keeper may take to answer, and to restore what was lost, in seconds.
answer_max=120

target=${CARGO_TARGET_DIR:-$repo/target}
prefix=$HOME/.local
((EUID != 0)) || prefix=/usr/local
bin=$prefix/bin
share=$prefix/share

main() {
    cd "$repo"
    [[ -z $packages ]] || need_build_packages
    need_rust
    say "build agent-keeper (takes minutes the first time)"
    run cargo build --release --locked --target-dir "$target"
    install_programs
    install_completions
    install_man_pages
    set_up
    [[ -n $dry_run ]] || wait_for "the keeper to watch a tmux server" keeper_watches
    first_session
    say "take a snapshot"
    run "$bin/keeperctl" snapshot take
    say "prove that it can be restored"
    run "$bin/keeperctl" drill || fail "the restore is not perfect; your sessions are untouched" \
        "see above what differs, and: $bin/keeperctl doctor"
    say "show how things stand"
    run "$bin/keeperctl" status
    [[ -n $dry_run ]] || what_next
}

# cc and the C library's headers are for zstd, which is built from source and linked in.
need_build_packages() {
    local pairs=(
        tmux=tmux cc=gcc /usr/include/stdio.h=libc6-dev /etc/ssl/certs/ca-certificates.crt=ca-certificates
    )
    has rustup || has "${CARGO_HOME:-$HOME/.cargo}/bin/rustup" || pairs+=(curl=curl)
    need_packages "${pairs[@]}"
}

# ── files ──

# Install a file unless the same is there: SOURCE TARGET MODE. By rename, so that whoever runs or reads the
# old one keeps it.
install_file() {
    local from=$1 to=$2 mode=$3
    ! cmp -s "$from" "$to" || return 0
    say "install $to"
    run install -D -m "$mode" "$from" "$to.new"
    run mv -f "$to.new" "$to"
}

install_programs() {
    local name
    for name in agent-keeper keeperctl; do
        install_file "$target/release/$name" "$bin/$name" 755
    done
}

install_completions() {
    install_completion bash bash-completion/completions/keeperctl
    install_completion zsh zsh/site-functions/_keeperctl
    install_completion fish fish/vendor_completions.d/keeperctl.fish
}

install_completion() {
    local shell=$1 to=$share/$2 made=$target/release/keeperctl.$1
    [[ -n $dry_run ]] || "$bin/keeperctl" completions "$shell" >"$made"
    install_file "$made" "$to" 644
}

install_man_pages() {
    local page
    for page in packaging/man/*.[1-8]; do
        [[ ! -e $page ]] || install_file "$page" "$share/man/man${page##*.}/${page##*/}" 644
    done
}

# ── the keeper ──

set_up() {
    [[ -n $dry_run ]] || stop_outdated_keeper
    say "set the keeper up and start it"
    # Exit status 3 is "done in part", and the part that was not is named.
    run "$bin/keeperctl" setup || [[ $? == 3 ]] || fail "the keeper could not be set up" "try again: $bin/keeperctl setup"
}

# A keeper that runs a file which was replaced makes way for the new one. Its tmux server goes on. One that is
# process 1 stays: with it the container would end.
stop_outdated_keeper() {
    local pid
    pid=$(status_field keeper pid)
    [[ -n $pid && $pid != 1 && $(readlink "/proc/$pid/exe") == "$bin/agent-keeper (deleted)" ]] || return 0
    say "stop the old version (pid $pid)"
    kill "$pid"
    wait_for "pid $pid to end" keeper_is_gone "$pid"
}

keeper_is_gone() {
    [[ ! -e /proc/$1/exe ]]
}

# Print a field of an object in the status: OBJECT NAME. Nothing when there is none.
status_field() {
    { "$bin/keeperctl" status --json 2>/dev/null || true; } |
        sed -n "/^  \"$1\": {/,/^  }/s/^    \"$2\": \"\{0,1\}\([^\",]*\).*/\1/p"
}

keeper_watches() {
    [[ $(status_field keeper state) == watching && -n $(status_field server socket) ]]
}

# Ask until the answer is yes: WHAT COMMAND...
wait_for() {
    local end=$((SECONDS + answer_max)) what=$1
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "gave up waiting for $what" "see why: $bin/keeperctl status; $bin/keeperctl doctor"
        sleep 0.2
    done
}

first_session() {
    [[ -n $dry_run ]] || ! has_sessions || return 0
    say "make a first session: main"
    run kept_tmux new-session -d -s main -c "$HOME"
}

has_sessions() {
    [[ -n $(kept_tmux list-sessions 2>/dev/null) ]]
}

# The user's tmux, on the socket that the keeper watches.
kept_tmux() {
    tmux -S "$(status_field server socket)" "$@"
}

what_next() {
    printf '\nYour sessions are kept from now on. Go to one: tmux attach. What could still end them: keeperctl doctor\n'
    case :$PATH: in
        *:"$bin":*) ;;
        *) printf '%s\n' "$bin is not in your PATH yet: log in again, or: PATH=$bin:\$PATH" ;;
    esac
    if ((EUID == 0)) && [[ ${SUDO_USER:-root} != root ]]; then
        printf 'This was for root, because of sudo. For %s too, as that user: keeperctl setup\n' "$SUDO_USER"
    fi
}

main
