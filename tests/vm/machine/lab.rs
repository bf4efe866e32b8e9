//! The images that machines start from: made by `tests/vm/image.sh`, kept in a cache between runs.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::process;

/// Exit status by which the scripts say "this host cannot do it", as opposed to "it failed".
const EXIT_SKIP: i32 = 77;

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// Debian 13: systemd 257, tmux 3.5a.
    Trixie,
    /// Debian 12: systemd 252, tmux 3.3a.
    Bookworm,
    /// Debian's next release as it is today, which may not even boot: for campaigns only.
    Sid,
}

impl Suite {
    /// The releases that are tried every day.
    const DAILY: [Self; 2] = [Self::Trixie, Self::Bookworm];

    const ALL: [Self; 3] = [Self::Trixie, Self::Bookworm, Self::Sid];

    /// Returns Debian's own name of the release.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Bookworm => "bookworm",
            Self::Sid => "sid",
        }
    }

    /// Returns whether this run is to try the release: those of `AGENT_KEEPER_VM_ONLY`, or the daily ones.
    pub fn is_wanted(self) -> bool {
        std::env::var("AGENT_KEEPER_VM_ONLY")
            .map_or_else(|_| Self::DAILY.contains(&self), |only| only == self.name())
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why this host cannot run virtual machines. To be shown loudly: a tier that did not run proves nothing.
#[derive(Clone, Debug)]
pub struct Skip {
    reason: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Images of the releases that this run tries, ready to start machines from.
#[derive(Clone, Debug)]
pub struct Lab {
    images: HashMap<Suite, PathBuf>,
}

impl Lab {
    /// Builds what is missing (minutes when nothing is cached) and returns the lab, or why there can be none here.
    ///
    /// The work is done once per process; every later call returns the same answer.
    pub fn open() -> Result<Result<Self, Skip>> {
        static LAB: OnceLock<Result<Result<Lab, Skip>, String>> = OnceLock::new();
        LAB.get_or_init(|| Self::build().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!(error))
    }

    /// Returns the folder of a release's image.
    pub fn image(&self, suite: Suite) -> Result<&Path> {
        self.images.get(&suite).map(PathBuf::as_path).with_context(|| format!("{suite} is not wanted"))
    }

    fn build() -> Result<Result<Self, Skip>> {
        let wanted = Suite::ALL.map(|suite| suite.is_wanted().then_some(suite));
        let built = thread::scope(|scope| {
            wanted
                .map(|suite| suite.map(|suite| (suite, scope.spawn(move || build_image(suite)))))
                .map(|thread| thread.map(|(suite, thread)| (suite, thread.join())))
        });
        let mut images = HashMap::new();
        for (suite, image) in built.into_iter().flatten() {
            match image.unwrap_or_else(|_| Err(anyhow!("the builder panicked")))? {
                Ok(image) => images.insert(suite, image),
                Err(skip) => return Ok(Err(skip)),
            };
        }
        Ok(Ok(Self { images }))
    }
}

/// Returns the path of one of the lab's scripts.
pub fn script(name: &str) -> String {
    format!("{}/tests/vm/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn build_image(suite: Suite) -> Result<Result<PathBuf, Skip>> {
    let mut command = process::command(&script("image.sh"));
    command.arg(suite.name()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(command)?;
    let stdout = process::Capture::start(child.stdout.take().context("no stdout pipe")?);
    let stderr = BufReader::new(child.stderr.take().context("no stderr pipe")?);
    let mut last = String::new();
    // Shown as it comes, since a cold build takes minutes; the last message, with what it quotes, is the reason.
    for line in stderr.lines().map_while(Result::ok) {
        super::say(&line);
        if let Some(message) = line.strip_prefix("vm-lab: ") {
            message.clone_into(&mut last);
        } else {
            last.push('\n');
            last.push_str(&line);
        }
    }
    let status = child.wait().context("wait for image.sh")?;
    stdout.wait_complete(Instant::now() + Duration::from_secs(10));
    match status.code() {
        Some(0) => {
            let image = PathBuf::from(stdout.text().trim_end_matches('\n'));
            ensure!(image.is_dir(), "image.sh {suite} names no folder: {}", image.display());
            Ok(Ok(image))
        }
        Some(EXIT_SKIP) => Ok(Err(Skip { reason: last.trim_start_matches("SKIPPED: ").to_owned() })),
        _ => bail!("image.sh {suite}: {status}: {last}"),
    }
}
