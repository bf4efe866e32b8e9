//! Where a process lives in the control groups, and so what ends it.

/// The place of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// A unit of the user's own manager: lives as long as that does.
    UserUnit(String),
    /// A logind session, by its scope's name: logind may end it at logout.
    LogindSession(String),
    /// A service of the system's manager.
    SystemUnit(String),
    /// No unit at all: a machine without systemd, a container.
    None,
}

impl Placement {
    /// Reads the place out of a control group's path, as `/proc/PID/cgroup` has it. The hierarchy is
    /// systemd's (systemd.slice(5), `user@.service(5)`).
    pub fn of(cgroup: &str) -> Self {
        let parts: Vec<&str> = cgroup.split('/').collect();
        let unit = parts.iter().rfind(|part| part.ends_with(".scope") || part.ends_with(".service"));
        let Some(unit) = unit.map(|unit| (*unit).to_owned()) else {
            return Placement::None;
        };
        if parts.iter().any(|part| part.starts_with("user@") && part.ends_with(".service") && *part != unit) {
            Placement::UserUnit(unit)
        } else if unit.starts_with("session-") && unit.ends_with(".scope") {
            Placement::LogindSession(unit)
        } else {
            Placement::SystemUnit(unit)
        }
    }

    /// Returns the name of the logind session that it is in, if it is in one.
    pub fn login(&self) -> Option<&str> {
        match self {
            Placement::LogindSession(scope) => scope.strip_prefix("session-")?.strip_suffix(".scope"),
            Placement::UserUnit(_) | Placement::SystemUnit(_) | Placement::None => None,
        }
    }

    /// Returns the unit's name, if there is one.
    pub fn unit(&self) -> Option<&str> {
        match self {
            Placement::UserUnit(unit) | Placement::LogindSession(unit) | Placement::SystemUnit(unit) => {
                Some(unit)
            }
            Placement::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_seen_on_real_machines() {
        let user = |unit: &str| Placement::UserUnit(unit.to_owned());
        let cases = [
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-agentkeeper.slice/agent-keeper-tmux-default.scope",
                user("agent-keeper-tmux-default.scope"),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1.scope", user("tmux-spawn-1.scope")),
            (
                "/user.slice/user-1000.slice/session-9.scope",
                Placement::LogindSession("session-9.scope".into()),
            ),
            ("/system.slice/cron.service", Placement::SystemUnit("cron.service".into())),
            ("/user.slice/user-0.slice/user@0.service/init.scope", user("init.scope")),
            ("/user.slice/user-0.slice/user@0.service", Placement::SystemUnit("user@0.service".into())),
            ("/", Placement::None),
            ("/docker/abcdef", Placement::None),
        ];
        for (cgroup, expected) in cases {
            assert_eq!(Placement::of(cgroup), expected, "{cgroup}");
        }
    }
}
