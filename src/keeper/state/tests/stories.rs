//! Each story: what happens and when, and what the keeper does about it.

use super::*;

use jiff::Timestamp;

use crate::keeper::event::Inquiry;
use crate::model::BootId;
use crate::model::evidence::Fact;

/// A second, what happens, and what is done about it.
pub(super) type Line = (u64, Event, &'static str);

pub(super) struct Story {
    title: &'static str,
    policy: Policy,
    head: Option<Snapshot>,
    lines: Vec<Line>,
}

impl Story {
    /// A story that begins with a keeper which has saved nothing yet.
    pub(super) fn new(title: &'static str, lines: Vec<Line>) -> Self {
        Self { title, policy: POLICY, head: None, lines }
    }

    /// The machine has booted since this was saved.
    pub(super) fn after(self, head: Snapshot) -> Self {
        self.resuming(of_last_boot(head))
    }

    /// Another keeper has saved this.
    pub(super) fn resuming(mut self, head: Snapshot) -> Self {
        self.head = Some(head);
        self
    }

    fn with(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Tells what happens, and returns the first thing that is not done as told.
    pub(super) fn play(self) -> Result<State, String> {
        let head = self.head.map(|head| (1, Arc::new(head)));
        let mut state = State::new(self.policy, head);
        for (at, (second, event, expected)) in self.lines.into_iter().enumerate() {
            let done = told(&step(&mut state, second, event, &[]));
            if done != expected {
                return Err(format!("{}: line {at}: {expected:?} is told, {done:?} is done", self.title));
            }
        }
        Ok(state)
    }
}

/// Tells a keeper what happens. What it asks of deaths is answered at once: nothing is known but these facts.
pub(super) fn step(state: &mut State, second: u64, event: Event, facts: &[Fact]) -> Vec<Action> {
    let mut done = Vec::new();
    for action in state.step(Duration::from_secs(second), event) {
        let Action::Inquire(deaths) = action else {
            done.push(action);
            continue;
        };
        let noticed = Timestamp::from_second(second.cast_signed()).unwrap();
        let evidence: Vec<_> = facts.iter().cloned().map(Fact::undated).collect();
        let inquiry = |death| Inquiry {
            death,
            noticed,
            evidence: evidence.clone(),
            gaps: Vec::new(),
            memory_watched: false,
        };
        let inquiries = deaths.into_iter().map(inquiry).collect();
        done.extend(step(state, second, Event::Inquired(inquiries, Vec::new()), facts));
    }
    done
}

pub(super) fn sees(number: u32, names: &[&str]) -> Event {
    Event::Looked(Look::Server(observation(sample::server(number, names), 0)))
}

pub(super) fn nothing() -> Event {
    Event::Looked(Look::NoServer)
}

pub(super) fn orderly(number: u32) -> Event {
    Event::ServerEnded(sample::life(number), Ending::Orderly)
}

pub(super) fn lost(number: u32) -> Event {
    Event::ServerEnded(sample::life(number), Ending::Lost)
}

pub(super) fn snapshot(number: u32, names: &[&str]) -> Snapshot {
    sample::snapshot(sample::server(number, names))
}

/// The same, and the machine has booted since.
pub(super) fn of_last_boot(mut snapshot: Snapshot) -> Snapshot {
    snapshot.server.id.boot = BootId("before".to_owned());
    snapshot
}

/// A snapshot that says that everything was closed.
fn closed(number: u32, how: Closed) -> Snapshot {
    Snapshot { reason: Reason::Closed, closed: Some(how), ..snapshot(number, &[]) }
}

/// The text of each pane was read: one line for each, 100 times the life of its server and its number.
pub(super) fn saved(generation: Generation, snapshot: Snapshot) -> Event {
    let text = |pane| Text {
        pane,
        mark: OutputMark::default(),
        scrollback: Scrollback {
            lines: u64::from(100 * snapshot.server.id.pid + pane.0),
            chunks: Vec::new(),
        },
    };
    let texts = snapshot.server.panes().map(|(_, _, pane)| text(pane.id)).collect();
    Event::Saved(Ok(Saved { head: Some((generation, Arc::new(snapshot))), texts }))
}

pub(super) fn restored(names: &[&str]) -> Event {
    let sessions = names.iter().map(|name| ((*name).to_owned(), Outcome::Restored)).collect();
    Event::Restored(1, Report { sessions, ..Report::default() })
}

/// Server 1 with these sessions is seen and saved as generation 2, within the first second.
fn watching(names: &[&str]) -> Vec<Line> {
    let save = match names {
        ["a"] => "await end of 1, save changed a",
        ["a", "b"] => "await end of 1, save changed a b",
        ["a", "b", "c", "d"] => "await end of 1, save changed a b c d",
        _ => unreachable!("no story begins with {names:?}"),
    };
    vec![(0, Event::Tick, "look"), (0, sees(1, names), save), (0, saved(2, snapshot(1, names)), "")]
}

/// A story that begins with a server that is watched and saved.
pub(super) fn story(title: &'static str, names: &[&str], then: Vec<Line>) -> Story {
    Story::new(title, [watching(names), then].concat())
}

fn server_stories() -> Vec<Story> {
    vec![
        Story::new(
            "no server: one is started, and nothing is made of nothing",
            vec![
                (0, Event::Tick, "look"),
                (0, nothing(), "found"),
                (1, Event::Tick, ""),
                (1, Event::Founded(Ok(())), "look"),
                (1, sees(1, &[]), "await end of 1"),
                (2, Event::Tick, "look"),
                (2, sees(1, &[]), ""),
            ],
        ),
        Story::new("no server, and none wanted", vec![(0, Event::Tick, "look"), (0, nothing(), "")])
            .with(Policy { found: false, ..POLICY }),
        Story::new(
            "after a reboot everything comes back, once, and is saved",
            vec![
                (0, Event::Tick, "look"),
                (0, nothing(), "found"),
                (1, Event::Founded(Ok(())), "look"),
                (1, sees(2, &[]), "await end of 2, restore a+b"),
                (2, Event::Tick, ""),
                (3, restored(&["a", "b"]), "look"),
                (3, sees(2, &["a", "b"]), "save restored a b"),
                (3, saved(2, snapshot(2, &["a", "b"])), ""),
                (4, Event::Tick, "look"),
                (4, sees(2, &["a", "b"]), ""),
            ],
        )
        .after(snapshot(1, &["a", "b"])),
        Story::new(
            "what the user has started meanwhile stays",
            vec![(0, Event::Tick, "look"), (0, sees(2, &["b", "new"]), "await end of 2, restore a")],
        )
        .after(snapshot(1, &["a", "b"])),
        Story::new(
            "restoring unasked is switched off; what there was still counts for a while",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(2, &["new"]), "await end of 2, save changed (restoring) new"),
            ],
        )
        .with(Policy { restore: false, ..POLICY })
        .after(snapshot(1, &["a"])),
        Story::new(
            "a restart of the keeper restores nothing",
            vec![(0, Event::Tick, "look"), (0, sees(1, &["a"]), "await end of 1")],
        )
        .resuming(snapshot(1, &["a"])),
        Story::new(
            "what was closed while the keeper was away stays closed",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(1, &["a"]), "await end of 1"),
                (2, Event::Tick, "look"),
                (2, sees(1, &["a"]), "ask"),
                (2, Event::GoingDown(false), "save changed a"),
            ],
        )
        .resuming(snapshot(1, &["a", "b"])),
        Story::new(
            "all had been closed before",
            vec![(0, Event::Tick, "look"), (0, sees(2, &[]), "await end of 2")],
        )
        .after(closed(1, Closed::Server)),
        story(
            "a killed server is started again and gets everything back",
            &["a", "b"],
            vec![
                (5, lost(1), "ask"),
                (5, Event::GoingDown(false), "look"),
                (5, nothing(), "found"),
                (5, Event::Founded(Ok(())), "look"),
                (5, sees(2, &[]), "await end of 2, restore a+b"),
            ],
        ),
        story(
            "a server that is gone and nobody knows how is lost",
            &["a"],
            vec![
                (1, Event::Tick, "look"),
                (1, nothing(), ""),
                (2, Event::Tick, "look"),
                (2, nothing(), ""),
                (8, Event::Tick, "look"),
                (8, nothing(), ""),
                (9, Event::Tick, "look"),
                (9, nothing(), "ask"),
                (9, Event::GoingDown(false), "look"),
            ],
        ),
        story(
            "a server whose socket is gone is left alone",
            &["a"],
            vec![
                (1, Event::Tick, "look"),
                (1, Event::Looked(Look::Orphan { pid: 1 }), "signal 1"),
                (2, Event::Tick, "look"),
                (2, sees(1, &["a"]), ""),
            ],
        ),
        story(
            "a server that cannot be looked at is not gone",
            &["a"],
            vec![
                (1, Event::Tick, "look"),
                (1, Event::Looked(Look::Failed("too slow".to_owned())), ""),
                (2, Event::Tick, "look"),
                (3, Event::Tick, ""),
            ],
        ),
        story(
            "an end that is told twice, or of another server, is no end",
            &["a"],
            vec![(1, lost(7), ""), (1, orderly(7), ""), (2, Event::Tick, "look")],
        ),
    ]
}

