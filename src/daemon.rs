//! The command line of `agent-keeper`, and how it starts.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, User};
use tokio::time::{Instant, sleep};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use crate::config::{self, ConfigError};
use crate::dbus::serve::ServeError;
use crate::drill::scheduled;
use crate::environment;
use crate::keeper::{self, Chronicle, Startup, StartupError};
use crate::logind::{LINGER_DIR, Linger, Logind};
use crate::pane::Level;
use crate::place::{PlaceError, Places};
use crate::proc::Proc;
use crate::socket::{self, SocketArguments};
use crate::store::{StoreError, Writer, writer_of};
use crate::tmux::{TmuxError, found, waiter};
use crate::{logging, pane};

/// The exit status of a keeper that a restart cannot help; the unit names it in
/// `RestartPreventExitStatus=`. 78 is `EX_CONFIG` of sysexits.h.
pub const EXIT_HOPELESS: u8 = 78;

/// How long a keeper that starts waits for a `keeperctl` that writes to the store: an import of much text takes
/// seconds.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(60);

/// The pause between two tries, which take 0.2 s themselves.
const LOCK_PAUSE: Duration = Duration::from_millis(300);

/// Keeps a tmux server alive, saves what is in it, and brings it back
///
/// It runs as the user service agent-keeper.service, or in the foreground where there is no systemd.
/// "keeperctl setup" installs and starts it.
#[derive(Debug, Parser)]
#[command(
    name = "agent-keeper",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// Log from this level on: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "AGENT_KEEPER_LOG")]
    log: LevelFilter,
    #[command(subcommand)]
    helper: Option<Helper>,
}

/// What the keeper calls itself as; not for people.
#[derive(Debug, Subcommand)]
enum Helper {
    /// Become the program of a restored pane
    #[command(hide = true)]
    Pane {
        /// The order to read
        object: String,
        /// The store that holds it
        state: PathBuf,
        /// Which shell in a shell to become
        #[arg(long, default_value_t)]
        level: usize,
        /// Start the jobs; somebody said so
        #[arg(long)]
        run: bool,
    },
    /// Become a tmux server
    #[command(hide = true)]
    Found {
        /// The file mode mask it shall have
        umask: String,
        /// The tmux program
        tmux: OsString,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Become a tmux client that ends with the keeper
    #[command(hide = true)]
    AwaitEnd {
        /// The keeper's process id
        parent: u32,
        /// The tmux program
        tmux: OsString,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Print the environment
    #[command(hide = true)]
    Environment,
    /// Hold a drill
    #[command(hide = true)]
    Drill {
        /// The store whose newest snapshot is drilled
        state: PathBuf,
        /// The tmux program
        tmux: PathBuf,
    },
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SecondKeeper(StoreError),
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    #[error(transparent)]
    Startup(#[from] StartupError),
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
}

impl DaemonError {
    /// What a person has to mend first is hopeless; a restart would only repeat it. A disk, though, can be
    /// full or not mounted yet, and that ends by itself.
    fn exit_code(&self) -> u8 {
        match self {
            DaemonError::Config(_)
            | DaemonError::Place(_)
            | DaemonError::SecondKeeper(_)
            | DaemonError::Tmux(TmuxError::Missing { .. } | TmuxError::TooOld { .. })
            | DaemonError::Startup(StartupError::Place(_) | StartupError::Serve(ServeError::Place(_))) => {
                EXIT_HOPELESS
            }
            DaemonError::Store(error) if !error.may_pass() => EXIT_HOPELESS,
            DaemonError::Store(_)
            | DaemonError::Tmux(_)
            | DaemonError::Startup(_)
            | DaemonError::Runtime(_) => 1,
        }
    }
}

/// Runs `agent-keeper` with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.helper {
        Some(helper) => helper.run(),
        None => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let code = error.exit_code();
                tracing::error!("{:#}", anyhow::Error::new(error));
                ExitCode::from(code)
            }
        },
    }
}

