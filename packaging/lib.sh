# shellcheck shell=bash
# What packaging/install.sh and tests/all.sh share: messages, Debian packages, the Rust toolchain.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Set by --dry-run: steps are named and not taken.
dry_run=${dry_run-}

say() {
    local mark="==>"
    [[ -z $dry_run ]] || mark=would:
    printf "%s %s\n" "$mark" "$*"
}

# Print what failed, and below it what to do, one argument a line; then give up.
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '  %s\n' "$@" >&2
    exit 1
}

has() {
    [[ -n $(type -P "$1") ]]
}

# Take a step unless this is a dry run.
run() {
    [[ -n $dry_run ]] || "$@"
}

# Run a command whose output matters only when it fails.
quietly() {
    local output status=0
    output=$("$@" 2>&1 </dev/null) || status=$?
    ((status == 0)) || printf '%s\n' "$output" >&2
    return "$status"
}

# ── packages ──

# Print the packages that are missing. Arguments are COMMAND=PACKAGE; a COMMAND with a slash is a file.
missing_packages() {
    local pair
    for pair in "$@"; do
        case $pair in
            /*) [[ -e ${pair%%=*} ]] || printf '%s\n' "${pair#*=}" ;;
            *) has "${pair%%=*}" || printf '%s\n' "${pair#*=}" ;;
        esac
    done
}

can_install() {
    has apt-get && { ((EUID == 0)) || has sudo; }
}

# Make sure that commands and files exist; arguments as of missing_packages.
need_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} > 0)) || return 0
    has apt-get || fail "these packages are missing, and there is no apt-get to install them: ${missing[*]}" \
        "install what this system calls them, then run again with --no-packages"
    can_install || fail "these packages are missing, and you are neither root nor have sudo: ${missing[*]}" \
        "as root: apt-get install ${missing[*]}"
    say "install packages: ${missing[*]}"
    run install_packages "${missing[@]}"
}

install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    ((EUID == 0)) || apt=(sudo "${apt[@]}")
    # Here and not in quietly, which shuts the terminal out: sudo may ask for a password.
    ((EUID == 0)) || sudo -v || fail "sudo does not let you install the packages: $*" "as root: apt-get install $*"
    # A list that cannot be fetched need not be the one that is needed.
    quietly "${apt[@]}" update || say "some package lists could not be fetched; going on with what is there"
    quietly "${apt[@]}" --yes --no-install-recommends install "$@" ||
        fail "apt-get could not install $*" "see what is wrong: apt-get install $*"
}

# ── Rust ──

# Make sure that rustc and cargo are as new as Cargo.toml asks for. Nothing outside CARGO_HOME and
# RUSTUP_HOME changes, no shell's start-up file either.
need_rust() {
    local wanted cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repo/Cargo.toml")
    rust_is_new_enough "$wanted" && return
    # Installed by rustup, but not in this shell's PATH, or behind a distribution's older one.
    PATH=$cargo_bin:$PATH
    rust_is_new_enough "$wanted" && return
    if has rustup; then
        say "install the stable Rust toolchain with rustup (Rust $wanted or newer is needed)"
        run quietly rustup toolchain install stable --profile minimal || fail "rustup could not install it"
        export RUSTUP_TOOLCHAIN=stable
    else
        say "install Rust with rustup into ${cargo_bin%/bin} (Rust $wanted or newer is needed)"
        run install_rustup
    fi
    [[ -n $dry_run ]] || rust_is_new_enough "$wanted" || fail "Rust is still older than $wanted: $(type -P rustc)"
}

rust_is_new_enough() {
    local version
    has cargo && version=$(rustc --version 2>/dev/null) || return 1
    version=${version#rustc }
    [[ $(printf '%s\n' "$1" "${version%%[ -]*}" | sort --version-sort | head -n 1) == "$1" ]]
}

install_rustup() {
    local from=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup} script
    script=$(mktemp)
    # A distribution's older Rust in the PATH is no reason to stop; ours comes first.
    if ! curl --proto '=https' --tlsv1.2 -sSfL --retry 3 -o "$script" "$from/rustup-init.sh" ||
        ! RUSTUP_INIT_SKIP_PATH_CHECK=yes quietly sh "$script" -y --no-modify-path --profile minimal; then
        fail "Rust could not be installed from $from" "install it yourself (https://rustup.rs) and run again"
    fi
    rm -f "$script"
}