fn closing_stories() -> Vec<Story> {
    vec![
        story(
            "kill-server: saved as closed, and nothing comes back",
            &["a"],
            vec![
                (5, orderly(1), ""),
                (6, Event::Tick, ""),
                (7, Event::Tick, "ask"),
                (7, Event::GoingDown(false), "save closed, look"),
                (7, nothing(), "found"),
                (7, saved(3, closed(1, Closed::Server)), ""),
                (8, Event::Founded(Ok(())), "look"),
                (8, sees(2, &[]), "await end of 2"),
            ],
        ),
        story(
            "kill-server, and the file that says so cannot be written",
            &["a"],
            vec![
                (5, orderly(1), ""),
                (7, Event::Tick, "ask"),
                (7, Event::GoingDown(false), "save closed, look"),
                (7, Event::Saved(Err("disk full".to_owned())), ""),
                (7, sees(2, &["new"]), "await end of 2, save changed new"),
            ],
        ),
        story(
            "kill-server and tmux at once: what the user closed stays closed",
            &["a"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(2, &["new"]), ""),
                (5, orderly(1), ""),
                (7, Event::Tick, "ask"),
                (7, Event::GoingDown(false), "save closed, look"),
                (7, saved(3, closed(1, Closed::Server)), ""),
                (7, sees(2, &["new"]), "await end of 2, save changed new"),
            ],
        ),
        story(
            "kill-server and tmux at once, seen after the end",
            &["a"],
            vec![
                (5, Event::Tick, "look"),
                (5, orderly(1), ""),
                (5, sees(2, &["new"]), ""),
                (7, Event::Tick, "ask"),
                (7, Event::GoingDown(false), "save closed, look"),
            ],
        ),
        story(
            "another server has taken the place of one that never ends",
            &["a"],
            vec![
                (1, Event::Tick, "look"),
                (1, sees(2, &["new"]), ""),
                (8, Event::Tick, "look"),
                (8, sees(2, &["new"]), ""),
                (9, Event::Tick, "look"),
                (9, sees(2, &["new"]), "ask"),
                (9, Event::GoingDown(false), "look"),
                (9, sees(2, &["new"]), "await end of 2, restore a"),
            ],
        ),
        story(
            "a server that takes its time to say goodbye",
            &["a"],
            vec![
                (1, Event::Tick, "look"),
                (1, nothing(), ""),
                (9, Event::Tick, "look"),
                (9, nothing(), "ask"),
                (9, orderly(1), ""),
                (9, Event::GoingDown(false), ""),
                (11, Event::Tick, "ask"),
                (11, Event::GoingDown(false), "save closed, look"),
            ],
        ),
        story(
            "a closed session is closed once it has been gone for a while",
            &["a", "b"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &["a"]), ""),
                (6, Event::Tick, "look"),
                (6, sees(1, &["a"]), ""),
                (7, Event::Tick, "look"),
                (7, sees(1, &["a"]), "ask"),
                (7, Event::GoingDown(false), "save changed a"),
            ],
        ),
        story(
            "a session that is back at once was never closed",
            &["a", "b"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &["a"]), ""),
                (6, Event::Tick, "look"),
                (6, sees(1, &["a", "b"]), ""),
                (9, Event::Tick, "look"),
                (9, sees(1, &["a"]), ""),
            ],
        ),
        story(
            "the last session was closed, and then the server is lost",
            &["a"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &[]), ""),
                (7, Event::Tick, "look"),
                (7, sees(1, &[]), "ask"),
                (7, Event::GoingDown(false), "save closed"),
                (7, saved(3, closed(1, Closed::LastSession)), ""),
                (9, lost(1), "ask"),
                (9, Event::GoingDown(false), "look"),
                (9, sees(2, &[]), "await end of 2"),
            ],
        ),
        story(
            "work that began after the last session was closed comes back",
            &["a"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &[]), ""),
                (7, Event::Tick, "look"),
                (7, sees(1, &[]), "ask"),
                (7, Event::GoingDown(false), "save closed"),
                (7, saved(3, closed(1, Closed::LastSession)), ""),
                (8, Event::Tick, "look"),
                (8, sees(1, &["a", "b"]), "save changed a b"),
                (8, saved(4, snapshot(1, &["a", "b"])), ""),
                (9, lost(1), "ask"),
                (9, Event::GoingDown(false), "look"),
                (9, sees(2, &[]), "await end of 2, restore a+b"),
            ],
        ),
    ]
}

