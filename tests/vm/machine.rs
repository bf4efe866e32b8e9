//! Virtual machines with a real Debian: real systemd, logind, kernel, reboots and power cuts.
//!
//! A [`Machine`] starts in seconds from a snapshot of a booted system and takes a real boot, slow under emulation,
//! only when it is rebooted. Emulated time: timers of seconds are true, anything below is not.

mod lab;
mod process;
mod ssh;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

pub use lab::{Lab, Suite};
use ssh::Endpoint;
pub use ssh::{Output, Remote, Session, User};

/// A real boot takes 10 to 20 s on an idle host, twenty times that on one which was seen overloaded.
const BOOT_DEADLINE: Duration = Duration::from_secs(400);
/// Debian's own limit for one stubborn unit is 90 s, and user@.service has 120 s.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(240);
/// For sshd's first words on a busy host. Long waits are rare: a guest with its network up refuses a port without
/// sshd at once.
const BANNER_DEADLINE: Duration = Duration::from_secs(30);
/// For QEMU itself, before the guest runs.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often things outside the guest are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often [`Machine::wait_for`] asks; each question may be a login, which costs the guest a second of work.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// What a report may cost per piece when the guest hardly answers.
const REPORT_DEADLINE: Duration = Duration::from_secs(45);
/// Lines of console that fit into an error.
const CONSOLE_TAIL: usize = 15;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// From the snapshot of a booted system.
    Snapshot,
    /// A boot from the disk as it is.
    Boot,
}

/// A virtual machine. Dropping it kills it and removes its disk; while panicking it leaves a report behind first.
#[derive(Debug)]
pub struct Machine {
    endpoint: Endpoint,
    work: TempDir,
    qemu: Option<Child>,
    /// Holds root's shared connection open.
    master: Option<Child>,
    reported: bool,
}

impl Machine {
    /// Starts a fresh machine from a release's snapshot; `name` is the scenario's.
    pub fn boot(lab: &Lab, suite: Suite, name: &str) -> Result<Self> {
        let work =
            tempfile::Builder::new().prefix("agent-keeper-vm-").tempdir().context("make a work folder")?;
        let image = lab.image(suite)?.to_owned();
        fs::copy(image.join("booted.qcow2"), work.path().join("disk.qcow2"))
            .with_context(|| format!("copy the image in {}", image.display()))?;
        let control = work.path().join("control");
        let endpoint = Endpoint { name: format!("{suite}-{name}"), port: 0, image, control };
        let mut machine = Self { endpoint, work, qemu: None, master: None, reported: false };
        let started = machine.start(Start::Snapshot).and_then(|()| machine.set_clock());
        started.inspect_err(|_| drop(machine.fail_report())).map(|()| machine)
    }

    /// Boots a machine, runs a scenario on it, and keeps a report if the scenario fails.
    pub fn run(
        lab: &Lab,
        suite: Suite,
        name: &str,
        scenario: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut machine = Self::boot(lab, suite, name)?;
        scenario(&mut machine).map_err(|error| {
            let kept = machine.fail_report();
            error.context(format!("{}: scenario failed, logs are in {}", machine.name(), kept.display()))
        })
    }

