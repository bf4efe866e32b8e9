//! Deaths, told to everybody who shall hear of them, by the real daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent_keeper::bulletin::journal::{CLOSED, DIED};
use agent_keeper::dbus::{BUS_NAME, OBJECT_PATH};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, Proxy};

use support::{
    DEADLINE, Keeper, PrivateTmux, alive, can_mount, eventually, has_program, signal, skip, text, until,
};

/// What the signal has.
type Died = (u64, String, String, String, String, String, HashMap<String, OwnedVariant>);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Opens these sessions, which are saved; there is something secret in the arguments of what runs in them.
fn open_sessions(keeper: &Keeper, names: &[&str]) {
    for name in names {
        let secret = "token=hunter2hunter2hunter2";
        keeper.tmux.run(&["new-session", "-d", "-s", name, "tail", "-f", "/dev/null", secret]);
    }
    keeper.saved_sessions(names);
}

/// Has what runs in a session fail.
fn crash_session(keeper: &Keeper, name: &str) {
    let pid = keeper.tmux.run(&["display-message", "-p", "-t", name, "#{pane_pid}"]);
    signal(pid.parse().unwrap(), "SEGV");
}

async fn next_died(stream: &mut MessageStream) -> Died {
    let message = timeout(DEADLINE, stream.next()).await.expect("a signal in time").unwrap().unwrap();
    message.body().deserialize().unwrap()
}

fn detail<T: TryFrom<OwnedVariant>>(died: &Died, name: &str) -> Option<T> {
    died.6.get(name)?.try_clone().ok()?.try_into().ok()
}

#[test]
fn a_peer_on_the_socket_hears_of_a_session_that_was_closed() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    open_sessions(&keeper, &["web", "api"]);
    let socket = keeper.path("run/agent-keeper/bus");
    let died = runtime().block_on(async {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap().into_std().unwrap();
        let peer = Builder::unix_stream(stream).p2p().build().await.unwrap();
        let mut signals = MessageStream::from(&peer);
        // Once it answers it has subscribed us.
        let proxy = Proxy::new(&peer, BUS_NAME, OBJECT_PATH, BUS_NAME).await.unwrap();
        let _: String = proxy.get_property("Version").await.unwrap();
        keeper.tmux.run(&["kill-session", "-t", "web"]);
        loop {
            let message =
                timeout(DEADLINE, signals.next()).await.expect("a signal in time").unwrap().unwrap();
            if message.header().member().is_some_and(|member| member == "Died") {
                assert_eq!(message.header().interface().unwrap(), BUS_NAME);
                break message.body().deserialize::<Died>().unwrap();
            }
        }
    });
    let (number, subject, place, cause, confidence, sentence, _) = &died;
    assert_eq!((*number, subject.as_str(), place.as_str()), (1, "session", "web"));
    assert_eq!(cause, "closed-by-user");
    assert!(["likely", "certain"].contains(&confidence.as_str()), "{confidence}");
    assert!(sentence.starts_with("session web: "), "{sentence}");
    assert_eq!(detail::<bool>(&died, "unwanted"), Some(false));
    assert_eq!(detail::<String>(&died, "deed"), Some("nothing".to_owned()));
    assert_eq!(detail::<u32>(&died, "server_pid"), keeper.tmux.server_pid());
    assert!(detail::<i64>(&died, "at") > Some(1_600_000_000_000_000));
    let programs: Vec<String> = detail(&died, "programs").unwrap();
    assert!(programs[0].starts_with("tail -f") && programs[0].contains("token="), "{programs:?}");
    assert!(!programs[0].contains("hunter2"), "{programs:?}");
}

