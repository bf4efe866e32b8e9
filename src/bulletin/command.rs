//! The user's own command (`notify.command`), run for each death that nobody wanted.
//!
//! It runs in a process group of its own, with the facts in `AGENT_KEEPER_*` variables and all of them as JSON on its
//! standard input. What it prints goes into our log. Nobody waits for it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::environment::Login;
use crate::model::incident::Incident;

use super::Bulletin;

/// How many deaths may wait.
const QUEUE_MAX: usize = 256;

/// How many commands run at once.
const RUNNING_MAX: usize = 4;

/// How long a command may take.
const RUN_MAX: Duration = Duration::from_secs(30);

/// How long one that is told to end may take.
const END_MAX: Duration = Duration::from_secs(3);

/// How long its output is read once it has ended: what it has started may hold the pipe open.
const REST_MAX: Duration = Duration::from_millis(500);

/// How much of what a command prints gets into the log, of each of its two outputs, in bytes.
const OUTPUT_BYTES_MAX: u64 = 8 * 1024;

/// Starts to run a command for what is sent.
pub(super) fn start(words: Vec<String>, login: Login) -> Sender<Arc<Bulletin>> {
    let (into, inbox) = channel(QUEUE_MAX);
    tokio::spawn(run_each(inbox, Arc::new(Order { words, login })));
    into
}

/// What is run, and in which environment.
#[derive(Debug)]
struct Order {
    words: Vec<String>,
    login: Login,
}

async fn run_each(mut inbox: Receiver<Arc<Bulletin>>, order: Arc<Order>) {
    let free = Arc::new(Semaphore::new(RUNNING_MAX));
    while let Some(bulletin) = inbox.recv().await {
        let Ok(place) = free.clone().acquire_owned().await else { return };
        let order = order.clone();
        tokio::spawn(async move {
            order.run(&bulletin).await;
            drop(place);
        });
    }
}

impl Order {
    async fn run(&self, bulletin: &Bulletin) {
        let number = bulletin.incident.number;
        match self.start(bulletin) {
            Err(error) => warn!(number, %error, "notify.command cannot be run: {}", self.words[0]),
            Ok(child) => match finish(child, document(bulletin), RUN_MAX).await {
                Ok(status) if status.success() => debug!(number, "notify.command is done"),
                Ok(status) => warn!(number, "notify.command failed: {status}"),
                Err(error) => warn!(number, %error, "notify.command was given up"),
            },
        }
    }

    fn start(&self, bulletin: &Bulletin) -> io::Result<Child> {
        let program = self.login.find_program(Path::new(&self.words[0]));
        Command::new(program)
            .args(&self.words[1..])
            .env_clear()
            .envs(self.login.pairs())
            .envs(variables(bulletin))
            .current_dir(
                self.login.get("HOME").map(Path::new).filter(|home| home.is_dir()).unwrap_or(Path::new("/")),
            )
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Returns the facts as variables.
fn variables(bulletin: &Bulletin) -> Vec<(&'static str, OsString)> {
    let Incident { number, at, subject, last_seen_in, .. } = &bulletin.incident;
    let snapshot = last_seen_in.map(|generation| generation.to_string()).unwrap_or_default();
    let facts = [
        ("AGENT_KEEPER_NUMBER", number.to_string()),
        ("AGENT_KEEPER_AT", at.to_string()),
        ("AGENT_KEEPER_SUBJECT", bulletin.subject()),
        ("AGENT_KEEPER_PLACE", bulletin.place().to_owned()),
        ("AGENT_KEEPER_CAUSE", bulletin.cause().to_owned()),
        ("AGENT_KEEPER_CONFIDENCE", bulletin.confidence()),
        ("AGENT_KEEPER_SENTENCE", bulletin.sentence.clone()),
        ("AGENT_KEEPER_DEED", bulletin.deed()),
        ("AGENT_KEEPER_SERVER_PID", subject.server.pid.to_string()),
        ("AGENT_KEEPER_SNAPSHOT", snapshot),
    ];
    // No variable can hold a NUL.
    facts.map(|(name, value)| (name, value.replace('\0', "").into())).into()
}

/// Returns all facts as JSON, as `keeperctl why --json` has them.
fn document(bulletin: &Bulletin) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        sentence: &'a str,
        incident: &'a Incident,
    }
    let Bulletin { incident, sentence, .. } = bulletin;
    let document = Document { schema: "keeperctl.why/1", sentence, incident };
    // Nothing in it can fail to become JSON.
    let mut text = serde_json::to_vec(&document).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Gives a command its input and waits for its end. One that takes too long is ended, with all of its group.
async fn finish(mut child: Child, input: Vec<u8>, run_max: Duration) -> io::Result<ExitStatus> {
    let group = child.id().map(|pid| Pid::from_raw(pid.cast_signed()));
    let outputs = [log(child.stdout.take()), log(child.stderr.take())];
    let stdin = child.stdin.take();
    let feed = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            // A command that does not want it need not read it.
            let _ = stdin.write_all(&input).await;
        }
    });
    let ended = match timeout(run_max, child.wait()).await {
        Ok(ended) => ended,
        Err(_) => {
            end(&mut child, group).await;
            Err(io::Error::other(format!("it took longer than {run_max:?}")))
        }
    };
    feed.abort();
    for output in outputs {
        let reading = output.abort_handle();
        if timeout(REST_MAX, output).await.is_err() {
            reading.abort();
        }
    }
    ended
}

/// Ends a command that has not ended, and what it has started. Its process id is its own until it is waited for.
async fn end(child: &mut Child, group: Option<Pid>) {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if let Some(group) = group {
            let _ = killpg(group, signal);
        }
        if timeout(END_MAX, child.wait()).await.is_ok() {
            return;
        }
    }
}

/// Writes what comes out of a pipe into the log, up to a bound; what comes then is read and forgotten.
fn log(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(mut pipe) = pipe else { return };
        let mut text = Vec::new();
        let mut bounded = (&mut pipe).take(OUTPUT_BYTES_MAX);
        // Line by line as it comes would be nicer, and a line without an end would need a bound again.
        let _ = bounded.read_to_end(&mut text).await;
        for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.trim().is_empty()) {
            info!("notify.command: {}", line.replace(char::is_control, "\u{fffd}"));
        }
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::scrub;
    use crate::model::sample;

    fn order(script: &str) -> Order {
        let words = ["sh", "-c", script].map(str::to_owned).into();
        let login = Login { variables: scrub(std::env::vars_os()), umask: None, problem: None };
        Order { words, login }
    }

    #[tokio::test]
    async fn a_command_gets_the_facts_in_variables_and_on_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!(
            "test \"$AGENT_KEEPER_CAUSE $AGENT_KEEPER_PLACE $AGENT_KEEPER_SUBJECT\" = 'unknown web session' && cat >{}",
            out.display()
        );
        let bulletin = Bulletin::of(sample::incident(7, "web"));
        let child = order(&script).start(&bulletin).unwrap();
        assert!(finish(child, document(&bulletin), RUN_MAX).await.unwrap().success());
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
        assert_eq!(told["incident"]["number"], 7);
        assert_eq!(told["sentence"], bulletin.sentence);
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_all_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("trap '' TERM; sleep 1000 & echo $! >{}; wait; wait", file.display());
        let bulletin = Bulletin::of(sample::incident(7, "web"));
        let child = order(&script).start(&bulletin).unwrap();
        assert!(finish(child, document(&bulletin), Duration::from_secs(1)).await.is_err());
        let pid: u32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        // It is reaped by others, in their own time.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}
