//! A snapshot to hold a drill with where none has been taken yet: small, with something of everything that a
//! restore brings back.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{
    ByteString, GlobalOptions, Options, Pane, PaneId, Process, Program, Reason, Scrollback, Server, ServerId,
    Session, SessionId, Snapshot, Variable, Window, WindowId,
};
use crate::store::{StoreError, Writer};
use crate::tmux::layout::sealed;

/// Returns the snapshot, and puts its text into a store.
pub fn sample(writer: &Writer) -> Result<Snapshot, StoreError> {
    // The colour ends within the line: where it ends with the line, tmux says so at the start of the next.
    let text: String = (1..=200).map(|n| format!("line {n} \x1b[3{}mof\x1b[39m a sample\n", n % 8)).collect();
    let split = split_window(writer.put_text(text.as_bytes())?);
    let linked = plain_window(1, 7, 3);
    let grouped = |id, name: &str, active_window| Session {
        group: Some("sample".to_owned()),
        active_window,
        ..session(id, name, vec![split.clone(), linked.clone()])
    };
    let mut first = grouped(0, "sample", 3);
    first.options.insert("status-left".to_owned(), "#{session_name} #(name) ".into());
    first.options.insert("@sample".to_owned(), "a \"b\" $c".into());
    first.environment.insert("SAMPLE".to_owned(), variable(Some("$(x) #(y)"), false));
    first.environment.insert("SAMPLE_HIDDEN".to_owned(), variable(Some("1"), true));
    first.environment.insert("SAMPLE_GONE".to_owned(), variable(None, false));
    let elsewhere =
        session(2, "sample-elsewhere", vec![plain_window(2, 0, 4), Window { index: 2, ..linked.clone() }]);
    let sessions = vec![first, grouped(1, "sample-grouped", 7), elsewhere];
    Ok(Snapshot {
        taken_at: Timestamp::now(),
        reason: Reason::Asked,
        host: "sample".to_owned(),
        boot: Default::default(),
        keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
        closed: None,
        aside: None,
        server: Server {
            id: ServerId::default(),
            version: "3.3a".to_owned(),
            socket: "/none".into(),
            sessions,
            globals: GlobalOptions::default(),
            buffers: Vec::new(),
        },
    })
}

fn session(id: u32, name: &str, windows: Vec<Window>) -> Session {
    Session {
        id: SessionId(id),
        name: name.to_owned(),
        created: 0,
        directory: "/usr".into(),
        group: None,
        active_window: windows[0].index,
        windows,
        last_window: None,
        options: Options::new(),
        environment: BTreeMap::new(),
    }
}

/// A window of three panes, zoomed, with options of its own.
fn split_window(text: Scrollback) -> Window {
    let job = Program::shell(process(&["-sh"]), vec![process(&["sleep", "1000 s", "$(x)"])]);
    let mut panes = vec![
        Pane { scrollback: text, ..pane(0, 0, "/") },
        Pane { program: job, marked: true, ..pane(1, 1, "/tmp") },
        pane(2, 2, "/usr"),
    ];
    panes[1].options.insert("remain-on-exit".to_owned(), "on".into());
    let mut window = Window {
        name: "a #{sample} #(name)".to_owned(),
        layout: sealed("100x30,0,0{50x30,0,0,0,49x30,51,0[49x15,51,0,1,49x14,51,16,2]}"),
        zoomed: true,
        panes,
        active_pane: 1,
        last_pane: Some(0),
        ..plain_window(0, 3, 0)
    };
    window.options.insert("main-pane-width".to_owned(), "50".into());
    window
}

fn plain_window(id: u32, index: u32, pane_id: u32) -> Window {
    Window {
        id: WindowId(id),
        index,
        name: format!("window {id}"),
        automatic_rename: false,
        width: 100,
        height: 30,
        layout: sealed(&format!("100x30,0,0,{pane_id}")),
        zoomed: false,
        panes: vec![pane(pane_id, 0, "/")],
        active_pane: 0,
        last_pane: None,
        options: [("automatic-rename".to_owned(), "off".into())].into(),
    }
}

fn pane(id: u32, index: u32, directory: &str) -> Pane {
    Pane {
        id: PaneId(id),
        index,
        title: format!("pane {id}"),
        directory: directory.into(),
        program: Program::shell(process(&["-sh"]), Vec::new()),
        scrollback: Scrollback::default(),
        options: Options::new(),
        marked: false,
        dead: None,
        start: None,
    }
}

fn process(argv: &[&str]) -> Process {
    Process {
        exe: format!("/bin/{}", argv[0].trim_start_matches('-')).as_str().into(),
        argv: argv.iter().map(|word| ByteString::from(*word)).collect(),
        directory: "/".into(),
    }
}

fn variable(value: Option<&str>, hidden: bool) -> Variable {
    Variable { value: value.map(ByteString::from), hidden }
}
