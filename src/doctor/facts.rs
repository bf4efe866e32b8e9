//! Gathers what the checks look at. What could not be looked at stays "could not look".

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, Uid, User, access};

use crate::cause::in_words;
use crate::config::{self, Settings, TmuxSocket};
use crate::dbus::client;
use crate::drill::proof::Record;
use crate::environment::{self, Login};
use crate::logind::{LINGER_DIR, Logind, Policy};
use crate::model::Generation;
use crate::place::Places;
use crate::proc::Proc;
use crate::socket;
use crate::store::{Store, StoreError};
use crate::systemd::Manager;
use crate::systemd::placement::Placement;
use crate::systemd::unit_name::SERVICE;
use crate::tmux::command::Command;
use crate::tmux::observe::{ObserveError, observe};
use crate::tmux::{Tmux, TmuxError};

/// A thing that could not be looked at: why not.
pub type Unknown = String;

/// Everything that checks look at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The user's name.
    pub user: String,
    /// Whether the machine was started by systemd (sd_booted(3)).
    pub systemd: bool,
    /// The version of the user's manager.
    pub manager: Result<String, Unknown>,
    /// What logind does at logout.
    pub policy: Result<Policy, Unknown>,
    /// The configuration.
    pub config: Result<(), Unknown>,
    /// Why the login shell could not be asked for its environment.
    pub login_problem: Option<String>,
    /// tmux's version and path.
    pub tmux: Result<String, Unknown>,
    /// The server.
    pub server: ServerFact,
    /// The daemon.
    pub keeper: KeeperFact,
    /// Where the store is.
    pub state: PathBuf,
    /// The store.
    pub store: Result<StoreFact, Unknown>,
    /// The last drill, if any was held.
    pub proven: Option<ProvenFact>,
    /// Whether the keeper drills by itself.
    pub drills: bool,
}

/// The tmux server that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFact {
    /// It answers.
    Running {
        /// Its process id.
        pid: u32,
        /// Where it lives.
        placement: Result<Placement, Unknown>,
        /// Whether it ends with its last session.
        exit_empty: Option<bool>,
        /// Whether sessions end with their last client.
        destroy_unattached: Option<bool>,
    },
    /// There is none.
    None,
    /// It lives and its socket is gone.
    Orphan {
        /// Its process id.
        pid: u32,
    },
    /// Could not look.
    Unknown(Unknown),
}

/// The daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeeperFact {
    /// What it says of itself: its state, and its problem if it has one. `None` when it does not answer.
    pub answers: Option<(String, Option<String>)>,
    /// Its version.
    pub version: Option<String>,
    /// `ActiveState` of its unit.
    pub active_state: Option<String>,
    /// `UnitFileState` of its unit.
    pub file_state: Option<String>,
}

/// The last drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenFact {
    /// How long ago it was held.
    pub age: Duration,
    /// Whether all came back.
    pub perfect: bool,
    /// Of which snapshot, and how much came back, in words.
    pub result: String,
}

/// The store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFact {
    /// The newest good generation.
    pub newest: Option<Generation>,
    /// How long ago the oldest good one was saved.
    pub age: Duration,
    /// Files that cannot be used, and why.
    pub flaws: Vec<String>,
    /// Whether we may write there.
    pub writable: bool,
    /// Bytes free on its file system.
    pub free_bytes: Option<u64>,
}

/// Where facts are gathered.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The user's directories.
    pub places: &'a Places,
    /// The configuration, or why there is none.
    pub settings: Result<&'a Settings, Unknown>,
    /// The socket that is meant, where somebody says so who knows better than the configuration.
    pub socket: Option<TmuxSocket>,
    /// The `agent-keeper` program.
    pub program: &'a Path,
}

/// Gathers the facts. Takes as long as a login shell takes to start.
pub async fn gather(scene: &Scene<'_>) -> Facts {
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let manager = user_manager().await;
    let login = environment::login(scene.program).await;
    let tmux = tmux(scene, &login);
    Facts {
        systemd: sd_notify::booted().unwrap_or(false),
        policy: logout_policy(uid.as_raw(), &user).await,
        user,
        config: scene.settings.clone().map(drop),
        login_problem: login.problem.clone(),
        tmux: version(&tmux, &login).await,
        server: match &tmux {
            Ok(tmux) => server(tmux).await,
            Err(why) => ServerFact::Unknown(why.clone()),
        },
        keeper: keeper(scene.places, manager.as_ref().ok()).await,
        manager: match &manager {
            Ok(manager) => manager.version().await.map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        },
        state: scene.places.state.clone(),
        store: store(&scene.places.state),
        proven: proven(&scene.places.state),
        drills: scene.settings.as_ref().is_ok_and(|settings| settings.drill_every.is_some()),
    }
}

