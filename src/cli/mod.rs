//! The command line of `keeperctl`: one file per command, each its arguments and a function.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Settings, TmuxSocket};
use crate::dbus::client::{self, Keeper1Proxy};
use crate::environment::{Login, scrub};
use crate::place::Places;
use crate::socket::{self, SocketArguments};
use crate::store::Store;
use crate::tmux::Tmux;

mod adopt;
mod doctor;
mod drill;
mod error;
mod hand;
mod import;
mod output;
mod restore;
mod setup;
mod snapshot;
mod status;
mod timeline;
mod tree;
mod uninstall;
mod why;

pub use adopt::adopt;
pub use error::{CliError, Exit};

/// Keep tmux and the agents in it alive, and bring them back
#[derive(Debug, Parser)]
#[command(name = "keeperctl", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit status: 0 done; 1 failed; 2 wrong usage; 3 done in part, or problems found;
4 the daemon is needed and cannot be reached.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the keeper for yourself and start it
    Setup(setup::Arguments),
    /// Undo setup; your tmux server goes on
    Uninstall(uninstall::Arguments),
    /// Find what would kill your sessions, and what mends it
    Doctor(doctor::Arguments),
    /// Show the keeper, the tmux server and everything in it
    Status,
    /// Take and look at snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Bring back sessions from a snapshot
    Restore(restore::Arguments),
    /// Prove a restore on a throw-away server
    Drill(drill::Arguments),
    /// Say why something died
    Why(why::Arguments),
    /// Show what happened when
    Timeline(timeline::Arguments),
    /// Take over what another tool has saved, as a snapshot
    Import(import::Arguments),
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// What every command needs.
#[derive(Debug)]
pub struct Context {
    /// Whether to print JSON.
    pub json: bool,
    /// The user's directories.
    pub places: Places,
    arguments: SocketArguments,
}

impl Context {
    /// Reads the configuration, with what was said on the command line.
    pub fn settings(&self) -> Result<Settings, CliError> {
        Ok(self.arguments.over(config::load(&self.places.config)?))
    }

    /// Returns the environment of this process as that of a login: a person typed the command.
    pub fn login(&self) -> Login {
        Login { variables: scrub(std::env::vars_os()), umask: None, problem: None }
    }

    /// Returns the words that make another program mean the same socket.
    pub fn socket_words(&self) -> Vec<std::ffi::OsString> {
        let name = self.arguments.socket_name.iter().flat_map(|name| ["-L".into(), name.into()]);
        let path = self.arguments.socket_path.iter().flat_map(|path| ["-S".into(), path.into()]);
        name.chain(path).collect()
    }

    /// Returns the socket that is meant, whatever is configured: what the command line says, else what the
    /// daemon watches.
    pub async fn socket(&self) -> Option<TmuxSocket> {
        if !self.arguments.is_empty() {
            return self.arguments.socket();
        }
        let keeper = client::connect(&self.places.bus_socket()).await.ok()?;
        Some(TmuxSocket::Path(keeper.socket().await.ok()?.into()))
    }

    /// Returns the tmux and the socket that are meant.
    pub async fn tmux(&self) -> Result<Tmux, CliError> {
        let mut settings = self.settings()?;
        settings.socket = self.socket().await.unwrap_or(settings.socket);
        Ok(socket::tmux(&settings, &self.login())?)
    }

    /// Like [`Context::tmux`], and refuses one that is too old.
    pub async fn usable_tmux(&self) -> Result<Tmux, CliError> {
        let tmux = self.tmux().await?;
        tmux.check_version().await?;
        Ok(tmux)
    }

    /// Reaches the daemon. With a socket on the command line it must be that socket's.
    pub async fn keeper(&self) -> Result<Keeper1Proxy<'static>, CliError> {
        let keeper = client::connect(&self.places.bus_socket()).await?;
        if !self.arguments.is_empty() {
            let wanted = socket::path(&self.settings()?, &self.login())?;
            let watched = keeper.socket().await?;
            if watched != wanted.to_string_lossy() {
                let message = format!("the keeper watches {watched}, not {}", wanted.display());
                return Err(CliError::failed(anyhow::Error::msg(message)));
            }
        }
        Ok(keeper)
    }

    /// Opens the store for reading.
    pub fn store(&self) -> Store {
        Store::open(&self.places.state)
    }

    /// Returns the `agent-keeper` program that belongs to this `keeperctl`: the one beside it.
    pub fn program(&self) -> Result<PathBuf, CliError> {
        let own = crate::daemon::own_program()?;
        let beside = own.with_file_name("agent-keeper");
        if beside.exists() {
            return Ok(beside);
        }
        let found = self.login().find_program("agent-keeper".as_ref());
        if found.is_absolute() {
            return Ok(found);
        }
        let message = format!("there is no agent-keeper beside {} or in the PATH", own.display());
        Err(CliError::failed(anyhow::Error::msg(message)).hint("install it again: packaging/install.sh"))
    }
}

/// Runs `keeperctl` with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            output::note(&format!("{}: {:#}", output::styled(output::BAD, "keeperctl"), error.source));
            error.hints.iter().for_each(|hint| output::note(&format!("  {hint}")));
            ExitCode::from(error.exit as u8)
        }
    }
}

async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let context = Context { json: arguments.json, places: Places::find()?, arguments: arguments.socket };
    match arguments.command {
        Command::Setup(arguments) => setup::run(&context, &arguments).await,
        Command::Uninstall(arguments) => uninstall::run(&context, &arguments).await,
        Command::Doctor(arguments) => doctor::run(&context, &arguments).await,
        Command::Status => status::run(&context).await,
        Command::Snapshot(command) => snapshot::run(&context, command).await,
        Command::Restore(arguments) => restore::run(&context, &arguments).await,
        Command::Drill(arguments) => drill::run(&context, &arguments).await,
        Command::Why(arguments) => why::run(&context, &arguments),
        Command::Timeline(arguments) => timeline::run(&context, &arguments),
        Command::Import(arguments) => import::run(&context, &arguments).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keeperctl", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
