//! Reads what the kernel's log says of processes that it killed for want of memory.
//!
//! Two lines belong together (mm/oom_kill.c, `dump_oom_victim` and `__oom_kill_process`): one names the control
//! groups, the next one the memory. With `memory.oom.group` several of the latter follow one of the former.

use jiff::Timestamp;

use crate::model::evidence::{About, Fact, Sighting, Victim};

/// Returns the processes of a user that the kernel killed, in the order of the lines. What they were to a death is
/// not known here: each is a [`Victim::Child`], see [`Whereabouts::name_victim`](crate::diagnosis::habitat::Whereabouts::name_victim).
pub fn victims<'a>(lines: impl Iterator<Item = (Timestamp, &'a str)>, uid: u32) -> Vec<Sighting> {
    let mut choice: Option<Choice<'a>> = None;
    let mut victims = Vec::new();
    for (at, line) in lines {
        if let Some(made) = parse_choice(line) {
            choice = Some(made);
        } else if let Some(kill) = parse_kill(line).filter(|kill| kill.uid == uid) {
            victims.push(Sighting {
                at,
                about: kill.about(choice.as_ref()),
                fact: kill.fact(choice.as_ref()),
            });
        }
    }
    victims
}

/// Whom the kernel chose, and why.
#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    pid: u32,
    /// The control group of the process.
    cgroup: Option<&'a str>,
    /// The control group whose limit was reached; `None` when the machine's was.
    limit: Option<&'a str>,
}

/// A process that was killed.
#[derive(Debug, PartialEq, Eq)]
struct Kill<'a> {
    pid: u32,
    uid: u32,
    comm: &'a str,
    rss_bytes: u64,
    /// Whether the limit of a control group was reached.
    in_cgroup: bool,
}

impl Kill<'_> {
    fn about(&self, choice: Option<&Choice<'_>>) -> About {
        let cgroup = choice.filter(|choice| choice.pid == self.pid).and_then(|choice| choice.cgroup);
        cgroup.map_or(About::Process(self.pid), |cgroup| About::Unit(cgroup.to_owned()))
    }

    fn fact(&self, choice: Option<&Choice<'_>>) -> Fact {
        let limit = choice.filter(|_| self.in_cgroup).and_then(|choice| choice.limit);
        Fact::OomVictim {
            victim: Victim::Child,
            comm: self.comm.to_owned(),
            pid: self.pid,
            rss_bytes: self.rss_bytes,
            limit: limit.map(str::to_owned),
        }
    }
}

/// `oom-kill:constraint=…,oom_memcg=/…,task_memcg=/…,task=NAME,pid=1,uid=1000`, with `global_oom` instead of
/// `oom_memcg=` where the machine's memory was used up. Read from its end, because a name can hold anything.
fn parse_choice(line: &str) -> Option<Choice<'_>> {
    let line = line.strip_prefix("oom-kill:")?;
    let (line, _uid) = line.rsplit_once(",uid=")?;
    let (line, pid) = line.rsplit_once(",pid=")?;
    let (line, _comm) = line.split_once(",task=")?;
    let (line, cgroup) = match line.rsplit_once(",task_memcg=") {
        Some((line, cgroup)) => (line, Some(cgroup)),
        None => (line, None),
    };
    let limit = line.rsplit_once(",oom_memcg=").map(|(_, limit)| limit);
    Some(Choice { pid: pid.parse().ok()?, cgroup, limit })
}

/// `Memory cgroup out of memory: Killed process 1 (NAME) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB,
/// UID:1000 pgtables:1kB oom_score_adj:0`.
fn parse_kill(line: &str) -> Option<Kill<'_>> {
    let (why, line) = line.split_once(": Killed process ")?;
    let (pid, line) = line.split_once(" (")?;
    let (comm, line) = line.rsplit_once(") total-vm:")?;
    let kinds = ["anon-rss:", "file-rss:", "shmem-rss:"];
    let kib: u64 = kinds.iter().filter_map(|kind| number_after::<u64>(line, kind)).sum();
    Some(Kill {
        pid: pid.parse().ok()?,
        uid: number_after(line, "UID:")?,
        comm,
        rss_bytes: kib.saturating_mul(1024),
        in_cgroup: why.starts_with("Memory cgroup"),
    })
}

fn number_after<N: std::str::FromStr>(line: &str, name: &str) -> Option<N> {
    let (_, rest) = line.split_once(name)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANE: &str = "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-27b3.scope";

    fn kill(why: &str, pid: u32, comm: &str, uid: u32) -> String {
        format!(
            "{why}: Killed process {pid} ({comm}) total-vm:2097152kB, anon-rss:1000kB, file-rss:20kB, shmem-rss:4kB, UID:{uid} pgtables:2084kB oom_score_adj:100"
        )
    }

    fn choice(limit: &str, comm: &str, pid: u32) -> String {
        format!(
            "oom-kill:constraint=CONSTRAINT_X,nodemask=(null),cpuset=user.slice,mems_allowed=0,{limit},task_memcg={PANE},task={comm},pid={pid},uid=1000"
        )
    }

    fn victim(about: About, comm: &str, pid: u32, limit: Option<&str>) -> (About, Fact) {
        let (victim, limit) = (Victim::Child, limit.map(str::to_owned));
        (about, Fact::OomVictim { victim, comm: comm.into(), pid, rss_bytes: 1024 * 1024, limit })
    }

    /// The lines are those of Linux 6.1 and 6.12, shortened; made by hand after mm/oom_kill.c where none were seen.
    #[test]
    fn kills_are_read_from_the_kernels_log() {
        let (cgroup, machine) = ("Memory cgroup out of memory", "Out of memory");
        let in_pane = format!("oom_memcg={PANE}");
        let pane = || About::Unit(PANE.into());
        let cases = [
            (
                vec![choice(&in_pane, "hog", 530), kill(cgroup, 530, "hog", 1000)],
                vec![victim(pane(), "hog", 530, Some(PANE))],
            ),
            (
                vec![choice("global_oom", "hog", 530), kill(machine, 530, "hog", 1000)],
                vec![victim(pane(), "hog", 530, None)],
            ),
            (
                vec![
                    choice(&in_pane, "a,pid=1) x", 530),
                    "tmux: server invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
                        .into(),
                    kill(cgroup, 530, "a,pid=1) x", 1000),
                ],
                vec![victim(pane(), "a,pid=1) x", 530, Some(PANE))],
            ),
            (
                vec![
                    choice(&in_pane, "hog", 530),
                    kill(cgroup, 530, "hog", 1000),
                    kill(cgroup, 531, "sh", 1000),
                ],
                vec![
                    victim(pane(), "hog", 530, Some(PANE)),
                    victim(About::Process(531), "sh", 531, Some(PANE)),
                ],
            ),
            (vec![kill(machine, 530, "hog", 1000)], vec![victim(About::Process(530), "hog", 530, None)]),
            (vec![kill(machine, 530, "hog", 1001)], vec![]),
            (
                vec!["oom_reaper: reaped process 530 (hog), now anon-rss:0kB".into(), "oom-kill:".into()],
                vec![],
            ),
            (vec![": Killed process x (y) total-vm:1kB, UID:1000".into()], vec![]),
        ];
        for (lines, expected) in cases {
            let lines = lines.iter().map(|line| (Timestamp::UNIX_EPOCH, line.as_str()));
            let told = victims(lines.clone(), 1000).into_iter().map(|one| (one.about, one.fact));
            assert_eq!(told.collect::<Vec<_>>(), expected, "{:?}", lines.collect::<Vec<_>>());
        }
    }
}
