//! Talks to the user's service manager.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, Variant};

use super::proxy::{Manager1Proxy, Unit1Proxy};
use super::unit_name::{SERVICE, SLICE, scope_of};

/// How long the manager may take for a job. Making a scope takes milliseconds; a manager that is busy
/// starting a machine takes seconds.
const JOB_MAX: Duration = Duration::from_secs(30);

/// How long the processes of a scope have to end when it is stopped, in microseconds.
const SCOPE_STOP_USEC: u64 = 20_000_000;

/// Why the manager did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// There is no user bus or no manager on it.
    #[error("the systemd user manager cannot be reached")]
    Unreachable(#[source] zbus::Error),
    /// It refused.
    #[error("systemd refused to {doing}")]
    Refused {
        /// What it was asked.
        doing: String,
        /// What it said.
        source: zbus::Error,
    },
    /// A job did not end well.
    #[error("systemd could not {doing}: the job ended as {result:?}")]
    Job {
        /// What it was asked.
        doing: String,
        /// The job's result: `failed`, `timeout`, `dependency`, …
        result: String,
    },
    /// A job did not end at all.
    #[error("systemd did not {doing} within {} s", JOB_MAX.as_secs())]
    Slow {
        /// What it was asked.
        doing: String,
    },
}

/// The user's service manager.
#[derive(Debug, Clone)]
pub struct Manager {
    proxy: Manager1Proxy<'static>,
}

impl Manager {
    /// Reaches the manager over the user bus.
    pub async fn connect(bus: &Connection) -> Result<Self, ManagerError> {
        let proxy = Manager1Proxy::new(bus).await.map_err(ManagerError::Unreachable)?;
        // Asked at once, so that "is there a manager" is answered here and not at the first use.
        proxy.version().await.map_err(ManagerError::Unreachable)?;
        Ok(Self { proxy })
    }

    /// Returns systemd's version, for example `257.13-1~deb13u1`.
    pub async fn version(&self) -> Result<String, ManagerError> {
        self.proxy.version().await.map_err(|source| refused("tell its version", source))
    }

    /// Returns whether the manager is on its way out: at logout, at shutdown.
    pub async fn is_stopping(&self) -> Result<bool, ManagerError> {
        let state = self.proxy.system_state().await.map_err(|source| refused("tell its state", source))?;
        Ok(state == "stopping")
    }

    /// Returns the unit that a process belongs to, for example `session-3.scope`'s name is not known here
    /// and yields `None`: it belongs to the system's manager.
    pub async fn unit_of(&self, pid: u32) -> Option<String> {
        let path = self.proxy.get_unit_by_pid(pid).await.ok()?;
        self.unit(path).await.ok()?.id().await.ok()
    }

    /// Returns `active`, `inactive`, `failed`, … for a unit, or `None` when it is not loaded.
    pub async fn active_state(&self, unit: &str) -> Option<String> {
        let path = self.proxy.get_unit(unit).await.ok()?;
        self.unit(path).await.ok()?.active_state().await.ok()
    }

    /// Returns `enabled`, `disabled`, `masked`, … for a unit file, or `None` when there is none.
    pub async fn file_state(&self, unit: &str) -> Option<String> {
        self.proxy.get_unit_file_state(unit).await.ok()
    }

    /// Returns the file that a unit was loaded from, or `None` when there is none.
    pub async fn fragment(&self, unit: &str) -> Option<String> {
        let path = self.proxy.load_unit(unit).await.ok()?;
        self.unit(path).await.ok()?.fragment_path().await.ok().filter(|path| !path.is_empty())
    }