fn shutdown_stories() -> Vec<Story> {
    vec![
        story(
            "sessions vanish because everything goes down",
            &["a", "b"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &["a"]), ""),
                (7, Event::Tick, "look"),
                (7, sees(1, &["a"]), "ask"),
                (7, Event::GoingDown(true), ""),
                (8, Event::Tick, ""),
                (8, lost(1), ""),
                (37, Event::Tick, "ask"),
                (37, Event::GoingDown(true), ""),
                (67, Event::Tick, "ask"),
                (67, Event::GoingDown(false), "hold, look"),
                (67, nothing(), "found"),
                (68, Event::Founded(Ok(())), "look"),
                (68, sees(2, &[]), "await end of 2"),
                (70, Event::Tick, "look"),
                (70, sees(2, &[]), "restore a+b"),
            ],
        ),
        story(
            "the server ends because everything goes down",
            &["a"],
            vec![
                (5, orderly(1), ""),
                (7, Event::Tick, "ask"),
                (7, Event::GoingDown(true), ""),
                (7, Event::Terminate, "exit"),
            ],
        ),
        story(
            "a shutdown that waits for us: a last snapshot, then nothing",
            &["a"],
            vec![
                (5, Event::ShutdownBegins { held: true }, "look"),
                (5, sees(1, &["a", "b"]), "save stopping a b"),
                (5, saved(3, snapshot(1, &["a", "b"])), "release"),
                (6, Event::Tick, ""),
                (6, orderly(1), ""),
                (6, Event::Asked(9, Asked::Snapshot), "refuse 9"),
                (9, Event::Terminate, "exit"),
            ],
        ),
        story(
            "a shutdown that waits for us: what was closed just before is closed",
            &["a", "b"],
            vec![(5, Event::ShutdownBegins { held: true }, "look"), (5, sees(1, &["a"]), "save stopping a")],
        ),
        story(
            "a shutdown that does not wait: what is gone has gone down",
            &["a", "b"],
            vec![(5, Event::ShutdownBegins { held: false }, "look"), (5, sees(1, &["a"]), "release")],
        ),
        story(
            "a shutdown that is called off",
            &["a"],
            vec![
                (5, Event::ShutdownBegins { held: true }, "look"),
                (5, sees(1, &["a"]), "save stopping a"),
                (5, saved(3, snapshot(1, &["a"])), "release"),
                (6, Event::ShutdownCancelled, "hold, look"),
                (6, sees(1, &["a", "b"]), "save changed a b"),
            ],
        ),
        story(
            "a shutdown in the middle of a doubt, and the answer comes late",
            &["a"],
            vec![
                (5, orderly(1), ""),
                (7, Event::Tick, "ask"),
                (7, Event::ShutdownBegins { held: true }, ""),
                (15, Event::Tick, "release"),
                (16, Event::GoingDown(false), ""),
                (17, Event::Tick, ""),
            ],
        ),
        Story::new(
            "a shutdown while a server is being started, called off",
            vec![
                (0, Event::Tick, "look"),
                (0, nothing(), "found"),
                (1, Event::ShutdownBegins { held: true }, "release"),
                (1, Event::ShutdownCancelled, "hold, look"),
                (1, nothing(), ""),
                (2, Event::Founded(Ok(())), ""),
                (3, Event::Tick, "look"),
                (3, nothing(), "found"),
            ],
        ),
        story(
            "told to end: a last snapshot",
            &["a"],
            vec![
                (5, Event::Terminate, "ask"),
                (5, Event::GoingDown(false), "look"),
                (5, sees(1, &["a", "b"]), "save stopping a b"),
                (5, saved(3, snapshot(1, &["a", "b"])), "exit"),
            ],
        ),
        story(
            "told to end by a shutdown: what is gone has gone down",
            &["a", "b"],
            vec![
                (5, Event::Terminate, "ask"),
                (5, Event::GoingDown(true), "look"),
                (5, sees(1, &["a"]), "exit"),
            ],
        ),
        story(
            "told to end, and nothing answers",
            &["a"],
            vec![(5, Event::Terminate, "ask"), (12, Event::Tick, ""), (13, Event::Tick, "exit")],
        ),
        story(
            "told to end before it is known what another server lacks",
            &["a"],
            vec![
                (5, Event::Tick, "look"),
                (5, Event::Terminate, "ask"),
                (5, Event::GoingDown(false), ""),
                (5, sees(2, &["new"]), "await end of 2, exit"),
            ],
        ),
        Story::new(
            "told to end in the middle of a restore: its end is waited for",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(2, &[]), "await end of 2, restore a"),
                (1, Event::Terminate, "ask"),
                (1, Event::GoingDown(false), ""),
                (30, Event::Tick, ""),
                (30, restored(&["a"]), "look"),
                (31, Event::Tick, ""),
                (31, sees(2, &["a"]), "save stopping a"),
            ],
        )
        .after(snapshot(1, &["a"])),
        Story::new(
            "told to end in the middle of a restore that does not end",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(2, &[]), "await end of 2, restore a"),
                (1, Event::Terminate, "ask"),
                (1, Event::GoingDown(false), ""),
                (53, Event::Tick, ""),
                (54, Event::Tick, "exit"),
            ],
        )
        .after(snapshot(1, &["a"])),
        Story::new(
            "what goes down between a restore and its first save is not given up",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(2, &["b"]), "await end of 2, restore a"),
                (1, restored(&["a"]), "look"),
                (1, sees(2, &["a"]), ""),
                (3, Event::Tick, "look"),
                (3, sees(2, &[]), "ask"),
                (3, Event::GoingDown(true), ""),
            ],
        )
        .after(snapshot(1, &["a", "b"])),
        Story::new(
            "the next server waits for the end of a restore into the last one",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(2, &[]), "await end of 2, restore a"),
                (1, lost(2), "ask"),
                (1, Event::GoingDown(false), "look"),
                (1, nothing(), ""),
                (2, half_restored(), ""),
                (2, Event::Tick, "look"),
                (2, nothing(), "found"),
            ],
        )
        .after(snapshot(1, &["a"])),
        Story::new(
            "a restore that a shutdown cuts short is not saved",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(2, &[]), "await end of 2, restore a+b"),
                (1, Event::ShutdownBegins { held: true }, ""),
                (2, half_restored(), "look"),
                (2, sees(2, &["a"]), "release"),
            ],
        )
        .after(snapshot(1, &["a", "b"])),
    ]
}

