//! The environment that the user has after logging in, for a tmux server that nobody starts by hand.
//!
//! A user service gets the bare environment of the service manager: a poor PATH, nothing from
//! `~/.profile`. A server started with it would pass it on to everything that panes run without a login
//! shell. So the login shell is asked what it exports.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a login shell may take to read its start-up files.
const LOGIN_SHELL_MAX: Duration = Duration::from_secs(20);

/// How much a login shell may print, in bytes.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The search path when nothing else is known: login.defs(5) of Debian.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables, by name.
pub type Variables = BTreeMap<OsString, OsString>;

/// What a service manager tells a service about itself (systemd.exec(5), "Environment variables in
/// spawned processes"; sd_notify(3), sd_listen_fds(3)), what a terminal multiplexer tells a pane, and
/// what belongs to one process only. None of it may reach a pane.
const PRIVATE: [&str; 29] = [
    "CREDENTIALS_DIRECTORY",
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "LOGS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "EXIT_CODE",
    "EXIT_STATUS",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "PIDFILE",
    "SERVICE_RESULT",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "TMUX",
    "TMUX_PANE",
    "_",
];

/// The login environment, and whether it could be learned.
#[derive(Debug, Clone)]
pub struct Login {
    /// The variables.
    pub variables: Variables,
    /// The file mode mask that the login shell has.
    pub umask: Option<u32>,
    /// Why these are only the service manager's variables, if they are.
    pub problem: Option<String>,
}

impl Login {
    /// Returns a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// Returns the variables as pairs.
    pub fn pairs(&self) -> Vec<(OsString, OsString)> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Finds a program in the login search path. A name with a slash is taken as it is.
    pub fn find_program(&self, name: &Path) -> PathBuf {
        if name.as_os_str().as_bytes().contains(&b'/') {
            return name.to_owned();
        }
        let path = self.get("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
        find_in_path(name.as_os_str(), path).unwrap_or_else(|| name.to_owned())
    }
}

/// Finds a program by its name in a search path.
pub fn find_in_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| is_program(file))
}

