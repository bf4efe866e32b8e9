#!/usr/bin/env bash
# Run every test there is, cheapest first, and sum up. Exit status 1: something failed.
set -euo pipefail

usage() {
    cat <<END
Usage: tests/all.sh [fast|vm]

Installs what the tests need, then runs the linters and every tier of tests; the virtual machines come last.

  fast        leave the virtual machines out
  vm          only the virtual machines
  -h, --help  show this

With CI=true whatever cannot run here counts as failed; else it is only shown as SKIPPED.
END
}

case ${1-all} in
    all | fast | vm) what=${1-all} ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
# shellcheck source=../packaging/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../packaging/lib.sh"

# How long processes of a finished test may take to be gone, in seconds.
leftovers_max=20

summary=()
result=
failed=
# In /tmp, because a socket's path has to be short.
scratch=$(mktemp -d /tmp/ak-XXXXXX)
# Every test keeps its files in here, so that whatever it leaves running can be told from the user's own.
tests_dir=$scratch/t
mkdir "$tests_dir"
trap clean_up EXIT

main() {
    cd "$repo"
    need_tools
    # Cargo's output goes through a pipe, see tier.
    [[ ! -t 1 ]] || export CARGO_TERM_COLOR=always
    [[ $what == vm ]] || fast_tiers
    case $what in
        fast) summary+=("left out  virtual machines: run tests/all.sh vm") ;;
        # One at a time: two emulated machines on two cores take as long, and each answers late.
        *) tier "virtual machines" tests --test vm -- --nocapture --test-threads=1 ;;
    esac
    sum_up
}

need_tools() {
    local pairs=(
        tmux=tmux cc=gcc /usr/include/stdio.h=libc6-dev /etc/ssl/certs/ca-certificates.crt=ca-certificates
        curl=curl
    )
    # Without them parts are skipped; without the others nothing works.
    [[ $what == vm ]] || ! can_install || pairs+=(shellcheck=shellcheck zsh=zsh fish=fish dbus-daemon=dbus-daemon)
    need_packages "${pairs[@]}"
    need_rust
}

# A part of the toolchain that rustup's minimal profile lacks: COMPONENT COMMAND.
need_component() {
    ! "$2" --version >/dev/null 2>&1 && has rustup || return 0
    say "add $1 to the Rust toolchain"
    quietly rustup component add "$1" || fail "rustup could not add $1" "see why: rustup component add $1"
}

fast_tiers() {
    need_component rustfmt cargo-fmt
    need_component clippy cargo-clippy
    tier format with cargo-fmt cargo fmt --check
    tier clippy with cargo-clippy cargo clippy --all-targets --locked -- -D warnings
    tier shellcheck with shellcheck check_scripts
    tier build cargo test --locked --no-run
    [[ $result == ok ]] || return 0
    tier unit tests --lib
    local file
    for file in tests/*.rs; do
        file=${file##*/}
        tier "${file%.rs}" tests --test "${file%.rs}"
    done
    tier documentation tests --doc
}

# Run a part and note how it went, also in $result: NAME COMMAND... A part says SKIPPED when it could not run
# or not wholly.
tier() {
    local name=$1 started=$SECONDS
    shift
    result=ok
    printf '\n── %s ──\n' "$name"
    "$@" 2>&1 | tee "$scratch/output" || result=FAILED
    if grep -q SKIPPED "$scratch/output" && [[ $result == ok ]]; then
        result=SKIPPED
        [[ ${CI-} != true ]] || result=FAILED
    fi
    [[ $result != FAILED ]] || failed=yes
    summary+=("$(printf '%-8s  %-16s  %s' "$result" "$name" "$(minutes $((SECONDS - started)))")")
    local why
    ! why=$(grep -m 1 SKIPPED "$scratch/output") || summary+=("          $why")
}

# Run a command if a program is there: PROGRAM COMMAND...
with() {
    local program=$1
    shift
    if has "$program"; then
        "$@"
    else
        printf 'SKIPPED: there is no %s here\n' "$program"
    fi
}

# Run cargo test with files in our own place, and see to it that nothing of it goes on running.
tests() {
    local status=0
    TMPDIR=$tests_dir AGENT_KEEPER_TEST_DIR=$tests_dir cargo test --locked --quiet "$@" || status=$?
    no_leftovers || status=1
    return "$status"
}

no_leftovers() {
    local end=$((SECONDS + leftovers_max)) pid
    while [[ -n $(leftovers) ]]; do
        if ((SECONDS >= end)); then
            printf 'left running by a test:\n'
            for pid in $(leftovers); do
                printf '  %s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
            done
            stop_leftovers
            return 1
        fi
        sleep 0.2
    done
}

stop_leftovers() {
    local pid
    for pid in $(leftovers); do
        kill "$pid" 2>/dev/null || true
    done
}

# Also after an interrupt in the middle of a test.
clean_up() {
    stop_leftovers
    rm -rf --one-file-system -- "$scratch"
}

# Print the ids of processes that were started with a file in our place. The name goes to grep through a
# pipe, so that grep does not find itself.
leftovers() {
    local files=(/proc/[0-9]*/cmdline)
    printf '%s/' "$tests_dir" | { grep --files-with-matches --no-messages -F -f - "${files[@]}" || true; } | cut -d / -f 3
}

check_scripts() {
    local files
    mapfile -t files < <(scripts)
    shellcheck --external-sources --source-path=SCRIPTDIR "${files[@]}"
}

# Print every shell script of the repository. Some have no suffix.
scripts() {
    local file line
    find . \( -name target -o -name .git \) -prune -o -type f -size -100k -print | while read -r file; do
        IFS= read -r line <"$file" 2>/dev/null || continue
        case $line in
            '#!'*[/\ ]sh | '#!'*[/\ ]bash | '# shellcheck shell='*) printf '%s\n' "$file" ;;
        esac
    done
}

minutes() {
    printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

sum_up() {
    printf '\n── summary ──\n'
    printf '%s\n' "${summary[@]}"
    printf 'total %s\n' "$(minutes "$SECONDS")"
    [[ -z $failed ]] || exit 1
}

main