    async fn unit(&self, path: OwnedObjectPath) -> zbus::Result<Unit1Proxy<'static>> {
        Unit1Proxy::builder(self.proxy.inner().connection()).path(path).build().await
    }

    /// Moves a process into a scope of its own, where nothing that happens to us can reach it, and
    /// returns the scope's name.
    pub async fn move_to_scope(&self, pid: u32, socket: &Path) -> Result<String, ManagerError> {
        let name = scope_of(socket, None);
        match self.start_scope(&name, pid, socket).await {
            Err(ManagerError::Refused { source, .. }) if is_named(&source, UNIT_EXISTS) => {
                let name = scope_of(socket, Some(pid));
                self.start_scope(&name, pid, socket).await.map(|()| name)
            }
            other => other.map(|()| name),
        }
    }

    async fn start_scope(&self, name: &str, pid: u32, socket: &Path) -> Result<(), ManagerError> {
        let description = format!("tmux server on {}", socket.display());
        match self.transient(name, &scope_properties(pid, &description, true)).await {
            // OOMPolicy= for scopes came with systemd 253 and was backported; without it the manager's
            // default applies, and doctor says so.
            Err(ManagerError::Refused { source, .. }) if is_unknown_property(&source) => {
                self.transient(name, &scope_properties(pid, &description, false)).await
            }
            other => other,
        }
    }

    async fn transient(&self, name: &str, properties: &[(&str, Variant<'_>)]) -> Result<(), ManagerError> {
        let doing = format!("start {name}");
        self.job(&doing, self.proxy.start_transient_unit(name, "fail", properties, &[])).await
    }

    /// Runs a method that returns a job, and waits for the job. The ends of jobs are listened to before
    /// one is asked for, so that a fast one is not missed.
    async fn job(
        &self,
        doing: &str,
        ask: impl Future<Output = zbus::Result<OwnedObjectPath>>,
    ) -> Result<(), ManagerError> {
        let failed = |source| refused(doing, source);
        self.subscribe().await?;
        let mut removed = self.proxy.receive_job_removed().await.map_err(failed)?;
        let job = ask.await.map_err(failed)?;
        let ended = async {
            while let Some(signal) = removed.next().await {
                if let Ok(args) = signal.args()
                    && args.job == job
                {
                    return args.result.clone();
                }
            }
            "lost".to_owned()
        };
        match timeout(JOB_MAX, ended).await {
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => Err(ManagerError::Job { doing: doing.to_owned(), result }),
            Err(_) => Err(ManagerError::Slow { doing: doing.to_owned() }),
        }
    }

    /// Has the manager send its signals. It refuses a connection to which it sends them already.
    pub(super) async fn subscribe(&self) -> Result<(), ManagerError> {
        match self.proxy.subscribe().await {
            Err(error) if is_named(&error, ALREADY_SUBSCRIBED) => Ok(()),
            other => other.map_err(|source| refused("send its signals", source)),
        }
    }

    /// Makes the manager read unit files again.
    pub async fn reload(&self) -> Result<(), ManagerError> {
        self.proxy.reload().await.map_err(|source| refused("reload unit files", source))
    }

    /// Enables the keeper's unit and (re)starts it.
    pub async fn enable_service(&self) -> Result<(), ManagerError> {
        let enable = self.proxy.enable_unit_files(&[SERVICE], false, false).await;
        enable.map_err(|source| refused(&format!("enable {SERVICE}"), source))?;
        self.reload().await?;
        self.job(&format!("start {SERVICE}"), self.proxy.restart_unit(SERVICE, "replace")).await
    }

    /// Stops the keeper's unit and disables it. One that is not there is fine.
    pub async fn disable_service(&self) -> Result<(), ManagerError> {
        let stop = self.job(&format!("stop {SERVICE}"), self.proxy.stop_unit(SERVICE, "replace")).await;
        match stop {
            Err(ManagerError::Refused { source, .. }) if is_named(&source, NO_SUCH_UNIT) => {}
            other => other?,
        }
        let disable = self.proxy.disable_unit_files(&[SERVICE], false).await;
        disable.map_err(|source| refused(&format!("disable {SERVICE}"), source))?;
        Ok(())
    }
}

const ALREADY_SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

fn refused(doing: &str, source: zbus::Error) -> ManagerError {
    ManagerError::Refused { doing: doing.to_owned(), source }
}

fn is_named(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(found, _, _) if found.as_str() == name)
}

/// Unknown properties are refused with one of these names (dbus-unit.c: `bus_unit_set_properties`).
fn is_unknown_property(error: &zbus::Error) -> bool {
    is_named(error, "org.freedesktop.DBus.Error.PropertyReadOnly")
        || is_named(error, "org.freedesktop.DBus.Error.UnknownProperty")
}

/// The properties of a server's scope (systemd.scope(5), org.freedesktop.systemd1(5)).
fn scope_properties<'a>(
    pid: u32,
    description: &'a str,
    oom_policy: bool,
) -> Vec<(&'static str, Variant<'a>)> {
    let mut properties = vec![
        ("PIDs", Variant::from(vec![pid])),
        ("Description", Variant::from(description)),
        ("Slice", Variant::from(SLICE)),
        // A failed scope would stay loaded and block its name.
        ("CollectMode", Variant::from("inactive-or-failed")),
        // Stop order is start order backwards: the keeper takes its last snapshot while the server lives.
        ("Before", Variant::from(vec![SERVICE])),
        // Lets processes be moved in later.
        ("Delegate", Variant::from(true)),
        // Shells ignore SIGTERM and obey SIGHUP.
        ("SendSIGHUP", Variant::from(true)),
        ("TimeoutStopUSec", Variant::from(SCOPE_STOP_USEC)),
    ];
    if oom_policy {
        // The default is stop: one child that the kernel kills for memory would end the whole server.
        properties.push(("OOMPolicy", Variant::from("continue")));
    }
    properties
}

#[cfg(test)]
mod tests {
    use zbus::Guid;

    use super::*;

    const MANAGER: &str = "/org/freedesktop/systemd1";

    #[derive(Debug, zbus::DBusError)]
    #[zbus(prefix = "org.freedesktop.systemd1")]
    enum Refusal {
        #[zbus(error)]
        ZBus(zbus::Error),
        AlreadySubscribed(String),
    }

    /// A manager that subscribes a connection once, as the real one (252, 257).
    #[derive(Default)]
    struct Mock {
        subscribed: bool,
    }

    #[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
    impl Mock {
        async fn subscribe(&mut self) -> Result<(), Refusal> {
            match std::mem::replace(&mut self.subscribed, true) {
                true => Err(Refusal::AlreadySubscribed("Client is already subscribed.".to_owned())),
                false => Ok(()),
            }
        }

        #[zbus(property)]
        async fn version(&self) -> String {
            "257".to_owned()
        }
    }

    #[tokio::test]
    async fn a_second_job_on_a_connection_is_heard_as_well() {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let [ours, theirs] = [ours, theirs].map(|stream| stream.into_std().unwrap());
        let server = zbus::connection::Builder::unix_stream(theirs).server(Guid::generate()).p2p();
        let server = server.serve_at(MANAGER, Mock::default()).build();
        let (_server, bus) = tokio::join!(server, zbus::connection::Builder::unix_stream(ours).p2p().build());
        let manager = Manager::connect(&bus.unwrap()).await.unwrap();
        manager.subscribe().await.unwrap();
        manager.subscribe().await.unwrap();
        assert!(
            matches!(manager.proxy.subscribe().await, Err(error) if is_named(&error, ALREADY_SUBSCRIBED))
        );
    }
}
