//! Options, environments and the marked pane: what is set, not made.

use crate::model::{Options, Pane, PaneId, Session, SessionId, Variable, Window, WindowId};
use crate::restore::held_back;
use crate::tmux::command::Command;

use super::Run;

/// How many bytes of arguments are given to one client; tmux refuses more than 16 KiB (`MAX_IMSGSIZE`).
const BATCH_BYTES_MAX: usize = 12 * 1024;

/// The session option that marks a session which is being made. A keeper that finds it on a session it is not
/// making itself knows that another one was killed over it.
pub const MARK: &str = "@keeper-restoring";

/// Options that our own commands leave behind where the user had not set them.
const OURS_SESSION: [&str; 3] = ["default-size", "renumber-windows", MARK];
/// The option that a pane has to find when it is made: how many lines it remembers.
const EARLY: &str = "history-limit";

/// See [`OURS_SESSION`].
const OURS_WINDOW: [&str; 2] = ["automatic-rename", "window-size"];

/// Returns whether something must be set before a session's first pane is made.
pub(super) fn comes_before_panes(session: &Session) -> bool {
    session.options.contains_key(EARLY) || !session.environment.is_empty()
}

impl Run<'_> {
    /// Runs commands of which each may fail without harm to the others; what fails is noted.
    pub(super) async fn try_all(&mut self, place: &str, commands: Vec<Command>) {
        let mut rest = commands.as_slice();
        while !rest.is_empty() {
            let mut used = 0;
            let many = rest.iter().take_while(|command| {
                used += command.bytes() + 2;
                used <= BATCH_BYTES_MAX
            });
            let (batch, others) = rest.split_at(many.count().max(1));
            rest = others;
            if self.run(batch).await.is_ok() {
                continue;
            }
            // Once more, each alone: they are the kind of commands that can be repeated.
            for command in batch {
                if let Err(error) = self.run(std::slice::from_ref(command)).await {
                    self.problems.push(format!("{place}: {}", crate::cause::in_words(error)));
                }
            }
        }
    }

    /// Gives a new session what its panes have from the start: the environment, and how much they remember.
    /// Windows keep their indexes meanwhile, whatever is killed.
    pub(super) async fn prepare_session(&mut self, id: SessionId, session: &Session) {
        self.made_sessions.insert(id);
        let set = || Command::new("set-option").flag("-t", id);
        let mut commands = vec![set().arg(MARK).arg("1"), set().arg("renumber-windows").arg("off")];
        let limit = session.options.get(EARLY).map(|limit| set().arg(EARLY).arg(limit.as_os_str()));
        commands.extend(limit);
        commands.extend(session.environment.iter().map(|(name, variable)| {
            set_variable(Command::new("set-environment").flag("-t", id), name, variable)
        }));
        self.try_all("environment", commands).await;
    }

    /// Gives a session its options. The last thing that is done to it: this takes the mark away.
    pub(super) async fn finish_session(&mut self, id: SessionId, session: &Session) {
        let commands =
            settings(&session.options, &OURS_SESSION, || Command::new("set-option").flag("-t", id));
        self.try_all("options", commands).await;
    }

    pub(super) fn window_settings(&self, id: WindowId, window: &Window) -> Vec<Command> {
        settings(&window.options, &OURS_WINDOW, || Command::new("set-option").arg("-w").flag("-t", id))
    }

    pub(super) fn pane_settings(&self, id: PaneId, pane: &Pane) -> Vec<Command> {
        settings(&pane.options, &[], || Command::new("set-option").arg("-p").flag("-t", id))
    }
}

/// Returns the commands that make a place have these options, and none of `ours` besides.
fn settings(options: &Options, ours: &[&str], set: impl Fn() -> Command) -> Vec<Command> {
    let stays = |name: &str| options.contains_key(name) && !held_back(name);
    let unset = ours.iter().filter(|name| !stays(name)).map(|name| set().arg("-u").arg(name));
    let wanted = options.iter().filter(|(name, _)| !held_back(name));
    unset
        .chain(wanted.map(|(name, value)| set().arg("--").literal(name.as_bytes()).arg(value.as_os_str())))
        .collect()
}

fn set_variable(set: Command, name: &str, variable: &Variable) -> Command {
    let set = if variable.hidden { set.arg("-h") } else { set };
    match &variable.value {
        Some(value) => set.arg("--").arg(name).arg(value.as_os_str()),
        None => set.arg("-r").arg("--").arg(name),
    }
}
