//! The login manager: what it does to a user's processes at logout, when the machine goes
//! down, and who logs in and out.

mod linger;
mod policy;
pub mod proxy;
mod shutdown;
mod watch;

/// Where logind marks users who linger, a file named after each (loginctl(1), enable-linger).
pub const LINGER_DIR: &str = "/var/lib/systemd/linger";

pub use linger::watch_linger;
pub use policy::{KillRule, Linger, Policy};
pub use shutdown::{ShutdownWatch, watch_shutdown};
pub use watch::{Who, watch_logins};

use zbus::Connection;

use proxy::{Login1Proxy, User1Proxy};

/// The login manager, reached over the system bus.
#[derive(Debug, Clone)]
pub struct Logind {
    proxy: Login1Proxy<'static>,
}

impl Logind {
    /// Reaches logind. Where there is none (a container), this is an error to be shown, not to stop at.
    pub async fn connect(system_bus: &Connection) -> zbus::Result<Self> {
        let proxy = Login1Proxy::new(system_bus).await?;
        proxy.kill_user_processes().await?;
        Ok(Self { proxy })
    }

    /// Lets the user's manager run from boot on and beyond the last logout. polkit allows it for oneself
    /// (`org.freedesktop.login1.set-self-linger`); without polkit logind refuses.
    pub async fn set_linger(&self, uid: u32, linger: bool) -> zbus::Result<()> {
        self.proxy.set_user_linger(uid, linger, false).await
    }

    /// Returns whether a shutdown has begun.
    pub async fn is_shutting_down(&self) -> zbus::Result<bool> {
        self.proxy.preparing_for_shutdown().await
    }

    async fn user(&self, uid: u32) -> zbus::Result<User1Proxy<'static>> {
        let path = self.proxy.get_user(uid).await?;
        User1Proxy::builder(self.proxy.inner().connection()).path(path).build().await
    }
}
