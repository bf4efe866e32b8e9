//! Values to test with: small, and different wherever they are counted differently.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::incident::{Cause, Confidence, Deed, Finding, Incident, LostPane, Subject, SubjectKind, Verdict};
use super::{
    BootId, GlobalOptions, Options, Pane, PaneId, Process, Program, Reason, Scrollback, Server, ServerId,
    Session, SessionId, Snapshot, Window, WindowId,
};

/// Returns the id of a server's life by its number.
pub(crate) fn life(number: u32) -> ServerId {
    ServerId { pid: number, ..ServerId::default() }
}

/// Returns a server with sessions of these names, which have one window with one pane each.
pub(crate) fn server(number: u32, names: &[&str]) -> Server {
    Server {
        id: life(number),
        version: "3.5a".to_owned(),
        socket: "/tmp/tmux-1000/default".into(),
        sessions: names.iter().zip(0..).map(|(name, id)| session(id, name)).collect(),
        globals: GlobalOptions::default(),
        buffers: Vec::new(),
    }
}

/// Returns a session with one window with one pane; all three have the same number.
pub(crate) fn session(number: u32, name: &str) -> Session {
    Session {
        id: SessionId(number),
        name: name.to_owned(),
        created: 1_700_000_000,
        directory: "/home/ann".into(),
        group: None,
        windows: vec![window(number, 0, vec![pane(number, 0)])],
        active_window: 0,
        last_window: None,
        options: Options::new(),
        environment: BTreeMap::new(),
    }
}

/// Returns a window with these panes, one above the other.
pub(crate) fn window(number: u32, index: u32, panes: Vec<Pane>) -> Window {
    Window {
        id: WindowId(number),
        index,
        name: format!("window {number}"),
        automatic_rename: false,
        width: 80,
        height: 24,
        layout: crate::tmux::layout::sealed(&format!("80x24,0,0,{number}")),
        zoomed: false,
        panes,
        active_pane: 0,
        last_pane: None,
        options: Options::new(),
    }
}

/// Returns a pane with a shell in it.
pub(crate) fn pane(number: u32, index: u32) -> Pane {
    Pane {
        id: PaneId(number),
        index,
        title: format!("pane {number}"),
        directory: "/home/ann/src".into(),
        program: Program::shell(process(&["-bash"]), Vec::new()),
        scrollback: Scrollback::default(),
        options: Options::new(),
        marked: false,
        dead: None,
        start: None,
    }
}

/// Returns a process with these arguments.
pub(crate) fn process(argv: &[&str]) -> Process {
    Process {
        exe: format!("/usr/bin/{}", argv[0].trim_start_matches('-')).as_str().into(),
        argv: argv.iter().map(|word| (*word).into()).collect(),
        directory: "/home/ann/src".into(),
    }
}

/// Returns a snapshot of a server.
pub(crate) fn snapshot(server: Server) -> Snapshot {
    Snapshot {
        taken_at: Timestamp::UNIX_EPOCH,
        reason: Reason::Changed,
        host: "host".to_owned(),
        boot: server.id.boot.clone(),
        keeper_version: "0.1.0".to_owned(),
        closed: None,
        aside: None,
        server,
    }
}

/// Returns the death of a session, of which nothing is known.
pub(crate) fn incident(number: u64, session: &str) -> Incident {
    let pane = LostPane {
        id: PaneId(1),
        place: format!("{session}:0.0"),
        program: "sleep 100".into(),
        shell: false,
    };
    let finding = Finding { cause: Cause::Unknown, confidence: Confidence::None, because: Vec::new() };
    Incident {
        number,
        at: Timestamp::UNIX_EPOCH,
        boot: BootId::default(),
        subject: Subject {
            kind: SubjectKind::Session,
            server: life(1),
            place: session.into(),
            panes: vec![pane],
        },
        evidence: Vec::new(),
        gaps: Vec::new(),
        verdict: Verdict { finding, others: Vec::new() },
        last_seen_in: None,
        deed: Deed::Nothing,
    }
}
