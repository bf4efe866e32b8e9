//! Child processes of the tests: none outlives the test process, none is waited for without a deadline.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// Returns a command that the kernel kills when the test process ends, however it ends.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

type Job = (Command, SyncSender<io::Result<Child>>);

/// A thread that starts every child and never ends. "Parent death" is the death of the *thread* that forked
/// (prctl(2), `PR_SET_PDEATHSIG`): started from a test's own thread, a machine would die with that thread even if
/// it had been handed on to another one.
static SPAWNER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, inbox) = mpsc::channel::<Job>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            // The requester only goes away together with the whole process.
            let _ = reply.send(command.spawn());
        }
    });
    jobs
});

/// Starts a command.
pub fn spawn(command: Command) -> Result<Child> {
    let what = format!("start {command:?}");
    let (reply, answer) = mpsc::sync_channel(1);
    SPAWNER.send((command, reply)).context("the spawner thread is gone")?;
    answer.recv().context("the spawner thread is gone")?.context(what)
}

/// What a child has written so far, collected by a thread of its own so that the child never blocks on a full pipe.
#[derive(Debug)]
pub struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    /// Starts reading a pipe to its end.
    pub fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut block = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut block) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&block[..count]);
            }
        });
        Self { bytes, reader }
    }

    /// Returns the bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the text so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Returns whether the other end has been closed by everybody who held it.
    pub fn is_complete(&self) -> bool {
        self.reader.is_finished()
    }

    /// Waits until everything has been read, which is later than the end of the child, at most until `end`: a
    /// grandchild that lives on may hold the pipe open.
    pub fn wait_complete(&self, end: Instant) {
        while !self.is_complete() && Instant::now() < end {
            thread::sleep(POLL);
        }
    }
}

/// How a child ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, which need not be text.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command to its end; kills it at the deadline and fails with what it wrote until then.
pub fn run(mut command: Command, deadline: Duration) -> Result<Finished> {
    let end = Instant::now() + deadline;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let stdout = Capture::start(child.stdout.take().context("no stdout pipe")?);
    let stderr = Capture::start(child.stderr.take().context("no stderr pipe")?);
    let status = wait_until(&mut child, end)?;
    let Some(status) = status else {
        kill(&mut child);
        let (stdout, stderr) = (stdout.text(), stderr.text());
        bail!("no end within {deadline:?}; stdout so far:\n{stdout}\nstderr so far:\n{stderr}");
    };
    stdout.wait_complete(end);
    stderr.wait_complete(end);
    Ok(Finished { status, stdout: stdout.bytes(), stderr: stderr.text() })
}

/// Waits for a child until `end`. Returns `None` if it is still running then.
pub fn wait_until(child: &mut Child, end: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait().context("wait for a child")? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Kills a child and collects it. One that has already ended is fine.
pub fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