/// `a` came back and `b` did not.
fn half_restored() -> Event {
    let failed = Outcome::Failed("no server".to_owned());
    let sessions = vec![("a".to_owned(), Outcome::Restored), ("b".to_owned(), failed)];
    Event::Restored(1, Report { sessions, ..Report::default() })
}

fn ask_to_restore(token: Token, snapshot: Snapshot, sessions: &[&str]) -> Event {
    let sessions = sessions.iter().map(ToString::to_string).collect();
    let selection = Selection { sessions, by_hand: true, ..Selection::default() };
    Event::Asked(token, Asked::Restore { generation: 1, snapshot: Arc::new(snapshot), selection })
}

fn request_stories() -> Vec<Story> {
    vec![
        story(
            "a snapshot is asked for",
            &["a"],
            vec![
                (1, Event::Asked(7, Asked::Snapshot), "look"),
                (1, sees(1, &["a"]), "save asked a"),
                (1, saved(3, snapshot(1, &["a"])), "tell 7 snapshot 3"),
            ],
        ),
        story(
            "a snapshot is asked for while it is asked whether what is gone was closed",
            &["a", "b"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &["a"]), ""),
                (7, Event::Tick, "look"),
                (7, sees(1, &["a"]), "ask"),
                (7, Event::Asked(7, Asked::Snapshot), ""),
                (7, Event::GoingDown(false), "save changed a"),
                (7, saved(3, snapshot(1, &["a"])), ""),
                (8, Event::Tick, "look"),
                (8, sees(1, &["a"]), "save asked a"),
                (8, saved(4, snapshot(1, &["a"])), "tell 7 snapshot 4"),
            ],
        ),
        story(
            "a restore is asked for at such a time",
            &["a", "b"],
            vec![
                (5, Event::Tick, "look"),
                (5, sees(1, &["a"]), ""),
                (7, Event::Tick, "look"),
                (7, sees(1, &["a"]), "ask"),
                (7, ask_to_restore(7, snapshot(1, &["x", "y", "z"]), &["y"]), ""),
                (7, Event::GoingDown(false), "save changed a"),
                (8, Event::Tick, "look"),
                (8, sees(1, &["a"]), ""),
                (8, saved(3, snapshot(1, &["a"])), ""),
                (9, Event::Tick, "look"),
                (9, sees(1, &["a"]), "restore y"),
            ],
        ),
        story(
            "two ask at once, and then the server ends",
            &["a"],
            vec![
                (1, Event::Asked(7, Asked::Snapshot), "look"),
                (1, Event::Asked(8, Asked::Snapshot), "refuse 7"),
                (1, lost(1), "ask"),
                (1, Event::GoingDown(false), "refuse 8"),
            ],
        ),
        story(
            "a snapshot that cannot be written",
            &["a"],
            vec![
                (1, Event::Asked(7, Asked::Snapshot), "look"),
                (1, sees(1, &["a"]), "save asked a"),
                (1, Event::Saved(Err("disk full".to_owned())), "refuse 7"),
            ],
        ),
        Story::new(
            "a snapshot of nothing",
            vec![
                (0, Event::Tick, "look"),
                (0, sees(1, &[]), "await end of 1"),
                (1, Event::Asked(7, Asked::Snapshot), "look"),
                (1, sees(1, &[]), "refuse 7"),
            ],
        ),
        story(
            "a restore of what is there",
            &["a"],
            vec![
                (1, ask_to_restore(7, snapshot(1, &["a"]), &[]), "look"),
                (1, sees(1, &["a"]), "tell 7 restored"),
            ],
        ),
        story(
            "a restore of what was closed a moment before it was asked for",
            &["a", "b"],
            vec![
                (1, Event::Tick, "look"),
                (1, ask_to_restore(7, snapshot(1, &["a", "b"]), &["b"]), ""),
                (1, sees(1, &["a", "b"]), "look"),
                (1, sees(1, &["a"]), "restore b"),
            ],
        ),
        story(
            "a restore is asked for, and the server is gone",
            &["a"],
            vec![
                (1, ask_to_restore(7, snapshot(1, &["a", "b"]), &["b"]), "look"),
                (1, nothing(), "refuse 7"),
            ],
        ),
        story(
            "a restore of what was closed, and nothing is saved meanwhile",
            &["a"],
            vec![
                (1, ask_to_restore(7, snapshot(1, &["x", "y", "z"]), &["y"]), "look"),
                (1, sees(1, &["a"]), "restore y"),
                (1, ask_to_restore(8, snapshot(1, &["x", "y", "z"]), &["x"]), "refuse 8"),
                (2, Event::Asked(9, Asked::Snapshot), "refuse 9"),
                (3, Event::Tick, ""),
                (3, restored(&["y"]), "tell 7 restored, look"),
                (3, sees(1, &["a", "y"]), "save restored a y"),
            ],
        ),
        story(
            "a restore of what never was",
            &["a"],
            vec![
                (1, ask_to_restore(7, snapshot(1, &["x"]), &["y"]), "look"),
                (1, sees(1, &["a"]), "tell 7 unknown"),
            ],
        ),
    ]
}