/// Returns whether a file can be executed.
pub fn is_program(file: &Path) -> bool {
    file.is_file() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Returns the variables without those that belong to this process alone, and with those that every
/// login has.
pub fn scrub(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    let private = |name: &OsStr| {
        PRIVATE.iter().any(|word| name == OsStr::new(word)) || name.as_bytes().starts_with(b"AGENT_KEEPER_")
    };
    let mut kept: Variables = variables.into_iter().filter(|(name, _)| !private(name)).collect();
    kept.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
    if let Ok(Some(user)) = User::from_uid(Uid::effective()) {
        let usual: [(&str, OsString); 4] = [
            ("HOME", user.dir.into()),
            ("USER", user.name.clone().into()),
            ("LOGNAME", user.name.into()),
            ("SHELL", user.shell.into()),
        ];
        for (name, value) in usual {
            let entry = kept.entry(name.into()).or_default();
            if entry.is_empty() {
                *entry = value;
            }
        }
    }
    kept
}

/// Asks the user's login shell for its environment. `reporter` is a program that, called with
/// [`REPORT_COMMAND`], prints it. Never fails: without an answer it is this process's own, scrubbed.
pub async fn login(reporter: &Path) -> Login {
    let own = scrub(std::env::vars_os());
    match ask_login_shell(&own, reporter).await {
        Ok((variables, umask)) => Login { variables: scrub(variables), umask: Some(umask), problem: None },
        Err(problem) => Login { variables: own, umask: None, problem: Some(problem) },
    }
}

async fn ask_login_shell(own: &Variables, reporter: &Path) -> Result<(Variables, u32), String> {
    let shell = own.get(OsStr::new("SHELL")).map(PathBuf::from).unwrap_or_default();
    let shell_name = shell.file_name().unwrap_or_default().to_owned();
    if shell_name.is_empty() || ["nologin", "false"].iter().any(|name| shell_name == *name) {
        return Err(format!("the login shell is {}", shell.display()));
    }
    let quoted = shlex::try_quote(reporter.to_str().ok_or("our own path is not text")?)
        .map_err(|error| error.to_string())?
        .into_owned();
    let mut dashed = OsString::from("-");
    dashed.push(&shell_name);
    let mut process = Command::new(&shell);
    process
        .arg0(dashed) // a dash in front makes every shell a login shell, also those without -l
        .arg("-c")
        .arg(format!("{quoted} {REPORT_COMMAND}"))
        .env_clear()
        .envs(own)
        .current_dir(own.get(OsStr::new("HOME")).map_or(Path::new("/"), Path::new))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(LOGIN_SHELL_MAX, process.output())
        .await
        .map_err(|_| format!("{} took more than {} s to start", shell.display(), LOGIN_SHELL_MAX.as_secs()))?
        .map_err(|error| format!("{}: {error}", shell.display()))?;
    parse_report(&output.stdout).ok_or_else(|| format!("{} did not tell its environment", shell.display()))
}

/// The argument that makes `agent-keeper` print its environment for [`login`].
pub const REPORT_COMMAND: &str = "environment";

/// What stands around a report, so that it is found between whatever start-up files print.
const REPORT_BEGIN: &[u8] = b"\0agent-keeper environment\0";
const REPORT_END: &[u8] = b"\0agent-keeper end\0";

/// Prints the environment and the file mode mask of this process.
pub fn report(out: &mut impl io::Write) -> io::Result<()> {
    out.write_all(REPORT_BEGIN)?;
    write!(out, "{:04o}", current_umask())?;
    for (name, value) in std::env::vars_os() {
        out.write_all(b"\0")?;
        out.write_all(name.as_bytes())?;
        out.write_all(b"=")?;
        out.write_all(value.as_bytes())?;
    }
    out.write_all(REPORT_END)?;
    out.flush()
}

/// Reading the mask means setting it (umask(2)); nothing else runs in this process that could make a file
/// in between.
fn current_umask() -> u32 {
    use nix::sys::stat::{Mode, umask};
    let mask = umask(Mode::from_bits_truncate(0o077));
    umask(mask);
    mask.bits()
}

fn parse_report(output: &[u8]) -> Option<(Variables, u32)> {
    let output = &output[..output.len().min(OUTPUT_BYTES_MAX)];
    let begin = find(output, REPORT_BEGIN)? + REPORT_BEGIN.len();
    let body = &output[begin..begin + find(&output[begin..], REPORT_END)?];
    let mut words = body.split(|byte| *byte == 0);
    let umask = u32::from_str_radix(str::from_utf8(words.next()?).ok()?, 8).ok()?;
    let variables = words.filter_map(|word| {
        let equals = word.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (word[..equals].to_vec(), word[equals + 1..].to_vec());
        Some((OsString::from_vec(name), OsString::from_vec(value)))
    });
    Some((variables.collect(), umask))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (OsString::from(*name), OsString::from(*value))).collect()
    }

    #[test]
    fn nothing_of_the_service_is_left_and_the_basics_are_there() {
        let mut own: Vec<_> =
            PRIVATE.iter().map(|name| (OsString::from(*name), OsString::from("x"))).collect();
        own.extend(variables(&[("AGENT_KEEPER_LOG", "debug"), ("LANG", "C.UTF-8"), ("HOME", "/h")]));
        let kept = scrub(own);
        assert!(PRIVATE.iter().all(|name| !kept.contains_key(OsStr::new(name))));
        assert!(!kept.contains_key(OsStr::new("AGENT_KEEPER_LOG")));
        assert_eq!(kept[OsStr::new("LANG")], "C.UTF-8");
        assert_eq!(kept[OsStr::new("HOME")], "/h");
        for name in ["PATH", "USER", "LOGNAME", "SHELL"] {
            assert!(kept.contains_key(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_report_is_found_between_what_start_up_files_print() {
        let mut output = b"Welcome!\n\x1b[31m".to_vec();
        report(&mut output).unwrap();
        output.extend(b"bye\n");
        let (found, umask) = parse_report(&output).unwrap();
        assert_eq!(found.get(OsStr::new("PATH")), std::env::var_os("PATH").as_ref());
        assert!(umask <= 0o777);
        assert!(parse_report(b"Welcome!\n").is_none());
        assert!(parse_report(&output[..output.len() - 20]).is_none());
    }

    #[tokio::test]
    async fn a_login_shell_that_is_none_leaves_the_environment_we_have() {
        let own: Variables = variables(&[("SHELL", "/usr/sbin/nologin")]).into_iter().collect();
        assert!(ask_login_shell(&own, Path::new("/bin/true")).await.unwrap_err().contains("nologin"));
        let own: Variables = variables(&[("SHELL", "/bin/sh"), ("HOME", "/")]).into_iter().collect();
        assert!(ask_login_shell(&own, Path::new("/bin/true")).await.unwrap_err().contains("did not tell"));
    }
}
