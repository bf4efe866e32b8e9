//! `keeperctl setup`: install the keeper for the user and start it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{Uid, User};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::dbus::client;
use crate::logind::{LINGER_DIR, Linger, Logind};
use crate::place::{check_socket_path, make_private_dir};
use crate::setup::{CATALOGS, Change, catalog_file, unit_files};
use crate::systemd::{Manager, user_bus};

use super::output::{BAD, GOOD, note, print, print_json, styled};
use super::{CliError, Context, Exit};

/// How long the user's manager may take to start after lingering was switched on, and the keeper to answer.
const START_MAX: Duration = Duration::from_secs(60);

/// The pause between two tries.
const RETRY: Duration = Duration::from_millis(100);

/// A log file beyond this size is put aside before the keeper starts, in bytes.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// What to set up.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave lingering as it is; without it everything ends some seconds after your last logout
    #[arg(long)]
    no_linger: bool,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// It is as it should be now.
    Done,
    /// Only said, because of `--dry-run`.
    Would,
    /// It could not be done.
    Failed,
}

/// One step.
#[derive(Debug, Serialize)]
struct Step {
    outcome: Outcome,
    what: String,
}

/// What is being done, for the person who waits.
struct Steps {
    json: bool,
    dry_run: bool,
    taken: Vec<Step>,
}

impl Steps {
    fn add(&mut self, outcome: Outcome, what: impl Into<String>) {
        let what = what.into();
        if !self.json {
            let mark = match outcome {
                Outcome::Done => styled(GOOD, "✔"),
                Outcome::Would => "would".to_owned(),
                Outcome::Failed => styled(BAD, "✘"),
            };
            // A closed pipe does not stop the installation.
            let _ = print(&format!("{mark} {what}\n"));
        }
        self.taken.push(Step { outcome, what });
    }

    fn done(&mut self, what: impl Into<String>) {
        self.add(Outcome::Done, what);
    }

    fn would(&mut self, what: impl Into<String>) {
        self.add(Outcome::Would, what);
    }
}

/// Sets up.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let mut steps = Steps { json: context.json, dry_run: arguments.dry_run, taken: Vec::new() };
    // What would keep the keeper from starting is said now, and not after a minute of waiting.
    check_socket_path(&context.places.bus_socket())?;
    context.usable_tmux().await?;
    let program = context.program()?;
    if !arguments.no_linger {
        linger(&mut steps).await;
    }
    match wait_for_manager(arguments.dry_run).await {
        Some(manager) => service(context, &program, &manager, &mut steps).await?,
        None if sd_notify::booted().unwrap_or(false) => return Err(no_manager()),
        None => background(context, &program, &mut steps).await?,
    }
    let complete = steps.taken.iter().all(|step| step.outcome != Outcome::Failed);
    if context.json {
        #[derive(Serialize)]
        struct Document {
            dry_run: bool,
            steps: Vec<Step>,
        }
        print_json("keeperctl.setup/1", Document { dry_run: arguments.dry_run, steps: steps.taken })?;
    }
    note("see how things stand: keeperctl status");
    note("see what would kill your sessions: keeperctl doctor");
    Ok(if complete { Exit::Done } else { Exit::Partly })
}

fn no_manager() -> CliError {
    let message = "your systemd user manager cannot be reached";
    CliError::failed(anyhow::Error::msg(message))
        .hint("log in as this user by ssh or at a terminal, not with su or sudo, and try again")
        .hint("or switch lingering on first: sudo loginctl enable-linger USER")
}

async fn linger(steps: &mut Steps) {
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let ask = async {
        let bus = zbus::Connection::system().await?;
        let logind = Logind::connect(&bus).await?;
        let policy = logind.policy(uid.as_raw(), &user, LINGER_DIR.as_ref()).await?;
        zbus::Result::Ok((logind, policy.linger))
    };
    let Ok((logind, linger)) = ask.await else {
        return;
    };
    if linger == Linger::On {
        return steps.done("lingering is on");
    }
    if steps.dry_run {
        return steps.would(format!("switch lingering on for {user}"));
    }
    match logind.set_linger(uid.as_raw(), true).await {
        Ok(()) => steps.done("lingering switched on: nothing of yours ends at logout any more"),
        Err(error) => steps.add(
            Outcome::Failed,
            format!("lingering could not be switched on ({error}); as root: loginctl enable-linger {user}"),
        ),
    }
}

/// Reaches the user's manager. After lingering was switched on it may be starting.
async fn wait_for_manager(dry_run: bool) -> Option<Manager> {
    let systemd = sd_notify::booted().unwrap_or(false);
    let deadline = Instant::now() + if systemd && !dry_run { START_MAX } else { Duration::ZERO };
    loop {
        if let Ok(bus) = user_bus().await
            && let Ok(manager) = Manager::connect(&bus).await
        {
            return Some(manager);
        }
        // Without a runtime directory there is no manager and none is coming.
        if Instant::now() >= deadline || crate::place::user_runtime_dir().is_none() {
            return None;
        }
        sleep(RETRY).await;
    }
}

