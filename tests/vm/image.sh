#!/usr/bin/env bash
# Build the disk image and snapshot of one Debian release for the test lab; print the image's folder.
#
#   image.sh trixie|bookworm|sid
#
# The folder holds: base.raw (root file system, never written again), booted.qcow2 (overlay on it with the
# snapshot "booted": running, settled, nobody logged in), vmlinuz, initrd, id_ed25519 (logs in as root and as
# agent), known_hosts (its host name is "lab") and versions. It is keyed by everything that went into it, so
# a second run is instant and an edited script builds anew. Exit status 77: this host cannot build it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh disable=SC1091 # shellcheck follows it only with -x
. "$here/common.sh"

# What Debian installs by default matters here (logind, D-Bus, polkit are what is tested), so nothing is
# configured beyond what the lab itself needs. No systemd-oomd and no systemd-coredump: Debian does not
# install them by default. The .deb of the former waits in /var/cache/lab for the scenario that wants it.
packages=(
    systemd systemd-sysv dbus dbus-user-session libpam-systemd polkitd udev
    openssh-server sudo tmux bash less procps iproute2 jq zstd e2fsprogs
    linux-image-cloud-amd64 initramfs-tools klibc-utils cpio
)
later_packages=(systemd-oomd)
# Periodic work that would run at random in the middle of a scenario.
masked_units=(
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer
    e2scrub_reap.service
)