#[test]
fn a_command_is_run_for_what_nobody_wanted_and_holds_nobody_up() {
    let mut keeper = Keeper::prepare();
    let out = keeper.path("out");
    let script = format!(
        "echo \"$AGENT_KEEPER_PLACE $AGENT_KEEPER_CAUSE $AGENT_KEEPER_NUMBER $AGENT_KEEPER_SENTENCE\" >>{0}; \
         cat >>{0}; echo said to the log; echo $$ >{0}.pid; exec sleep 100000",
        out.display()
    );
    let command = serde_json::to_string(&["sh", "-c", &script]).unwrap();
    keeper.configure(&format!("[snapshot]\ninterval = \"200ms\"\n[notify]\ncommand = {command}\n"));
    keeper.start_watching();
    open_sessions(&keeper, &["web", "api", "db"]);
    keeper.tmux.run(&["kill-session", "-t", "db"]);
    // A death that is not looked into yet when its server ends is not told by itself.
    until("the first death to be told", || keeper.ctl_json(&["why", "--last"])["incident"]["number"] == 1);
    let server = keeper.tmux.kill_server_hard();
    let told = eventually("the command to be run", || {
        fs::read_to_string(&out).ok().filter(|told| told.ends_with("}\n"))
    });
    let (line, document) = told.split_once('\n').unwrap();
    let place = keeper.tmux.socket.display().to_string();
    assert!(line.starts_with(&format!("{place} server-killed 2 the tmux server on {place}: ")), "{line}");
    let document: Value = serde_json::from_str(document).unwrap();
    assert_eq!(document["incident"]["subject"]["server"]["pid"], server);
    assert_eq!(document["incident"]["number"], 2, "what its user closed is no news");
    assert!(!told.contains("hunter2"), "{told}");
    // It still runs.
    until("all to be back", || keeper.tmux.sessions() == ["api", "web"]);
    assert_eq!(keeper.state(), "watching");
    let number = document["incident"]["number"].to_string();
    assert_eq!(keeper.ctl_json(&["why", &number])["sentence"], document["sentence"]);
    // Nobody waits for it when the keeper ends either.
    assert!(keeper.stop_daemon("TERM").success());
    let pid = fs::read_to_string(out.with_extension("pid")).unwrap();
    let pid = pid.trim().parse().unwrap();
    if alive(pid) {
        signal(pid, "KILL");
    }
}

