//! What logind does when the user logs out, as it says itself over D-Bus.

use std::path::Path;

use super::Logind;
use super::proxy::Session1Proxy;

const NO_SUCH_SESSION: &str = "org.freedesktop.login1.NoSuchSession";

/// What logind does to the processes of a logind session that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillRule {
    /// `KillUserProcesses=`.
    pub kill: bool,
    /// `KillOnlyUsers=`.
    pub only: Vec<String>,
    /// `KillExcludeUsers=`.
    pub exclude: Vec<String>,
}

impl KillRule {
    /// Returns whether it hits a user, by the rule of logind.conf(5): excluded users are spared, then the
    /// list of users decides if there is one, then the switch. An empty exclude list spares root
    /// (`manager_shall_kill`, logind-core.c).
    pub fn hits(&self, user: &str) -> bool {
        let excluded = if self.exclude.is_empty() {
            user == "root"
        } else {
            self.exclude.iter().any(|name| name == user)
        };
        if excluded {
            return false;
        }
        if self.only.is_empty() { self.kill } else { self.only.iter().any(|name| name == user) }
    }
}

/// Whether the user's manager runs while nobody is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linger {
    /// It does.
    On,
    /// It stops some seconds after the last logout, with all that it runs.
    Off,
}

/// What logind does at logout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether the user lingers.
    pub linger: Linger,
    /// What happens to processes of a logind session.
    pub kill: KillRule,
}

impl Logind {
    /// Asks what happens to a user at logout. `linger_dir` is where logind keeps its marks.
    pub async fn policy(&self, uid: u32, user: &str, linger_dir: &Path) -> zbus::Result<Policy> {
        let linger = self.linger(uid, user, linger_dir).await?;
        Ok(Policy { linger, kill: self.kill_rule().await? })
    }

    /// Asks whether a user lingers. The marks in `linger_dir` tell it of a user whom logind does not know at the
    /// moment: without a login and without linger there is no object to ask.
    pub async fn linger(&self, uid: u32, user: &str, linger_dir: &Path) -> zbus::Result<Linger> {
        let linger = match self.user(uid).await {
            Ok(user) => user.linger().await?,
            Err(_) => linger_dir.join(user).exists(),
        };
        Ok(if linger { Linger::On } else { Linger::Off })
    }

    pub(super) async fn kill_rule(&self) -> zbus::Result<KillRule> {
        Ok(KillRule {
            kill: self.proxy.kill_user_processes().await?,
            only: self.proxy.kill_only_users().await?,
            exclude: self.proxy.kill_exclude_users().await?,
        })
    }

    /// Returns whether a user's logind session is over, or about to be, and its processes with it.
    pub async fn has_killed_session(&self, session: &str, user: &str) -> zbus::Result<bool> {
        if !self.kill_rule().await?.hits(user) {
            return Ok(false);
        }
        match self.proxy.get_session(session).await {
            Ok(path) => {
                let bus = self.proxy.inner().connection();
                let session = Session1Proxy::builder(bus).path(path).build().await?;
                Ok(session.state().await? == "closing")
            }
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_SESSION => Ok(true),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_logind_conf() {
        let rule = |kill, only: &[&str], exclude: &[&str]| KillRule {
            kill,
            only: only.iter().map(ToString::to_string).collect(),
            exclude: exclude.iter().map(ToString::to_string).collect(),
        };
        let cases = [
            (rule(false, &[], &[]), "ann", false),
            (rule(true, &[], &[]), "ann", true),
            (rule(true, &[], &[]), "root", false),
            (rule(true, &[], &["ann"]), "ann", false),
            (rule(true, &[], &["ann"]), "root", true),
            (rule(false, &["ann"], &[]), "ann", true),
            (rule(true, &["bob"], &[]), "ann", false),
            (rule(true, &["ann"], &["ann"]), "ann", false),
        ];
        for (rule, user, expected) in cases {
            assert_eq!(rule.hits(user), expected, "{rule:?} {user}");
        }
    }
}