main() {
    (($# == 1)) || fail "usage: image.sh trixie|bookworm|sid"
    suite=$1
    [[ $suite =~ ^(trixie|bookworm|sid)$ ]] || fail "unknown suite $suite (trixie, bookworm, sid)"
    mkdir -p "$cache"
    local qemu_version
    # The version belongs to the key because a snapshot is only sure to load into the QEMU that wrote it.
    qemu_version=$("$here/qemu.sh" --check)
    image=$cache/$suite-$(key "$qemu_version")
    if [[ ! -d $image ]]; then
        hold_lock "$suite"
        # Another process may have built it while we waited.
        [[ -d $image ]] || build
    fi
    printf '%s\n' "$image"
}

# Hash of whatever decides what the image looks like. The processor is part of it: the guest has measured the
# speed of this host's time stamp counter, and its clock would run wrong on another one.
key() {
    {
        printf '%s\n' "$suite" "$mirror" "$1"
        grep -m 1 '^model name' /proc/cpuinfo || true
        cd "$here"
        find image.sh common.sh qemu.sh guest -type f -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c 1-12
}

build() {
    local started=$SECONDS
    ((EUID == 0)) || skip "building the image of Debian $suite needs root"
    need_commands mmdebstrap=mmdebstrap mkfs.ext4=e2fsprogs ssh=openssh-client ssh-keygen=openssh-client \
        xz=xz-utils unshare=util-linux setpriv=util-linux mount=mount "$keyring=debian-archive-keyring"
    need_private_mounts
    need_disk 4096
    say "building the image of Debian $suite, one or two minutes"
    # A builder that was killed leaves its folder behind. We hold the lock, so it is nobody's.
    remove "$cache/$suite".new.*
    work=$cache/$suite.new.$$
    mkdir "$work"
    trap 'clean_up' EXIT
    ssh-keygen -q -t ed25519 -N '' -C lab -f "$work/id_ed25519"
    make_tree_and_disk
    take_snapshot
    remove "$cache/$suite"-????????????
    mv "$work" "$image"
    say "built $image in $((SECONDS - started)) s"
}

clean_up() {
    if [[ -n ${qemu_pid-} ]]; then
        kill -KILL "$qemu_pid" 2>/dev/null || true
        # Collects it, so that bash does not report the kill as if it were news.
        wait "$qemu_pid" 2>/dev/null || true
    fi
    remove "$work"
}

# The tree lives in memory (a quarter of the time of a disk) and in a mount namespace of its own, which
# needs a process of its own: this script again, see the end of the file.
make_tree_and_disk() {
    local core_pattern status=0
    core_pattern=$(</proc/sys/kernel/core_pattern)
    private_mounts "$here/image.sh" --tree "$suite" "$work" {lock_fd}>&- >&2 || status=$?
    # Maintainer scripts see this host's /proc/sys. None of ours writes there; make sure.
    if [[ $(</proc/sys/kernel/core_pattern) != "$core_pattern" ]]; then
        printf '%s' "$core_pattern" >/proc/sys/kernel/core_pattern
        fail "installing Debian $suite changed this host's kernel.core_pattern; put back, packages need a look"
    fi
    ((status == 0)) || exit "$status"
}

# In the private mount namespace.
tree_and_disk() {
    tree=$work/tree
    mkdir "$tree"
    mount -t tmpfs -o size=2G,mode=755 tree "$tree"
    install_debian || skip "Debian $suite could not be installed from $mirror"
    configure
    make_initrd
    cp "$tree"/boot/vmlinuz-* "$work/vmlinuz"
    printf 'lab %s\n' "$(cut -d ' ' -f 1,2 "$tree/etc/ssh/ssh_host_ed25519_key.pub")" >"$work/known_hosts"
    chroot "$tree" dpkg-query --show systemd tmux polkitd openssh-server linux-image-cloud-amd64 >"$work/versions"
    truncate -s 3G "$work/base.raw"
    mkfs.ext4 -q -F -d "$tree" "$work/base.raw"
    umount "$tree"
    rmdir "$tree"
}

install_debian() {
    local include
    include=$(
        IFS=,
        printf '%s' "${packages[*]}"
    )
    # INITRD=No: the lab makes its own, and building Debian's takes longer than all the rest of the kernel.
    # Documentation is left out by dpkg once dpkg itself runs; given to mmdebstrap as an option the same
    # filter would slow its own unpacking down fourfold.
    # shellcheck disable=SC2016 # $1 is expanded by the hook's shell
    # A mirror may be weeks behind: these machines are nobody's.
    INITRD=No mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
        --include="$include" --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
        --essential-hook='printf "path-exclude=/usr/share/%s/*\n" doc man locale >"$1/etc/dpkg/dpkg.cfg.d/lab"' \
        --customize-hook='mkdir "$1/var/cache/lab"' \
        --customize-hook='cd "$1/var/cache/lab" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq -o APT::Sandbox::User=root download '"${later_packages[*]}" \
        --skip=output/mknod "$suite" "$tree" "$(sources "$suite")"
}

configure() {
    local home unit units=$tree/etc/systemd/system
    chroot "$tree" useradd --create-home --shell /bin/bash --uid 1000 agent
    cp "$here/guest/profile" "$tree/home/agent/.profile"
    for home in root home/agent; do
        install -d -m 700 "$tree/$home/.ssh"
        install -m 600 "$work/id_ed25519.pub" "$tree/$home/.ssh/authorized_keys"
    done
    chroot "$tree" chown -R agent:agent /home/agent
    # By hand: systemctl complains about a chroot without /proc.
    for unit in "${masked_units[@]}"; do
        ln -s /dev/null "$units/$unit"
    done
    printf 'lab\n' >"$tree/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 lab\n' >"$tree/etc/hosts"
    printf 'LANG=C.UTF-8\n' >"$tree/etc/default/locale"
    # The host's, copied by mmdebstrap; the guest has no network.
    : >"$tree/etc/resolv.conf"
    # Without an id systemd would take the next boot for a first boot and enable every preset.
    tr -d - </proc/sys/kernel/random/uuid >"$tree/etc/machine-id"
    # Says that /etc and /var match /usr: spares hwdb and ldconfig runs at the first boot.
    touch "$tree/etc/.updated" "$tree/var/.updated"
    # Since 9.8 sshd locks out addresses whose connections end early, and cutting them is what tests do.
    [[ $suite == bookworm ]] || printf 'PerSourcePenalties no\n' >"$tree/etc/ssh/sshd_config.d/lab.conf"
}

# The drivers of the virtio devices and klibc's tools, packed as cpio; what it does is in guest/initrd-init.
make_initrd() {
    local root=$tree/initrd kernel path name tool
    kernel=$(basename "$tree"/lib/modules/*)
    mkdir -p "$root"/{bin,dev,modules,root,usr/lib}
    ln -s usr/lib "$root/lib"
    for tool in sh mount insmod ipconfig sleep run-init; do
        cp "$tree/usr/lib/klibc/bin/$tool" "$root/bin/"
    done
    cp "$tree"/usr/lib/klibc-*.so "$root/usr/lib/"
    install -m 755 "$here/guest/initrd-init" "$root/init"
    : >"$root/modules/list"
    while read -r path; do
        name=$(basename "${path%.xz}")
        case $path in
            *.xz) xz --decompress --stdout "$tree$path" >"$root/modules/$name" ;;
            *) cp "$tree$path" "$root/modules/$name" ;;
        esac
        printf '%s\n' "$name" >>"$root/modules/list"
    done < <(
        for name in virtio_pci virtio_blk virtio_net ext4; do
            chroot "$tree" modprobe --set-version "$kernel" --show-depends "$name"
        done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
    )
    chroot "$tree" sh -c 'cd /initrd && find . | cpio --quiet --create --format=newc' >"$work/initrd"
    remove "$root"
}

# Boot once, wait until everything has settled, save the running machine into the disk's overlay.
take_snapshot() {
    "$here/qemu.sh" --img create -q -f qcow2 -F raw -b "$work/base.raw" "$work/booted.qcow2"
    mkfifo "$work/monitor"
    # unsafe: nobody needs this disk if this host dies before the build has ended.
    setpriv --pdeathsig KILL "$here/qemu.sh" --machine "$work" "$work/booted.qcow2" unsafe \
        -serial "file:$work/console" -monitor stdio \
        <"$work/monitor" >"$work/monitor.out" 2>&1 {lock_fd}>&- &
    qemu_pid=$!
    exec {monitor}>"$work/monitor"
    printf 'info usernet\n' >&"$monitor"
    wait_until 60 "QEMU's monitor" ssh_port
    wait_until 600 "ssh into Debian $suite" guest true
    guest 'systemctl is-system-running --wait' >/dev/null || fail "Debian $suite does not settle: $(guest 'systemctl --failed')"
    guest sync
    printf 'savevm booted\ninfo snapshots\nquit\n' >&"$monitor"
    exec {monitor}>&-
    wait "$qemu_pid" || fail "QEMU failed: $(tail -n 3 "$work/monitor.out")"
    qemu_pid=
    grep -q ' booted ' "$work/monitor.out" || fail "no snapshot was saved: $(tail -n 3 "$work/monitor.out")"
    remove "$work"/{monitor,monitor.out,console,id_ed25519.pub}
    # On the disk before the folder gets its final name: a host that crashes right now must not keep half an image.
    sync "$work"/*
}

ssh_port() {
    port=$(sed -n 's/.*HOST_FORWARD.* 127\.0\.0\.1 *\([0-9]*\) .*/\1/p' "$work/monitor.out")
    [[ -n $port ]]
}

# The timeout covers sshd's first words, which take seconds on a busy host. It may be long: once the guest's
# network is up, a port without sshd is refused at once.
guest() {
    ssh -F /dev/null -i "$work/id_ed25519" -p "$port" -o BatchMode=yes -o ConnectTimeout=30 -o LogLevel=ERROR \
        -o HostKeyAlias=lab -o UserKnownHostsFile="$work/known_hosts" root@127.0.0.1 "$@" </dev/null
}

# Try a command until it succeeds: SECONDS WHAT COMMAND...
wait_until() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" 2>"$work/last-error"; do
        kill -0 "$qemu_pid" 2>/dev/null || fail "QEMU ended: $(tail -n 20 "$work/monitor.out" "$work/console")"
        ((SECONDS < end)) || fail "gave up waiting for $what: $(tail -n 20 "$work/console" "$work/last-error")"
        sleep 0.3
    done
    rm -f "$work/last-error"
}

if [[ ${1-} == --tree ]]; then
    suite=$2 work=$3
    tree_and_disk
else
    main "$@"
fi