async fn service(
    context: &Context,
    program: &Path,
    manager: &Manager,
    steps: &mut Steps,
) -> Result<(), CliError> {
    let files = unit_files(&context.places.units, program).map_err(CliError::failed)?;
    for file in files {
        let path = file.path.display();
        if steps.dry_run {
            steps.would(format!("write {path}"));
            continue;
        }
        match file.write().map_err(CliError::failed)? {
            Change::Unchanged => steps.done(format!("{path} is as it should be")),
            _ => steps.done(format!("{path} written")),
        }
    }
    explain_messages(steps)?;
    if steps.dry_run {
        steps.would("enable and start agent-keeper.service");
        return Ok(());
    }
    manager.reload().await.map_err(CliError::failed)?;
    manager.enable_service().await.map_err(|error| {
        CliError::failed(error)
            .hint("see why: systemctl --user status agent-keeper; journalctl --user -u agent-keeper")
    })?;
    let pid = wait_for_keeper(context).await?;
    steps.done(format!("agent-keeper.service enabled and running (pid {pid})"));
    Ok(())
}

/// Lets `journalctl -x` explain our messages. Only root can do that, and for everybody else it is not worth a word.
fn explain_messages(steps: &mut Steps) -> Result<(), CliError> {
    let catalog = catalog_file(Path::new(CATALOGS)).filter(|_| Uid::effective().is_root());
    let Some(file) = catalog else { return Ok(()) };
    let path = file.path.display();
    if steps.dry_run {
        steps.would(format!("write {path} and run journalctl --update-catalog"));
        return Ok(());
    }
    if file.write().map_err(CliError::failed)? == Change::Unchanged {
        steps.done(format!("{path} is as it should be"));
    } else if update_catalog() {
        steps.done(format!("{path} written: journalctl -x explains agent-keeper's messages"));
    } else {
        let what =
            format!("{path} written, but journald does not know it yet; try: journalctl --update-catalog");
        steps.add(Outcome::Failed, what);
    }
    Ok(())
}

/// Has journald read the catalogs again. Returns whether it did.
pub(super) fn update_catalog() -> bool {
    let mut update = Command::new("journalctl");
    update.arg("--update-catalog").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    update.status().is_ok_and(|status| status.success())
}

/// Without systemd: starts the keeper as a process of its own, in a session of its own.
async fn background(context: &Context, program: &Path, steps: &mut Steps) -> Result<(), CliError> {
    if let Ok(keeper) = client::connect(&context.places.bus_socket()).await {
        let pid = keeper.process_id().await?;
        steps.done(format!("no systemd here; agent-keeper runs already (pid {pid})"));
        if was_replaced(pid) {
            // Not done here: whatever started it may not live on without it.
            note(&format!("it still is the program from before; change over: kill {pid}; keeperctl setup"));
        }
        return Ok(());
    }
    if steps.dry_run {
        steps.would("start agent-keeper in the background, as there is no systemd here");
        return Ok(());
    }
    make_private_dir(&context.places.state)?;
    let log = context.places.state.join("agent-keeper.log");
    if std::fs::metadata(&log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(&log, log.with_extension("log.old"))?;
    }
    let out = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
    let mut start = Command::new("setsid");
    start.arg("--fork").arg(program).args(context.socket_words());
    start.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).current_dir("/");
    let status = start.status().map_err(|error| {
        CliError::failed(anyhow::Error::new(error).context("cannot run setsid (of util-linux)"))
    })?;
    if !status.success() {
        let message = format!("setsid could not start {}", program.display());
        return Err(CliError::failed(anyhow::Error::msg(message)));
    }
    let pid =
        wait_for_keeper(context).await.map_err(|error| error.hint(format!("see why: {}", log.display())))?;
    steps.done(format!(
        "no systemd here; agent-keeper started in the background (pid {pid}), log {}",
        log.display()
    ));
    note(
        "it does not start by itself after a reboot: start agent-keeper where this machine starts its services",
    );
    Ok(())
}

/// Whether the file of a process's program has been replaced since it started (proc_pid_exe(5)).
fn was_replaced(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.to_string_lossy().ends_with(" (deleted)"))
}

/// Waits until the keeper answers, and returns its process id.
async fn wait_for_keeper(context: &Context) -> Result<u32, CliError> {
    let deadline = Instant::now() + START_MAX;
    loop {
        match client::connect(&context.places.bus_socket()).await {
            Ok(keeper) => return Ok(keeper.process_id().await?),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => sleep(RETRY).await,
        }
    }
}
