//! How the kernel writes down that a process has ended.

use procfs::FromRead;
use procfs::process::Stat;

use crate::model::evidence::End;

/// Returns how a process ended by its wait status: the signal in the bits 0 to 6, whether it dumped core in bit 7,
/// the exit status in the bits 8 to 15 (wait(2); the kernel's own `exit_code` is the same).
pub(super) fn end_of(wait_status: u32) -> End {
    let [low, high, ..] = wait_status.to_le_bytes();
    match low & 0x7f {
        0 => End::Exited(high),
        signal => End::Killed(signal),
    }
}

/// What `/proc/PID/stat` says of a process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// When it started, in clock ticks since boot.
    pub(super) start_ticks: u64,
    /// Its wait status, once it has ended (field 52). Zero also when we may not know it.
    pub(super) wait_status: Option<u32>,
    /// Whether it can be seen that we may know everything of it: where its stack is, is shown to nobody else.
    pub(super) open: bool,
}

impl Life {
    /// Reads the text of the file.
    pub(super) fn parse(stat: &[u8]) -> Option<Self> {
        let stat = Stat::from_read(stat).ok()?;
        let wait_status = matches!(stat.state, 'Z' | 'X').then_some(stat.exit_code).flatten();
        Some(Self {
            start_ticks: stat.starttime,
            wait_status: wait_status.map(i32::cast_unsigned),
            open: stat.startstack != 0,
        })
    }
}

/// The message to the kernel's process connector by which a socket asks for the ends of processes (linux/cn_proc.h,
/// `PROC_CN_MCAST_LISTEN` with `PROC_EVENT_EXIT` only): a `nlmsghdr`, in it a `cn_msg`, in it a `proc_input`.
pub(super) fn subscription() -> Vec<u8> {
    const NLMSG_DONE: u16 = 3;
    const PROC_CN_MCAST_LISTEN: u32 = 1;
    let mut message = Vec::with_capacity(PAYLOAD_AT + 8);
    message.extend((PAYLOAD_AT as u32 + 8).to_ne_bytes());
    message.extend(NLMSG_DONE.to_ne_bytes());
    message.extend([0; 10]);
    message.extend([CN_IDX_PROC, CN_VAL_PROC, 0, 0].map(u32::to_ne_bytes).as_flattened());
    message.extend(8_u16.to_ne_bytes());
    message.extend([0; 2]);
    message.extend([PROC_CN_MCAST_LISTEN, PROC_EVENT_EXIT].map(u32::to_ne_bytes).as_flattened());
    message
}

/// The process connector's name among the connectors (linux/connector.h), and the number of its group.
pub(super) const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;

/// linux/cn_proc.h
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

/// Where a connector's payload begins in a message: behind a `nlmsghdr` of 16 bytes and a `cn_msg` of 20.
const PAYLOAD_AT: usize = 36;

/// Reads a message of the process connector: the process that has ended, and its wait status. `None` when it is about
/// something else, or about a thread beside which others go on.
pub(super) fn parse_exit(message: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(*message.get(PAYLOAD_AT + at..)?.first_chunk()?));
    let connector = message.get(16..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_ne_bytes)?;
    // A `proc_event`: what it is, the processor, the time in 8 bytes; of an exit the thread, the process, the status.
    let (what, thread, process, status) = (word(0)?, word(16)?, word(20)?, word(24)?);
    (connector == CN_IDX_PROC && what == PROC_EVENT_EXIT && thread == process).then_some((process, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_read() {
        for (status, end) in [
            (0, End::Exited(0)),
            (0x0300, End::Exited(3)),
            (0xff00, End::Exited(255)),
            (9, End::Killed(9)),
            (11, End::Killed(11)),
            // With a core dump.
            (0x8b, End::Killed(11)),
            (0x86, End::Killed(6)),
            (64, End::Killed(64)),
        ] {
            assert_eq!(end_of(status), end, "{status:#x}");
        }
    }

    /// `sh -c 'kill -9 $$'` before anybody waited for it (Linux 6.18).
    const ZOMBIE: &str = "6153 (sh) Z 6110 6153 5003 34816 6153 4227084 130 0 0 0 0 0 0 0 20 0 1 0 5229301 0 0 \
                          18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 9\n";

    #[test]
    fn a_zombie_shows_how_it_ended() {
        let life = Life { start_ticks: 5_229_301, wait_status: Some(9), open: false };
        assert_eq!(Life::parse(ZOMBIE.as_bytes()), Some(life));
        // The status of one that was stopped, and goes on, is not that of an end.
        let stopped = ZOMBIE.replace(") Z", ") T");
        assert_eq!(Life::parse(stopped.as_bytes()).unwrap().wait_status, None);
        let odd = ZOMBIE.replace("(sh)", "(a) R 1 (b)");
        assert_eq!(Life::parse(odd.as_bytes()), Some(life));
        assert_eq!(Life::parse(b""), None);
    }

    /// What the connector sent for the end of process 6152, `sh -c 'exit 3'`, thread by thread.
    fn message(what: u32, thread: u32, process: u32) -> Vec<u8> {
        let header = [76, 3, 0, 0, CN_IDX_PROC, CN_VAL_PROC, 7, 0, 40];
        let event = [what, 1, 0x1234_5678, 9, thread, process, 0x0300, 17, 6110, 6110];
        header.into_iter().chain(event).flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn an_end_is_told_by_the_main_thread_of_a_process() {
        let sent = message(PROC_EVENT_EXIT, 6152, 6152);
        assert_eq!(parse_exit(&sent), Some((6152, 0x0300)));
        assert_eq!(parse_exit(&message(PROC_EVENT_EXIT, 6153, 6152)), None);
        assert_eq!(parse_exit(&message(0, 6152, 6152)), None);
        for length in 0..PAYLOAD_AT + 28 {
            assert_eq!(parse_exit(&sent[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_subscription_says_how_long_it_is() {
        let message = subscription();
        assert_eq!(message.len(), 44);
        assert_eq!(message[..4], 44_u32.to_ne_bytes());
        assert_eq!(message[36..], [1_u32.to_ne_bytes(), PROC_EVENT_EXIT.to_ne_bytes()].concat());
    }
}