fn proven(state: &Path) -> Option<ProvenFact> {
    let last = Record::read(state)?.last;
    Some(ProvenFact { age: since(last.held_at), perfect: last.perfect(), result: last.in_words() })
}

/// Returns how long ago that was. What is yet to come, by a clock that was wrong, is as good as very old.
fn since(time: Timestamp) -> Duration {
    Timestamp::now().duration_since(time).try_into().unwrap_or(Duration::MAX)
}

/// Returns a client for the socket that is meant; without a configuration, with the defaults.
fn tmux(scene: &Scene<'_>, login: &Login) -> Result<Tmux, Unknown> {
    let configured = scene.settings.clone().cloned();
    let mut settings = configured.or_else(|_| Settings::check(config::Fragment::default()))?;
    settings.socket = scene.socket.clone().unwrap_or(settings.socket);
    socket::tmux(&settings, login).map_err(|error| error.to_string())
}

async fn user_manager() -> Result<Manager, Unknown> {
    let bus = crate::systemd::user_bus().await.map_err(|error| error.to_string())?;
    Manager::connect(&bus).await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

async fn logout_policy(uid: u32, user: &str) -> Result<Policy, Unknown> {
    let ask = async {
        let bus = zbus::Connection::system().await?;
        Logind::connect(&bus).await?.policy(uid, user, LINGER_DIR.as_ref()).await
    };
    ask.await.map_err(|error| error.to_string())
}

async fn version(tmux: &Result<Tmux, Unknown>, login: &Login) -> Result<String, Unknown> {
    let tmux = tmux.as_ref().map_err(Clone::clone)?;
    let version = tmux.check_version().await.map_err(in_words)?;
    let program = login.find_program(tmux.program());
    Ok(format!("{version} ({})", program.display()))
}

async fn server(tmux: &Tmux) -> ServerFact {
    let proc = Proc::default();
    match observe(tmux, &proc, &|_| None).await {
        Ok(seen) => {
            let pid = seen.server.id.pid;
            ServerFact::Running {
                pid,
                placement: proc
                    .cgroup(pid)
                    .map(|path| Placement::of(&path))
                    .map_err(|error| error.to_string()),
                exit_empty: option(tmux, "#{exit-empty}").await,
                destroy_unattached: option(tmux, "#{destroy-unattached}").await,
            }
        }
        Err(ObserveError::Tmux(TmuxError::NoServer { socket })) => {
            match proc.listener(&socket, Uid::effective().as_raw()) {
                Some(pid) => ServerFact::Orphan { pid },
                None => ServerFact::None,
            }
        }
        Err(error) => ServerFact::Unknown(in_words(error)),
    }
}

/// Asks for a flag; options can be read like any other format. From 3.5 on `destroy-unattached` has
/// further values, all of which mean that something is destroyed.
async fn option(tmux: &Tmux, format: &str) -> Option<bool> {
    let output = tmux.run(&[Command::new("display-message").arg("-p").arg(format)]).await.ok()?;
    match String::from_utf8(output).ok()?.trim() {
        "" => None,
        "0" | "off" => Some(false),
        _ => Some(true),
    }
}

async fn keeper(places: &Places, manager: Option<&Manager>) -> KeeperFact {
    let mut fact = KeeperFact::default();
    if let Some(manager) = manager {
        fact.active_state = manager.active_state(SERVICE).await;
        fact.file_state = manager.file_state(SERVICE).await;
    }
    if let Ok(keeper) = client::connect(&places.bus_socket()).await
        && let (Ok(state), Ok(problem)) = (keeper.state().await, keeper.problem().await)
    {
        fact.answers = Some((state, Some(problem).filter(|problem| !problem.is_empty())));
        fact.version = keeper.version().await.ok();
    }
    fact
}

fn store(dir: &Path) -> Result<StoreFact, Unknown> {
    let look = || -> Result<StoreFact, StoreError> {
        let store = Store::open(dir);
        store.check_format()?;
        let entries = store.entries()?;
        let newest = entries.iter().rfind(|entry| entry.content.is_ok()).map(|entry| entry.generation);
        let oldest = entries.iter().find_map(|entry| entry.content.as_ref().ok());
        let flaws = entries.iter().filter_map(|entry| {
            let flaw = entry.content.as_ref().err()?;
            Some(format!("{}: {flaw}", entry.path.display()))
        });
        let strangers = store.strangers()?.into_iter();
        let strangers = strangers.map(|path| format!("{}: not called like a generation", path.display()));
        let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir);
        Ok(StoreFact {
            newest,
            age: oldest.map_or(Duration::ZERO, |oldest| since(oldest.taken_at)),
            flaws: flaws.chain(strangers).collect(),
            writable: access(existing, AccessFlags::W_OK).is_ok(),
            free_bytes: statvfs(existing).ok().map(|fs| fs.blocks_available() * fs.fragment_size()),
        })
    };
    look().map_err(in_words)
}
