#!/usr/bin/env bash
# The QEMU of the test lab, at least 8.0: the TCG of Debian 12's 7.2 crashes guests at random.
#
#   qemu.sh --check                             make sure there is one, print its version
#   qemu.sh --img ARGUMENTS                     run the qemu-img that belongs to it
#   qemu.sh --machine IMAGE DISK CACHE ARGS...  run the lab's machine on DISK, whose kernel and base are in
#                                               IMAGE; CACHE is QEMU's cache mode of the disk
#   qemu.sh ARGUMENTS                           run qemu-system-x86_64
#
# Every form but --check ends in exec: the process id that the caller started is QEMU's own, so killing it
# is a power cut.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh disable=SC1091 # shellcheck follows it only with -x
. "$here/common.sh"

version_min=8
# Where QEMU comes from when the host has none that is new enough. Its packages are only unpacked and run
# through their own dynamic loader: no maintainer script runs, nothing is mounted, the host stays as it is.
suite=trixie
packages='qemu-system-x86,qemu-utils'
tree=$cache/qemu-$(printf '%s' "$suite $packages" | sha256sum | cut -c 1-12)
libraries=$tree/usr/lib/x86_64-linux-gnu

host_is_new_enough() {
    local version
    [[ -n $(type -P qemu-system-x86_64) && -n $(type -P qemu-img) ]] || return 1
    version=$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p')
    ((${version:-0} >= version_min))
}

# Sets $qemu and $img to the command lines to use, fetching QEMU first if need be.
choose() {
    if host_is_new_enough; then
        qemu=(qemu-system-x86_64)
        img=(qemu-img)
        return
    fi
    [[ -d $tree ]] || fetch
    local loader=("$libraries/ld-linux-x86-64.so.2" --library-path "$libraries")
    # Run through the loader QEMU cannot tell where its own files are, hence -L and the module folder.
    export QEMU_MODULE_DIR=$libraries/qemu
    qemu=("${loader[@]}" "$tree/usr/bin/qemu-system-x86_64" -L "$tree/usr/share/qemu" -L "$tree/usr/share/seabios")
    img=("${loader[@]}" "$tree/usr/bin/qemu-img")
}

fetch() {
    local new=$tree.new
    hold_lock qemu
    # Another process may have finished it while we waited.
    if [[ ! -d $tree ]]; then
        ((EUID == 0)) || skip "no QEMU >= $version_min on this host, and only root can unpack one"
        need_commands mmdebstrap=mmdebstrap "$keyring=debian-archive-keyring" unshare=util-linux
        need_private_mounts
        need_disk 500
        say "unpacking QEMU of Debian $suite into $tree"
        remove "$cache"/qemu-????????????*
        private_mounts mmdebstrap --quiet --mode=root --variant=extract --format=directory \
            --include="$packages" "$suite" "$new" "$(sources "$suite")" {lock_fd}>&- >&2 ||
            skip "QEMU of Debian $suite could not be fetched from $mirror"
        mv "$new" "$tree"
    fi
    exec {lock_fd}>&-
}

# The one home of the machine's shape: a snapshot loads only into the very same set of devices.
machine() {
    local image=$1 disk=$2 cache_mode=$3
    shift 3
    # panic, crash_reboot: a guest that cannot go on ends QEMU instead of hanging until a deadline.
    local kernel_options=(
        root=/dev/vda rw console=ttyS0 quiet panic=1 systemd.crash_reboot=yes
        # eth0 has to have its name before udev could give it another one.
        net.ifnames=0
        # Emulation: page table isolation alone doubles the time of a boot, and on a busy host the kernel's
        # checks of timers fail at random.
        mitigations=off no_timer_check tsc=reliable
        # There is nobody at a console.
        systemd.getty_auto=no
    )
    # shellcheck disable=SC2054 # the commas are QEMU's
    local args=(
        -nodefaults -no-user-config -display none -no-reboot
        # Nehalem: newer models make this guest kernel oops under TCG.
        -M q35,sata=off,smbus=off,i8042=off,usb=off -accel tcg,thread=multi,tb-size=512 -cpu Nehalem -smp 2 -m 1024
        -kernel "$image/vmlinuz" -initrd "$image/initrd"
        -append "${kernel_options[*]}"
        -drive "file=$disk,format=qcow2,if=virtio,cache=$cache_mode,backing.driver=raw,backing.file.driver=file,backing.file.filename=$image/base.raw"
        # Port 0: the kernel picks a free one, "info usernet" tells which. restrict: the guest reaches nothing.
        -nic "user,model=virtio-net-pci,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22"
        -device virtio-rng-pci
    )
    exec "${qemu[@]}" "${args[@]}" "$@"
}

choose
case ${1-} in
    --check) "${qemu[@]}" --version | head -n 1 ;;
    --img)
        shift
        exec "${img[@]}" "$@"
        ;;
    --machine)
        shift
        (($# >= 3)) || fail "--machine needs IMAGE DISK CACHE"
        machine "$@"
        ;;
    *) exec "${qemu[@]}" "$@" ;;
esac