/// A message bus of the test's own.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start(dir: &Path) -> Self {
        let config = dir.join("bus.conf");
        let listen = dir.join("bus");
        let policy =
            "<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>";
        let content = format!(
            "<busconfig><listen>unix:path={}</listen><policy context=\"default\">{policy}</policy></busconfig>",
            listen.display()
        );
        fs::write(&config, content).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--config-file").arg(&config).args(["--nofork", "--print-address"]);
        let mut daemon = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().to_owned() }
    }

    async fn connect(&self) -> Connection {
        Builder::address(self.address.as_str()).build().await.unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Stands in for what a desktop has to show notifications.
struct Desktop(mpsc::UnboundedSender<(String, String)>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desktop {
    async fn get_capabilities(&self) -> Vec<String> {
        vec!["body".into(), "body-markup".into()]
    }

    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    async fn notify(
        &self,
        _app_name: String,
        _replaces_id: u32,
        _app_icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        _hints: HashMap<String, OwnedVariant>,
        _expire_timeout: i32,
    ) -> u32 {
        self.0.send((summary, body)).unwrap();
        1
    }
}

#[test]
fn the_bus_and_the_desktop_are_told() {
    if !has_program("dbus-daemon") {
        return skip("notifications on the desktop", "there is no dbus-daemon here");
    }
    let mut keeper = Keeper::prepare_quick();
    let bus = Bus::start(keeper.dir.path());
    keeper.set("DBUS_SESSION_BUS_ADDRESS", &bus.address);
    let runtime = runtime();
    let (shown, mut notifications) = mpsc::unbounded_channel();
    let (_desktop, mut signals) = runtime.block_on(async {
        let desktop = Builder::address(bus.address.as_str());
        let desktop = desktop.serve_at("/org/freedesktop/Notifications", Desktop(shown));
        let desktop = desktop.name("org.freedesktop.Notifications").build().await.unwrap();
        let listener = bus.connect().await;
        let rule = MatchRule::builder().interface(BUS_NAME).member("Died").build().unwrap();
        (desktop, MessageStream::for_match_rule(rule.to_owned(), &listener, None).await.unwrap())
    });
    keeper.start_watching();
    keeper.tmux.run(&["set-option", "-g", "remain-on-exit", "on"]);
    open_sessions(&keeper, &["a<b", "c"]);
    crash_session(&keeper, "a<b");
    crash_session(&keeper, "c");
    let told = runtime.block_on(async { [next_died(&mut signals).await, next_died(&mut signals).await] });
    let mut places = told.each_ref().map(|died| died.2.as_str());
    places.sort_unstable();
    assert_eq!(places, ["a<b:0.0", "c:0.0"]);
    assert_eq!(told[0].3, "program-killed");
    let next = async { timeout(DEADLINE, notifications.recv()).await };
    let (summary, body) = runtime.block_on(next).expect("a notification in time").unwrap();
    // Both die in one look or in two, and both in one burst.
    assert_eq!(summary, "tmux: 2 things died", "{body}");
    assert!(body.contains("pane a&lt;b:0.0: ") && body.ends_with("keeperctl why --all"), "{body}");
    keeper.stop_daemon("TERM");
    assert!(notifications.try_recv().is_err(), "one notification for a burst");
}

/// Returns the fields of an entry in journald's native form, as far as they are text
/// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
fn fields(mut datagram: &[u8]) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let line = text(&datagram[..end]);
        datagram = &datagram[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let length = u64::from_le_bytes(datagram[..8].try_into().unwrap()) as usize;
        fields.insert(line, text(&datagram[8..8 + length]));
        datagram = &datagram[8 + length + 1..];
    }
    fields
}

#[test]
fn the_journal_gets_fields_of_our_own_and_an_id_that_its_catalog_explains() {
    if !can_mount() {
        return skip("entries of the journal", "nothing can be mounted here");
    }
    let mut keeper = Keeper::prepare_quick();
    let dir = keeper.path("journal");
    fs::create_dir(&dir).unwrap();
    let journal = UnixDatagram::bind(dir.join("socket")).unwrap();
    let (into, entries) = std::sync::mpsc::channel();
    // Whoever writes waits for whoever reads.
    std::thread::spawn(move || {
        let mut room = vec![0; 256 * 1024];
        while let Ok(length) = journal.recv(&mut room) {
            let entry = fields(&room[..length]);
            if entry.contains_key("MESSAGE_ID") && into.send(entry).is_err() {
                return;
            }
        }
    });
    // journald's place is fixed (sd-journal(3)); and standard error is its stream if this says so.
    keeper.mount(format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind {} /run/systemd/journal && \
         export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)",
        dir.display()
    ));
    keeper.start_watching();
    open_sessions(&keeper, &["web", "api"]);
    keeper.tmux.run(&["kill-session", "-t", "api"]);
    let closed = entries.recv_timeout(DEADLINE).unwrap();
    keeper.tmux.kill_server_hard();
    let told = [closed, entries.recv_timeout(DEADLINE).unwrap()];
    let place = keeper.tmux.socket.display().to_string();
    for (fields, expected) in told.iter().zip([
        [
            ("MESSAGE_ID", CLOSED),
            ("PRIORITY", "5"),
            ("AGENT_KEEPER_CAUSE", "closed-by-user"),
            ("AGENT_KEEPER_PLACE", "api"),
        ],
        [
            ("MESSAGE_ID", DIED),
            ("PRIORITY", "4"),
            ("AGENT_KEEPER_CAUSE", "server-killed"),
            ("AGENT_KEEPER_PLACE", &place),
        ],
    ]) {
        for (name, value) in expected {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}: {fields:?}");
        }
        assert_eq!(fields["SYSLOG_IDENTIFIER"], "agent-keeper");
        for name in ["MESSAGE", "AGENT_KEEPER_NUMBER", "AGENT_KEEPER_CONFIDENCE", "AGENT_KEEPER_DEED"] {
            assert!(fields.contains_key(name), "{name}: {fields:?}");
        }
        assert!(fields["AGENT_KEEPER_PROGRAMS"].starts_with("tail -f"), "{fields:?}");
        assert!(!format!("{fields:?}").contains("hunter2"), "{fields:?}");
    }
}

/// A terminal: a pane of a tmux server of its own, in which a command runs.
fn terminal(keeper: &Keeper, name: &str, command: &[&str]) -> PrivateTmux {
    let terminal = PrivateTmux::at(keeper.path(name));
    terminal.start(&[&["-x", "100", "-y", "20"], command].concat());
    terminal
}

