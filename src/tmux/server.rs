//! Runs tmux commands against one socket.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::timeout;

use super::command::{Command, join};
use super::version::{OLDEST, Version};
use super::waiter::WAITER_COMMAND;

/// How long a server may take to answer. A server that expands 50,000 coloured lines is busy for 0.2 s
/// (measured); one that takes this long is stopped or hangs.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why tmux did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TmuxError {
    /// There is no tmux on this machine, or not where it was said to be.
    #[error(
        "tmux is not installed: no {program:?} in the search path; install it, for example: apt-get install tmux"
    )]
    Missing {
        /// The program that was looked for.
        program: PathBuf,
    },
    /// This tmux is older than what we work with.
    #[error(
        "{program:?} is tmux {found}, and agent-keeper needs {OLDEST} or newer; install a newer one and set tmux.program in config.toml"
    )]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        found: String,
    },
    /// No server listens on the socket.
    #[error("no tmux server runs on {}", socket.display())]
    NoServer {
        /// The socket.
        socket: PathBuf,
    },
    /// The server did not answer in time.
    #[error("the tmux server on {} did not answer within {} s", socket.display(), ANSWER_MAX.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// tmux refused a command.
    #[error("tmux {command}: {message}")]
    Refused {
        /// The first command's name.
        command: String,
        /// What tmux said.
        message: String,
    },
    /// The process could not be run.
    #[error("cannot run {program:?}")]
    Run {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A tmux program, the socket it is to use and the environment it runs in.
///
/// The environment matters: tmux gives a new pane the `PATH` of the client that asked for it
/// (`spawn_pane`, spawn.c), so it has to be the user's and not a service's.
#[derive(Debug, Clone)]
pub struct Tmux {
    program: PathBuf,
    socket: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Tmux {
    /// Returns a client for a socket.
    pub fn new(program: PathBuf, socket: PathBuf, environment: Vec<(OsString, OsString)>) -> Self {
        Self { program, socket, environment }
    }

    /// Returns the tmux program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the environment that clients, and with them new panes, get.
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Asks the program for its version and refuses one that is too old. A version that is no number
    /// (OpenBSD's own, a build from git) counts as new.
    pub async fn check_version(&self) -> Result<String, TmuxError> {
        let output = self.output(&[OsString::from("-V")], None).await?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match Version::parse(&text) {
            Some(version) if version < OLDEST => {
                Err(TmuxError::TooOld { program: self.program.clone(), found: version.to_string() })
            }
            _ => Ok(text.strip_prefix("tmux ").unwrap_or(&text).to_owned()),
        }
    }

    /// Runs commands in one client and returns what they printed. Nothing is started: without a server
    /// this is `NoServer`.
    pub async fn run(&self, commands: &[Command]) -> Result<Vec<u8>, TmuxError> {
        self.run_in(commands, None).await
    }

    /// Like [`Tmux::run`], from a directory. tmux takes the client's directory, byte for byte, as that of
    /// a new session, window or pane, whereas `-c` would be expanded as a format.
    pub async fn run_in(&self, commands: &[Command], directory: Option<&Path>) -> Result<Vec<u8>, TmuxError> {
        let output = self.output(&self.arguments(commands), directory).await?;
        if output.status_ok {
            return Ok(output.stdout);
        }
        Err(self.failure(commands, &output.stderr))
    }

    /// Like [`Tmux::run`], but what was printed before a command failed counts as the answer.
    pub async fn run_partly(&self, commands: &[Command]) -> Result<Vec<u8>, TmuxError> {
        self.run_partly_in(commands, None).await
    }

    /// Like [`Tmux::run_partly`], from a directory.
    pub async fn run_partly_in(
        &self,
        commands: &[Command],
        directory: Option<&Path>,
    ) -> Result<Vec<u8>, TmuxError> {
        let output = self.output(&self.arguments(commands), directory).await?;
        if output.status_ok || !output.stdout.is_empty() {
            return Ok(output.stdout);
        }
        Err(self.failure(commands, &output.stderr))
    }

    /// Like [`Tmux::run`], with something for the client's standard input.
    pub async fn run_with_input(&self, commands: &[Command], input: &[u8]) -> Result<Vec<u8>, TmuxError> {
        let mut process = self.process(&self.arguments(commands), None);
        process.stdin(Stdio::piped());
        let output = self.finish(process, input).await?;
        if output.status_ok {
            return Ok(output.stdout);
        }
        Err(self.failure(commands, &output.stderr))
    }

    fn arguments(&self, commands: &[Command]) -> Vec<OsString> {
        // -u: names are UTF-8 whatever the locale says, or tmux would print underscores for them.
        let mut arguments = vec![OsString::from("-u"), OsString::from("-S"), self.socket.clone().into()];
        arguments.extend(join(commands));
        arguments
    }

    /// tmux has one exit status for everything; that there is no server it says in these words since 1.8
    /// (`client_main`, client.c), in front of a message of the C library in the user's language.
    fn failure(&self, commands: &[Command], stderr: &[u8]) -> TmuxError {
        let message = String::from_utf8_lossy(stderr).trim().to_owned();
        if message.starts_with("no server running on ") || message.starts_with("error connecting to ") {
            return TmuxError::NoServer { socket: self.socket.clone() };
        }
        let command = commands.first().map_or("", Command::name).to_owned();
        TmuxError::Refused { command, message }
    }

    /// Starts a client that ends when the server does, without being seen in any session: it waits on
    /// a channel. Its exit status tells how the server ended: success for an orderly end (and for a
    /// signal on the channel), failure for a crash or a kill (measured on 3.2a to 3.8).
    ///
    /// `program` is `agent-keeper`, which sees to it that the client ends with us.
    pub fn wait_for(&self, channel: &str, program: &Path) -> Result<Child, TmuxError> {
        let wait = self.arguments(&[Command::new("wait-for").arg(channel)]);
        let us = std::process::id().to_string();
        let helper = [WAITER_COMMAND.into(), us.into(), self.program.clone().into()];
        self.run_by(program, &[&helper[..], &wait].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| self.run_error(source))
    }

    fn process(&self, arguments: &[OsString], directory: Option<&Path>) -> tokio::process::Command {
        let mut process = self.run_by(&self.program, arguments);
        if let Some(directory) = directory {
            process.current_dir(directory);
        }
        process
    }

    fn run_by(&self, program: &Path, arguments: &[OsString]) -> tokio::process::Command {
        let mut process = tokio::process::Command::new(program);
        process
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        process
    }

    fn run_error(&self, source: io::Error) -> TmuxError {
        let program = self.program.clone();
        match source.kind() {
            io::ErrorKind::NotFound => TmuxError::Missing { program },
            _ => TmuxError::Run { program, source },
        }
    }

    async fn output(&self, arguments: &[OsString], directory: Option<&Path>) -> Result<Output, TmuxError> {
        self.finish(self.process(arguments, directory), &[]).await
    }

    /// Runs a client to its end.
    async fn finish(&self, mut process: tokio::process::Command, input: &[u8]) -> Result<Output, TmuxError> {
        let mut child = process
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.run_error(source))?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A client that does not want it says why in its own words.
                let _ = stdin.write_all(input).await;
            }
        };
        let both = async { tokio::join!(collect(&mut child), feed).0 };
        match timeout(ANSWER_MAX, both).await {
            Ok(output) => output.map_err(|source| self.run_error(source)),
            Err(_) => Err(TmuxError::Silent { socket: self.socket.clone() }),
        }
    }
}

struct Output {
    status_ok: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn collect(child: &mut Child) -> io::Result<Output> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let out = child.stdout.take();
    let err = child.stderr.take();
    let read_out = read_bounded(out, &mut stdout);
    let read_err = read_bounded(err, &mut stderr);
    let (out, err) = tokio::join!(read_out, read_err);
    out?;
    err?;
    let status_ok = child.wait().await?.success();
    Ok(Output { status_ok, stdout, stderr })
}

async fn read_bounded(pipe: Option<impl tokio::io::AsyncRead + Unpin>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let limit = ANSWER_BYTES_MAX as u64;
    let read = pipe.take(limit + 1).read_to_end(into).await?;
    if read > ANSWER_BYTES_MAX {
        return Err(io::Error::other("tmux printed more than we read"));
    }
    Ok(())
}