    /// Returns the machine's name, release included.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// Prepares a script; [`Remote`] has the choices.
    pub fn command(&self, user: User, script: &str) -> Remote<'_> {
        Remote::new(&self.endpoint, user, script)
    }

    /// Runs a script, for `agent` in a session of its own. Any exit status is fine.
    pub fn ssh(&self, user: User, script: &str) -> Result<Output> {
        self.command(user, script).run()
    }

    /// Runs a script that has to succeed and returns what it printed, without the last line end.
    pub fn ssh_ok(&self, user: User, script: &str) -> Result<String> {
        self.command(user, script).ok()
    }

    /// Logs in on a terminal and stays.
    pub fn session(&self, user: User) -> Result<Session> {
        self.command(user, "").open()
    }

    /// Copies a local file into the guest, all or nothing, making folders as needed.
    pub fn push(&self, user: User, local: &Path, remote: &Path, mode: u32) -> Result<()> {
        let file = File::open(local).with_context(|| format!("open {}", local.display()))?;
        let path = ssh::quoted(remote);
        let script = format!(
            "set -e; p={path}; mkdir -p \"$(dirname \"$p\")\"; cat >\"$p.new\"; chmod {mode:o} \"$p.new\"; mv \"$p.new\" \"$p\""
        );
        self.command(user, &script).input(file).deadline(BOOT_DEADLINE).ok().map(drop)
    }

    /// Copies a file of the guest to a local path.
    pub fn pull(&self, user: User, remote: &Path, local: &Path) -> Result<()> {
        let script = format!("cat {}", ssh::quoted(remote));
        let bytes = self.command(user, &script).deadline(BOOT_DEADLINE).ok_bytes()?;
        fs::write(local, bytes).with_context(|| format!("write {}", local.display()))
    }

    /// Asks `probe` until it succeeds and returns its value. At the deadline the error names `what` (to be read after
    /// "no") and the last error of the probe, which should therefore say what was seen instead.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut probe: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let end = Instant::now() + deadline;
        loop {
            match probe() {
                Ok(value) => return Ok(value),
                Err(last) if Instant::now() >= end => {
                    return Err(
                        last.context(format!("{}: no {what} within {deadline:?}; last seen", self.name()))
                    );
                }
                Err(_) => thread::sleep(PROBE_INTERVAL),
            }
        }
    }

    /// Waits inside the guest, as root and over one connection, until a shell condition holds.
    pub fn wait_until(&self, what: &str, deadline: Duration, condition: &str) -> Result<()> {
        let script = format!("until {condition}\ndo sleep 0.5; done");
        self.command(User::Root, &script)
            .deadline(deadline)
            .ok()
            .map(drop)
            .with_context(|| format!("{}: no {what} within {deadline:?}", self.name()))
    }

    /// Waits until every job of the boot is done.
    pub fn settle(&self) -> Result<()> {
        // "degraded" is settled too: it is for the scenario to say whether a failed unit matters.
        self.command(User::Root, "systemctl is-system-running --wait || true")
            .deadline(BOOT_DEADLINE)
            .ok()
            .map(drop)
    }

    /// Reboots cleanly, and returns once root can log in again and users may.
    pub fn reboot(&mut self) -> Result<()> {
        self.stop("systemctl reboot")?;
        self.power_on()
    }

    /// Takes the power away and gives it back: what the guest has not flushed is lost.
    pub fn power_cut(&mut self) -> Result<()> {
        self.kill();
        self.power_on()
    }

    /// Shuts down cleanly and stays off until [`Self::power_on`].
    pub fn shutdown(&mut self) -> Result<()> {
        self.stop("systemctl poweroff")
    }

    /// Boots a machine that is off.
    pub fn power_on(&mut self) -> Result<()> {
        self.start(Start::Boot)
    }

    /// Keeps the console and, as far as the guest answers, the journals of this boot and the one before. Returns
    /// the folder, whose path is printed too.
    pub fn fail_report(&mut self) -> PathBuf {
        self.reported = true;
        let folder = logs().join(self.name());
        if let Err(error) = self.report_into(&folder) {
            say(&format!("{}: incomplete report: {error:#}", self.name()));
        }
        say(&format!("{}: logs are in {}", self.name(), folder.display()));
        folder
    }
}

impl Machine {
    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn start(&mut self, start: Start) -> Result<()> {
        ensure!(self.qemu.is_none(), "{}: is already on", self.name());
        let end = Instant::now() + BOOT_DEADLINE;
        let mut command = process::command(&lab::script("qemu.sh"));
        // writeback: flushes of the guest are honoured, and without one nothing is promised.
        command.arg("--machine").arg(&self.endpoint.image).arg(self.path("disk.qcow2")).arg("writeback");
        command
            .args(["-serial", "chardev:console", "-chardev"])
            .arg(format!("file,id=console,append=on,path={}", self.path("console.log").display()))
            .arg("-monitor")
            .arg(format!("unix:{},server=on,wait=off", self.path("monitor").display()));
        if start == Start::Snapshot {
            command.args(["-loadvm", "booted"]);
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("qemu.log"))
            .context("open qemu.log")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.qemu = Some(process::spawn(command)?);
        self.endpoint.port = self.forwarded_port()?;
        self.wait_for_sshd(end)?;
        self.master = Some(self.endpoint.open_master(end)?);
        if start == Start::Boot {
            // sshd answers before users other than root may log in (pam_nologin).
            self.wait_until(
                "login for users",
                BOOT_DEADLINE,
                "systemctl -q is-active systemd-user-sessions.service",
            )?;
        }
        Ok(())
    }

    /// Asks QEMU which port it forwards to the guest's sshd. It chose a free one itself, so there is no race.
    fn forwarded_port(&mut self) -> Result<u16> {
        let end = Instant::now() + START_DEADLINE;
        loop {
            let answer = ask_monitor(&self.path("monitor"), "info usernet");
            match answer.as_deref().map(port_in) {
                Ok(Some(port)) => return Ok(port),
                Err(error) if Instant::now() >= end => bail!("{}: QEMU's monitor: {error:#}", self.name()),
                Ok(None) if Instant::now() >= end => bail!("{}: no forwarded port: {answer:?}", self.name()),
                _ => self.check_alive()?,
            }
            thread::sleep(POLL);
        }
    }