/// Returns a terminal in which somebody attaches to a session. Not every system knows the terminal that newer versions
/// say they are.
fn attach(keeper: &Keeper, name: &str, session: &str) -> PrivateTmux {
    let (tmux, socket) = (support::tmux_program(), keeper.tmux.socket.display().to_string());
    let tmux = tmux.display().to_string();
    terminal(
        keeper,
        name,
        &["env", "-u", "TMUX", "TERM=screen", &tmux, "-S", &socket, "attach", "-t", session],
    )
}

/// Waits until a terminal shows a session.
fn shows(terminal: &PrivateTmux, session: &str) {
    until("the session to be shown", || terminal.text_of(":").contains(&format!("[{session}]")));
}

fn told(keeper: &Keeper) -> usize {
    keeper.log().matches("told what was restored").count()
}

/// Has the keeper look at the server as it is now.
#[track_caller]
fn look(keeper: &Keeper) {
    let output = keeper.ctl(&["snapshot", "take"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_first_person_who_attaches_after_a_restore_is_told_once() {
    let mut keeper = Keeper::prepare();
    let program = support::tmux_program();
    keeper.configure(&format!("[snapshot]\ninterval = \"200ms\"\n[tmux]\nprogram = {program:?}\n"));
    keeper.start_watching();
    open_sessions(&keeper, &["web", "api"]);
    // Whoever attaches before anything has died is told nothing.
    let before = attach(&keeper, "before", "api");
    shows(&before, "api");
    look(&keeper);
    keeper.tmux.kill_server_hard();
    until("all to be back", || keeper.tmux.sessions() == ["api", "web"]);
    until("the death to be known", || !keeper.ctl_json(&["why"])["incident"].is_null());
    keeper.saved_sessions(&["web", "api"]);
    drop(before);

    // A program that uses control mode is nobody.
    let mut program = keeper.tmux.command();
    let mut program = program
        .args(["-C", "attach", "-t", "web"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("it to be attached", || !keeper.tmux.run(&["list-clients"]).is_empty());
    look(&keeper);
    look(&keeper);
    assert_eq!(told(&keeper), 0);
    if keeper.tmux.run(&["-V"]).contains(" 3.2") {
        // It cannot be told whom a message is for.
        program.kill().unwrap();
        until("the program to be gone", || keeper.tmux.run(&["list-clients"]).is_empty());
    }

    let options = ["-s", "-g", "-gw"].map(|scope| keeper.tmux.run(&["show-options", scope]));
    let person = attach(&keeper, "person", "web");
    eventually("the line to be shown", || {
        let screen = person.text_of(":");
        let line = screen.lines().find(|line| line.contains("keeperctl why"))?.to_owned();
        assert!(line.contains("tmux was killed, "), "{line}");
        assert!(line.contains("; 2 sessions are back. More: keeperctl why"), "{line}");
        Some(())
    });
    assert_eq!(["-s", "-g", "-gw"].map(|scope| keeper.tmux.run(&["show-options", scope])), options);
    let another = attach(&keeper, "another", "api");
    shows(&another, "api");
    look(&keeper);
    look(&keeper);
    assert_eq!(told(&keeper), 1);
    assert!(!another.text_of(":").contains("keeperctl"));
    let _ = program.kill();
    program.wait().unwrap();
}

#[test]
fn the_timeline_knows_which_servers_there_were() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    open_sessions(&keeper, &["web"]);
    let first = keeper.tmux.server_pid().unwrap();
    keeper.stop_daemon("TERM");
    keeper.start_watching();
    keeper.tmux.kill_server_hard();
    until("a server to be back", || keeper.tmux.sessions() == ["web"]);
    let second = keeper.tmux.server_pid().unwrap();
    let servers = eventually("both servers", || {
        let timeline = keeper.ctl_json(&["timeline"]);
        let rows = timeline["happened"].as_array().unwrap().clone();
        let rows = rows.into_iter().filter(|row| row["kind"] == "server");
        let texts: Vec<String> = rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect();
        texts.last()?.contains(&format!("(pid {second})")).then_some(texts)
    });
    assert_eq!(servers.len(), 2, "{servers:?}");
    assert!(servers[0].contains(&format!("(pid {first})")), "{servers:?}");
}
