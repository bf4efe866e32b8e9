# shellcheck shell=bash
# What image.sh and qemu.sh share: the cache folder, messages, locks, packages of the host.

# Everything heavy lives here and never in the repository.
cache=${AGENT_KEEPER_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agent-keeper-vm}
# Public default; a company or CI mirror can be named instead.
mirror=${AGENT_KEEPER_VM_MIRROR:-http://deb.debian.org/debian}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The line of sources.list for a suite. The keyring is named because Ubuntu's apt does not trust it by itself.
sources() {
    printf 'deb [signed-by=%s] %s %s main' "$keyring" "$mirror" "$1"
}

say() {
    printf 'vm-lab: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# 77 is the exit status by which test harnesses tell "could not run here" from "ran and failed".
skip() {
    say "SKIPPED: $*"
    exit 77
}

# Hold the lock NAME until this process ends; its file descriptor number is left in $lock_fd, so that
# long-lived children can close it (a child that outlives us would keep the lock).
hold_lock() {
    mkdir -p "$cache"
    exec {lock_fd}>"$cache/$1.lock"
    if ! flock --nonblock "$lock_fd"; then
        say "waiting for another process that holds $cache/$1.lock"
        flock "$lock_fd"
    fi
}

# Free disk space of the cache in MiB must be at least $1.
need_disk() {
    local free
    free=$(df --output=avail --block-size=1M "$cache" | tail -n 1)
    ((free >= $1)) || skip "$cache has ${free// /} MiB free, $1 MiB are needed"
}

# Make sure that commands exist, by installing the Debian packages that hold them.
# Arguments are COMMAND=PACKAGE; a COMMAND with a slash is a file.
need_commands() {
    local pair missing=()
    for pair in "$@"; do
        case $pair in
            /*) [[ -e ${pair%%=*} ]] || missing+=("${pair#*=}") ;;
            *) [[ -n $(type -P "${pair%%=*}") ]] || missing+=("${pair#*=}") ;;
        esac
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

install_packages() {
    [[ -n $(type -P apt-get) ]] || skip "needs the packages $* and there is no apt-get to install them"
    ((EUID == 0)) || skip "needs the packages $*, and only root can install them"
    say "installing on this host: $*"
    (
        # One installer at a time: apt's own lock on its lists fails at once instead of waiting.
        hold_lock host-packages
        export DEBIAN_FRONTEND=noninteractive
        apt=(apt-get -o DPkg::Lock::Timeout=300 --yes --no-install-recommends)
        "${apt[@]}" install "$@" >&2 || { "${apt[@]}" update >&2 && "${apt[@]}" install "$@" >&2; }
    ) || skip "needs the packages $*, and apt-get could not install them"
}

# Run a command in a mount namespace of its own: whatever it mounts is gone when it ends, however it ends,
# so no bind mount is ever left for somebody's rm -rf to walk into.
private_mounts() {
    unshare --mount --propagation private -- "$@"
}

need_private_mounts() {
    private_mounts mount -t tmpfs none "$cache" 2>/dev/null || skip "needs the right to mount, which containers often lack"
}

# Like rm -rf, but never into a mounted file system.
remove() {
    rm -rf --one-file-system -- "$@"
}