#[test]
fn every_story_ends_as_told() {
    let stories = [server_stories(), closing_stories(), shutdown_stories(), request_stories()];
    let wrong: Vec<String> = stories.into_iter().flatten().filter_map(|story| story.play().err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(super) fn problem(state: &State) -> &str {
    state.published.problem.as_deref().unwrap_or_default()
}

#[test]
fn a_server_that_keeps_ending_is_started_five_times_a_minute() {
    let mut state = State::new(POLICY, None);
    let mut foundings = Vec::new();
    for second in 0..130 {
        let now = Duration::from_secs(second);
        state.step(now, Event::Tick);
        if told(&state.step(now, nothing())) == "found" {
            foundings.push(second);
            state.step(now, Event::Founded(Ok(())));
        }
        assert_eq!(problem(&state).contains("5 times within 60 s"), second >= 5, "{second}");
    }
    assert_eq!(foundings, [0, 1, 2, 3, 4, 60, 61, 62, 63, 64, 120, 121, 122, 123, 124]);
}

#[test]
fn why_no_server_can_be_started_stays_said() {
    let mut state = State::new(POLICY, None);
    for second in 0..10 {
        let now = Duration::from_secs(second);
        state.step(now, Event::Tick);
        if told(&state.step(now, nothing())) == "found" {
            state.step(now, Event::Founded(Err("no tmux".to_owned())));
        }
        assert_eq!(problem(&state), "no tmux");
    }
}

#[test]
fn that_snapshots_fail_stays_said_until_one_succeeds() {
    let mut state = story("", &["a"], Vec::new()).play().unwrap();
    let lines = [
        (1, Event::Tick, ""),
        (1, sees(1, &["a", "b"]), ""),
        (1, Event::Saved(Err("disk full".to_owned())), "the last snapshot failed: disk full"),
        (2, Event::Tick, "the last snapshot failed: disk full"),
        (2, sees(1, &["a", "b"]), "the last snapshot failed: disk full"),
        (2, saved(3, snapshot(1, &["a", "b"])), ""),
    ];
    for (second, event, expected) in lines {
        state.step(Duration::from_secs(second), event);
        assert_eq!(problem(&state), expected);
    }
}

#[test]
fn what_did_not_come_back_is_said_with_the_command_that_tries_again() {
    let lines = vec![
        (0, Event::Tick, "look"),
        (0, sees(2, &[]), "await end of 2, restore a+b"),
        (1, half_restored(), "look"),
    ];
    let state = Story::new("", lines).after(snapshot(1, &["a", "b"])).play().unwrap();
    assert_eq!(problem(&state), "not all of snapshot 1 came back: b; try: keeperctl restore 1");
}

#[test]
fn texts_that_arrive_late_are_not_those_of_the_next_server() {
    let lines = vec![
        (0, Event::Tick, "look"),
        (0, sees(1, &["a"]), "await end of 1, save changed a"),
        (1, lost(1), "ask"),
        (1, Event::GoingDown(false), "look"),
        (1, sees(2, &["new"]), "await end of 2"),
        (1, saved(2, snapshot(1, &["a"])), ""),
    ];
    let state = Story::new("", lines).play().unwrap();
    assert!(state.texts.is_empty(), "{:?}", state.texts);
}

#[test]
fn no_text_is_kept_once_none_is_wanted() {
    let with_text = |mut server: Server| {
        server.panes_mut().for_each(|pane| pane.scrollback.lines = 7);
        server
    };
    for (scrollback, lines) in [(true, 7), (false, 0)] {
        let head = sample::snapshot(with_text(sample::server(1, &["a"])));
        let mut state = State::new(Policy { scrollback, ..POLICY }, Some((1, Arc::new(head))));
        state.step(Duration::ZERO, Event::Tick);
        let seen = observation(with_text(sample::server(1, &["a", "b"])), 0);
        let actions = state.step(Duration::ZERO, Event::Looked(Look::Server(seen)));
        let mut jobs = actions.iter().filter_map(|action| match action {
            Action::Save(job) => Some(job),
            _ => None,
        });
        let saved = jobs.next().expect("a save");
        let kept: Vec<u64> = saved.server.panes().map(|(_, _, pane)| pane.scrollback.lines).collect();
        assert_eq!(kept, [lines; 2]);
    }
}