impl Helper {
    fn run(self) -> ExitCode {
        let result: anyhow::Result<Option<Infallible>> = match self {
            Helper::Pane { object, state, level, run } => {
                pane::run(&object, &state, Level { number: level, run }).map(Some).map_err(Into::into)
            }
            Helper::Found { umask, tmux, arguments } => {
                found::become_server(&umask, tmux, arguments).map(Some).map_err(Into::into)
            }
            Helper::AwaitEnd { parent, tmux, arguments } => {
                waiter::become_client(parent, &tmux, &arguments).map(Some).map_err(Into::into)
            }
            Helper::Environment => {
                environment::report(&mut std::io::stdout().lock()).map(|()| None).map_err(Into::into)
            }
            Helper::Drill { state, tmux } => scheduled::run(&state, tmux).map(|()| None),
        };
        match result {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                anstream::eprintln!("agent-keeper: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), DaemonError> {
    logging::start(arguments.log);
    let places = Places::find()?;
    let settings = arguments.socket.over(config::load(&places.config)?);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DaemonError::Runtime)?;
    let program = own_program().map_err(DaemonError::Runtime)?;
    runtime.block_on(async {
        let writer = Arc::new(open_store(&places.state).await?);
        let login = environment::login(&program).await;
        // Whatever we write is the user's alone. Not before the login shell was asked, which starts with our
        // mask and tells the one that panes shall have.
        umask(Mode::from_bits_truncate(0o077));
        if let Some(problem) = &login.problem {
            warn!("new tmux servers get the environment of this service instead of your login's: {problem}");
        }
        let tmux = socket::tmux(&settings, &login)?;
        let version = tmux.check_version().await?;
        info!(socket = %tmux.socket().display(), "agent-keeper {} with tmux {version}", env!("CARGO_PKG_VERSION"));
        tokio::spawn(log_logout_policy());
        let is_service = is_service();
        let history = Chronicle::open(&places.state, Proc::default().boot_id())?;
        let startup = Startup { settings, places, login, tmux, program, writer, history, is_service };
        keeper::run(startup).await?;
        Ok(())
    })
}

/// Opens the store. A `keeperctl` that writes to it is done soon and waited for; another keeper is not.
async fn open_store(dir: &Path) -> Result<Writer, DaemonError> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    let mut told = false;
    loop {
        match Writer::open(dir) {
            Err(error @ StoreError::Locked { .. }) if is_held_by_keeper(dir) => {
                return Err(DaemonError::SecondKeeper(error));
            }
            Err(StoreError::Locked { pid, .. }) if Instant::now() < deadline => {
                if !told {
                    info!(pid, store = %dir.display(), "waiting for another process that writes to the store");
                }
                told = true;
                sleep(LOCK_PAUSE).await;
            }
            result => return Ok(result?),
        }
    }
}

/// Returns whether the process that writes to a store is a keeper.
fn is_held_by_keeper(dir: &Path) -> bool {
    writer_of(dir)
        .and_then(|pid| Proc::default().stat(pid).ok())
        .is_some_and(|stat| stat.comm.starts_with(env!("CARGO_PKG_NAME")))
}

/// Returns whether a service manager started this very process; INVOCATION_ID and others are inherited by
/// whatever a service starts, this one names the process (systemd.exec(5), systemd 248).
fn is_service() -> bool {
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string())
}

/// Returns the path of this program. After an upgrade the file we run is deleted and another has its
/// name; panes shall start with that one.
pub fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.unwrap_or(path))
}

/// Says at every start what a logout will do.
async fn log_logout_policy() {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name).unwrap_or_default();
    let policy = async {
        let bus = zbus::Connection::system().await?;
        Logind::connect(&bus).await?.policy(uid.as_raw(), &name, LINGER_DIR.as_ref()).await
    };
    match policy.await {
        Err(error) => info!(%error, "logind cannot be asked what happens at logout"),
        Ok(policy) => {
            let kill = policy.kill.hits(&name);
            match policy.linger {
                Linger::On => info!(
                    linger = true,
                    kill_user_processes = kill,
                    "lingering is on: a logout ends nothing of ours"
                ),
                Linger::Off => warn!(
                    linger = false,
                    kill_user_processes = kill,
                    "lingering is off: some seconds after the last logout everything ends; mend it with: keeperctl doctor --fix"
                ),
            }
        }
    }
}
