//! Asks the journal, after a death or at the start: what it has of a time, and how a boot ended.
//!
//! | what | where |
//! |---|---|
//! | which parts of it may be read | [`access`] |
//! | entries as journalctl prints them | [`entry`] |
//! | what the user's own manager said of deaths | [`messages`] |
//! | what the kernel said of processes that it killed | [`kernel`] |
//! | how a boot ended | [`boot`] |

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::unit_name::END_TARGETS;
use crate::cause::in_words;
use crate::model::BootId;
use crate::model::evidence::{About, Fact, Gap, ShutdownWitness, Sighting};

pub mod access;
pub mod boot;
pub mod entry;
pub mod kernel;
pub mod messages;

use access::Access;
use boot::{BootEnd, JOURNAL_STOP, SYSTEM_END_TARGETS, USER_STARTUP_FINISHED, boot_end, mark};
use entry::{Entry, parse_entry};
use messages::{COREDUMP, KNOWN, UNIT_STARTED, sighting};

/// How long journalctl may take. It takes milliseconds, and seconds from a slow disk with many files.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// How much of an answer is read, in bytes: [`KERNEL_ENTRIES_MAX`] entries have about 1 MB.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How much of what it says on standard error is read, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// How many entries of the user's own manager are read, the newest of the time.
const OWN_ENTRIES_MAX: usize = 500;

/// How many lines of the kernel are read, the newest of the time. One kill writes a line for each process there is,
/// before those that we read.
const KERNEL_ENTRIES_MAX: usize = 4000;

/// The fields that are read. The journal's own time and the boot come with every entry.
const FIELDS: &str =
    "MESSAGE,MESSAGE_ID,UNIT,USER_UNIT,UNIT_RESULT,COREDUMP_PID,COREDUMP_SIGNAL,COREDUMP_EXE,COREDUMP_COMM";

/// The journal as one user may read it.
#[derive(Debug, Clone)]
pub struct Journal {
    /// journalctl, and what stands before its other arguments.
    program: Vec<OsString>,
    root: PathBuf,
    uid: u32,
    user: String,
}

/// What the journal has of a time.
#[derive(Debug, Default)]
pub struct Findings {
    /// What it says, the oldest first.
    pub sightings: Vec<Sighting>,
    /// What it cannot say.
    pub gaps: Vec<Gap>,
}

/// Why journalctl did not answer.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("journalctl cannot be run")]
    NotRun(#[source] io::Error),
    #[error("journalctl did not answer within {} s", ANSWER_MAX.as_secs())]
    Slow,
    #[error("journalctl ended with {status}: {complaint}")]
    Failed { status: ExitStatus, complaint: String },
}

impl Journal {
    /// Returns the journal of this machine, for a user.
    pub fn new(uid: u32, user: &str) -> Self {
        Self { program: vec!["journalctl".into()], root: "/".into(), uid, user: user.to_owned() }
    }

    /// Returns what was written of deaths between two times: by the user's manager, and by the kernel of processes of
    /// the user, as far as those may be read.
    pub async fn deaths(&self, since: Timestamp, until: Timestamp) -> Findings {
        let mut findings = Findings::default();
        if let Err(gap) = self.readable(access::own(&self.root, self.uid), "the journal") {
            findings.gaps.push(gap);
            return findings;
        }
        // Whole seconds: a little more is read, and nothing is missed.
        let time = [format!("--since=@{}", since.as_second()), format!("--until=@{}", until.as_second() + 1)];
        match self.read(OWN_ENTRIES_MAX, time.iter().cloned().chain(self.own_matches())).await {
            Ok(entries) => findings.sightings.extend(entries.iter().rev().filter_map(sighting)),
            Err(silence) => findings.gaps.push(self.gap("the journal", in_words(silence), false)),
        }
        match self.kernel_kills(time).await {
            Ok(kills) => findings.sightings.extend(kills),
            Err(gap) => findings.gaps.push(gap),
        }
        findings.sightings.sort_by_key(|sighting| sighting.at);
        findings
    }

    /// Says how an earlier boot ended, in which something was alive at a time.
    pub async fn end_of(&self, boot: &BootId, alive: Timestamp) -> Result<Sighting, Gap> {
        const WHAT: &str = "the journal of the boot before";
        self.readable(access::own(&self.root, self.uid), WHAT)?;
        // journald writes the id without its dashes.
        let of_boot = format!("_BOOT_ID={}", boot.0.replace('-', ""));
        let all = self.read(1, [of_boot.clone()]);
        let marks = self.read(1, self.mark_matches(&of_boot));
        let (all, marks) =
            tokio::try_join!(all, marks).map_err(|why| self.gap(WHAT, in_words(why), false))?;
        let Some(last) = all.first() else {
            if self.has_lost_since(alive).await {
                let fact = Fact::NoShutdown { witness: ShutdownWitness::LostJournal };
                return Ok(Sighting { at: alive, about: About::Machine, fact });
            }
            return Err(self.gap(WHAT, "it has no entry of that boot".to_owned(), false));
        };
        let newest = marks.first().and_then(|entry| Some((entry.at, mark(entry)?)));
        let with_system = access::system(&self.root) == Access::Open;
        let witness = ShutdownWitness::Journal;
        let (at, fact) = match boot_end(newest, last.at, with_system) {
            BootEnd::Orderly(at) => (at, Fact::Shutdown { witness }),
            BootEnd::Cut => (last.at, Fact::NoShutdown { witness }),
            BootEnd::Unknown => {
                let why = "the user's own part ends before the boot did, and the system's is not readable";
                return Err(self.gap(WHAT, why.to_owned(), true));
            }
        };
        Ok(Sighting { at, about: About::Machine, fact })
    }

