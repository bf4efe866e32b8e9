//! Logging in to a machine. Each command of the user `agent` is a connection, and so a logind session, of its own,
//! because sessions are what is tested; root's commands share one connection, because they are only the tests' hands.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::process::{self, Capture, Finished};

/// Enough for anything but waiting: under emulation a login takes one to three seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the output of a session is looked at.
const POLL: Duration = Duration::from_millis(50);

/// An account of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The administrator.
    Root,
    /// Uid 1000, in no extra groups: the user whose tmux is kept.
    Agent,
}

impl User {
    /// Returns the login name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Agent => "agent",
        }
    }
}

/// How a machine is reached. Its port is another one after each start.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name of the machine, for messages.
    pub name: String,
    /// Forwarded port on the loopback address.
    pub port: u16,
    /// Folder with the key and the host key.
    pub image: PathBuf,
    /// Socket of root's shared connection.
    pub control: PathBuf,
}

impl Endpoint {
    /// Returns an ssh command line up to and including the destination.
    fn ssh(&self, user: User, options: &[&str]) -> Command {
        let mut command = process::command("ssh");
        command
            .args(["-F", "/dev/null", "-i"])
            .arg(self.image.join("id_ed25519"))
            .args(["-p", &self.port.to_string(), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=30", "-o", "HostKeyAlias=lab", "-o"])
            .arg(format!("UserKnownHostsFile={}", self.image.join("known_hosts").display()))
            .args(options)
            .arg("-o")
            .arg(match user {
                User::Root => format!("ControlPath={}", self.control.display()),
                User::Agent => "ControlPath=none".to_owned(),
            })
            .arg(format!("{}@127.0.0.1", user.name()))
            .env_remove("SSH_AUTH_SOCK")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null());
        command
    }

    /// Opens root's shared connection and returns the process that holds it.
    pub fn open_master(&self, end: Instant) -> Result<Child> {
        // A socket left by a master that was killed would be taken for the new one's.
        let _ = std::fs::remove_file(&self.control);
        let mut command = self.ssh(User::Root, &["-N", "-o", "ControlMaster=yes"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut master = process::spawn(command)?;
        let stderr = Capture::start(master.stderr.take().context("no stderr pipe")?);
        // ssh makes the socket once it is logged in.
        while !self.control.exists() {
            if let Some(status) = master.try_wait()? {
                stderr.wait_complete(end);
                bail!("{}: root cannot log in: {status}: {}", self.name, stderr.text().trim_end());
            }
            if Instant::now() >= end {
                process::kill(&mut master);
                bail!("{}: root's login takes too long: {}", self.name, stderr.text().trim_end());
            }
            thread::sleep(POLL);
        }
        Ok(master)
    }
}

/// What a script in the guest wrote and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; 255 also stands for a connection that failed or was cut.
    pub code: i32,
    /// Standard output; with a tty everything is here and line ends are plain `\n`.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Returns whether the script ended with status 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A script about to be run in the guest.
#[derive(Debug)]
#[must_use = "nothing runs before run(), ok() or open()"]
pub struct Remote<'a> {
    endpoint: &'a Endpoint,
    user: User,
    script: String,
    login: bool,
    tty: bool,
    input: Option<File>,
    deadline: Duration,
}

impl<'a> Remote<'a> {
    pub(super) fn new(endpoint: &'a Endpoint, user: User, script: &str) -> Self {
        let script = script.to_owned();
        Self { endpoint, user, script, login: false, tty: false, input: None, deadline: DEADLINE }
    }

    /// Runs it in a login shell, which reads `~/.profile`.
    pub fn login(mut self) -> Self {
        self.login = true;
        self
    }

    /// Gives it a terminal.
    pub fn tty(mut self) -> Self {
        self.tty = true;
        self
    }

    /// Gives it a file as standard input, which is empty otherwise.
    pub fn input(mut self, file: File) -> Self {
        self.input = Some(file);
        self
    }

    /// Gives it that long instead of a minute.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end. Fails only if the deadline passes; the error holds the output until then.
    pub fn run(self) -> Result<Output> {
        let tty = self.tty;
        let finished = self.finish()?;
        let stdout = String::from_utf8_lossy(&finished.stdout);
        Ok(Output {
            code: code(finished.status),
            stdout: if tty { stdout.replace("\r\n", "\n") } else { stdout.into_owned() },
            stderr: finished.stderr,
        })
    }

    /// Runs it to its end and returns its standard output without the last line end; fails unless it ends with
    /// status 0, with all it wrote in the error.
    pub fn ok(self) -> Result<String> {
        let what = self.what();
        let output = self.run()?;
        ensure!(output.success(), "{what}: {output}");
        Ok(output.stdout.trim_end_matches('\n').to_owned())
    }

    /// As [`Self::ok`], for output that is not text.
    pub fn ok_bytes(self) -> Result<Vec<u8>> {
        let what = self.what();
        let finished = self.finish()?;
        ensure!(finished.status.success(), "{what}: {}: {}", finished.status, finished.stderr);
        Ok(finished.stdout)
    }

    fn finish(mut self) -> Result<Finished> {
        let mut command = self.endpoint.ssh(self.user, if self.tty { &["-tt"] } else { &["-T"] });
        // sshd hands the text to the user's shell as it is: nothing needs quoting.
        command.arg(if self.login { in_login_shell(&self.script) } else { self.script.clone() });
        if let Some(file) = self.input.take() {
            command.stdin(file);
        }
        process::run(command, self.deadline).with_context(|| self.what())
    }

    /// Starts it on a terminal and leaves it running; an empty script is a login shell.
    pub fn open(self) -> Result<Session> {
        let mut command = self.endpoint.ssh(self.user, &["-tt"]);
        let body = match (self.script.as_str(), self.login) {
            ("", _) => "exec bash -l".to_owned(),
            (script, true) => in_login_shell(script),
            (script, false) => script.to_owned(),
        };
        command.arg(format!("echo lab-session=\"$XDG_SESSION_ID\";\n{body}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process::spawn(command)?;
        let stdin = child.stdin.take();
        let output = Capture::start(child.stdout.take().context("no stdout pipe")?);
        let mut session =
            Session { name: self.endpoint.name.clone(), id: String::new(), child, stdin, output, seen: 0 };
        session.expect("lab-session=", self.deadline).with_context(|| self.what())?;
        let rest = session.expect("\n", self.deadline).with_context(|| self.what())?;
        rest.trim().clone_into(&mut session.id);
        Ok(session)
    }

    fn what(&self) -> String {
        format!("{}: {} runs {:?}", self.endpoint.name, self.user.name(), self.script)
    }
}

/// A connection that broke down is what ssh itself reports by 255.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(255)
}

fn in_login_shell(script: &str) -> String {
    format!("exec bash -lc '{}'", script.replace('\'', r"'\''"))
}

/// Quotes a path for the guest's shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Somebody who is logged in on a terminal until logging out, being cut off, or dropped (which cuts off).
#[derive(Debug)]
pub struct Session {
    name: String,
    id: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Capture,
    /// How much of the output has been returned by [`Self::expect`].
    seen: usize,
}

impl Session {
    /// Returns logind's id of the session.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Types a line.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the session is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("{}: type {line:?}", self.name))
    }

    /// Waits until the screen has shown `text` since the last call, and returns all that it has shown up to there.
    ///
    /// What is typed is shown too: look for something that only the answer has.
    pub fn expect(&mut self, text: &str, deadline: Duration) -> Result<String> {
        let end = Instant::now() + deadline;
        loop {
            let complete = self.output.is_complete();
            let all = self.output.text();
            let new = all.get(self.seen..).unwrap_or_default();
            if let Some(at) = new.find(text) {
                let shown = new[..at + text.len()].to_owned();
                self.seen += shown.len();
                return Ok(shown);
            }
            ensure!(!complete, "{}: the session ended before it showed {text:?}: {new:?}", self.name);
            ensure!(
                Instant::now() < end,
                "{}: no {text:?} on screen within {deadline:?}: {new:?}",
                self.name
            );
            thread::sleep(POLL);
        }
    }

    /// Returns whether the connection still stands.
    pub fn is_open(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until the other side has ended the session, and returns all that the screen has shown.
    pub fn wait_closed(mut self, deadline: Duration) -> Result<String> {
        let end = Instant::now() + deadline;
        let status = process::wait_until(&mut self.child, end)?;
        ensure!(
            status.is_some(),
            "{}: the session does not end within {deadline:?}: {:?}",
            self.name,
            self.output.text()
        );
        self.output.wait_complete(end);
        Ok(self.output.text())
    }

    /// Types `exit` and waits until the connection has been closed.
    pub fn logout(mut self) -> Result<()> {
        self.send("exit")?;
        self.wait_closed(DEADLINE).map(drop)
    }

    /// Cuts the connection, like a laptop's lid or a lost network.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}