    fn wait_for_sshd(&mut self, end: Instant) -> Result<()> {
        while let Err(error) = read_banner(self.endpoint.port) {
            self.check_alive()?;
            ensure!(
                Instant::now() < end,
                "{}: sshd does not answer: {error:#}\n{}",
                self.name(),
                self.console_tail()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        let status = match self.qemu.as_mut() {
            Some(qemu) => qemu.try_wait()?,
            None => bail!("{}: is off", self.name()),
        };
        let Some(status) = status else { return Ok(()) };
        let log = fs::read_to_string(self.path("qemu.log")).unwrap_or_default();
        bail!("{}: QEMU ended: {status}\n{log}{}", self.name(), self.console_tail())
    }

    /// The guest's clock stands where the snapshot was taken, perhaps weeks ago.
    fn set_clock(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this host's clock is before 1970")?;
        self.ssh_ok(User::Root, &format!("date -s @{}.{:09} >/dev/null", now.as_secs(), now.subsec_nanos()))
            .map(drop)
    }

    /// Has the guest end itself; QEMU ends with it, at a reboot too (-no-reboot).
    fn stop(&mut self, how: &str) -> Result<()> {
        // One that has crashed on its own must not pass for one that went down as told.
        self.check_alive()?;
        let end = Instant::now() + SHUTDOWN_DEADLINE;
        // The connection may be cut before the command reports its success.
        let said = self.command(User::Root, how).deadline(SHUTDOWN_DEADLINE).run()?;
        let qemu = self.qemu.as_mut().context("the machine is off")?;
        if process::wait_until(qemu, end)?.is_none() {
            bail!("{}: does not end after {how}, which said {said}\n{}", self.name(), self.console_tail());
        }
        self.kill();
        Ok(())
    }

    fn kill(&mut self) {
        for mut child in [self.qemu.take(), self.master.take()].into_iter().flatten() {
            process::kill(&mut child);
        }
    }

    fn console_tail(&self) -> String {
        let console = fs::read(self.path("console.log")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        format!("console:\n{}", lines[lines.len().saturating_sub(CONSOLE_TAIL)..].join("\n"))
    }

    fn report_into(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        for name in ["console.log", "qemu.log"] {
            fs::copy(self.path(name), folder.join(name)).with_context(|| format!("keep {name}"))?;
        }
        for (boot, name) in [("0", "journal.txt"), ("-1", "journal-of-boot-before.txt")] {
            let script = format!("journalctl --no-pager -o short-precise -b {boot}");
            let text = match self.command(User::Root, &script).deadline(REPORT_DEADLINE).run() {
                Ok(output) if output.success() => output.stdout,
                Ok(output) => output.to_string(),
                Err(error) => format!("{error:#}"),
            };
            fs::write(folder.join(name), text).with_context(|| format!("keep {name}"))?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && !self.reported {
            self.fail_report();
        }
        self.kill();
    }
}

/// Writes to the terminal, past the test harness, which would hide it until the end or for good.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Where reports are kept.
/// Where reports are kept.
pub(crate) fn logs() -> PathBuf {
    std::env::var_os("AGENT_KEEPER_TEST_LOGS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm-logs"), PathBuf::from)
}

/// Sends a command to QEMU's monitor and returns its answer.
fn ask_monitor(socket: &Path, command: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).context("connect")?;
    stream.set_read_timeout(Some(START_DEADLINE))?;
    writeln!(stream, "{command}")?;
    let mut answer = Vec::new();
    let mut block = [0; 1024];
    // A prompt greets us and another one follows the answer.
    while String::from_utf8_lossy(&answer).matches("(qemu) ").nth(1).is_none() {
        let count = stream.read(&mut block).context("read")?;
        ensure!(count > 0, "closed");
        answer.extend_from_slice(&block[..count]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Finds the port in `TCP[HOST_FORWARD]  9  127.0.0.1 43707  10.0.2.15  22  0  0`.
fn port_in(usernet: &str) -> Option<u16> {
    let line = usernet.lines().find(|line| line.contains("TCP[HOST_FORWARD]"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Succeeds once an sshd answers. The connection itself proves nothing: QEMU accepts it long before the guest can.
fn read_banner(port: u16) -> Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(BANNER_DEADLINE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    ensure!(line.starts_with("SSH-"), "no ssh: {line:?}");
    Ok(())
}