    /// Returns whether what it should have of a time is not there, though it has older entries: those are the first to
    /// be removed where space is short.
    async fn has_lost_since(&self, time: Timestamp) -> bool {
        let older = [format!("--until=@{}", time.as_second())];
        access::is_on_disk(&self.root) && self.read(1, older).await.is_ok_and(|found| !found.is_empty())
    }

    async fn kernel_kills(&self, time: [String; 2]) -> Result<Vec<Sighting>, Gap> {
        const WHAT: &str = "the kernel's log";
        self.readable(access::system(&self.root), WHAT)?;
        let matches = time.into_iter().chain(["_TRANSPORT=kernel".to_owned()]);
        let entries = self.read(KERNEL_ENTRIES_MAX, matches).await;
        let entries = entries.map_err(|silence| self.gap(WHAT, in_words(silence), false))?;
        let lines: Vec<(Timestamp, String)> =
            entries.iter().rev().filter_map(|entry| Some((entry.at, entry.text("MESSAGE")?))).collect();
        Ok(kernel::victims(lines.iter().map(|(at, line)| (*at, line.as_str())), self.uid))
    }

    fn readable(&self, access: Access, what: &str) -> Result<(), Gap> {
        match access {
            Access::Open => Ok(()),
            Access::Denied => Err(self.gap(what, format!("not readable by {}", self.user), true)),
            Access::Absent => Err(self.gap(what, "this machine keeps none".to_owned(), false)),
        }
    }

    /// `group`: whether it would help to be in the group that may read everything (systemd-journald.service(8)).
    fn gap(&self, what: &str, why: String, group: bool) -> Gap {
        let remedy =
            if group { format!("sudo usermod -aG systemd-journal {}", self.user) } else { String::new() };
        Gap { what: what.to_owned(), why, remedy }
    }

    /// Matches of different fields must all hold, of the values of one field any; `+` begins another set
    /// (journalctl(1)).
    fn own_matches(&self) -> Vec<String> {
        let mut matches = vec![format!("_UID={}", self.uid)];
        matches.extend(KNOWN.iter().map(|id| format!("MESSAGE_ID={id}")));
        // Written by systemd-coredump as the user it is about, or as root.
        let core_dumps =
            ["+".to_owned(), format!("MESSAGE_ID={COREDUMP}"), format!("COREDUMP_UID={}", self.uid)];
        matches.extend(core_dumps);
        matches
    }

    /// Returns matches for what [`mark`] knows.
    fn mark_matches(&self, of_boot: &str) -> Vec<String> {
        let uid = format!("_UID={}", self.uid);
        let started = format!("MESSAGE_ID={UNIT_STARTED}");
        let targets = |field: &str, targets: [&str; 2]| targets.map(|target| format!("{field}={target}"));
        let sets = [
            vec![format!("MESSAGE_ID={JOURNAL_STOP}")],
            [vec![started.clone()], targets("UNIT", SYSTEM_END_TARGETS).into()].concat(),
            [vec![started, uid.clone()], targets("USER_UNIT", END_TARGETS).into()].concat(),
            vec![format!("MESSAGE_ID={USER_STARTUP_FINISHED}"), uid],
        ];
        let sets = sets.map(|set| [vec![of_boot.to_owned()], set].concat());
        sets.join(&"+".to_owned())
    }

    /// Returns the newest entries that match, the newest first.
    async fn read(
        &self,
        entries_max: usize,
        matches: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Entry>, Silence> {
        let (program, first) =
            self.program.split_first().ok_or(Silence::NotRun(io::ErrorKind::NotFound.into()))?;
        let mut command = Command::new(program);
        command.args(first).args(["--quiet", "--no-pager", "--output=json", "--reverse"]);
        command.arg(format!("--lines={entries_max}")).arg(format!("--output-fields={FIELDS}")).args(matches);
        let answer = timeout(ANSWER_MAX, run(command)).await.map_err(|_| Silence::Slow)??;
        let lines = answer.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(parse_entry).take(entries_max).collect())
    }
}

/// Runs a command and returns what it prints, up to a bound. Dropping the future ends the command.
async fn run(mut command: Command) -> Result<Vec<u8>, Silence> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(Silence::NotRun)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (answer, complaint) =
        tokio::join!(read_some(stdout, ANSWER_BYTES_MAX), read_some(stderr, COMPLAINT_BYTES_MAX));
    let (answer, complaint) = (answer.map_err(Silence::NotRun)?, complaint.map_err(Silence::NotRun)?);
    let status = child.wait().await.map_err(Silence::NotRun)?;
    // What it could read counts, whatever it says of other files.
    if !status.success() && answer.is_empty() {
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        return Err(Silence::Failed { status, complaint });
    }
    Ok(answer)
}

/// Reads up to a bound, and then closes the pipe: whoever writes on gets SIGPIPE and ends.
async fn read_some(pipe: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(bytes_max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
