//! Real children, with a real kernel and with one that says what a test wants.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use super::*;
use crate::model::evidence::{About, End, EndWitness, Fact};

/// How long anything may take. Nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long an announcement may take before there are none here.
const ANNOUNCEMENTS_MAX: Duration = Duration::from_secs(5);

/// How many children end in a row.
const MANY: usize = 1000;

struct Lab {
    watch: EndWatch,
    told: Receiver<Sighting>,
    settled: u64,
}

impl Lab {
    fn new(connector: Option<Connector>, proc: Proc) -> Self {
        let (into, told) = channel(1);
        Self { watch: EndWatch::with(connector, proc, into).unwrap(), told, settled: 0 }
    }

    /// A lab without announcements, as before Linux 6.6.
    fn old() -> Self {
        Self::new(None, Proc::default())
    }

    async fn next(&mut self) -> (u32, Fact) {
        let sighting = timeout(DEADLINE, self.told.recv()).await.expect("nothing told").unwrap();
        let About::Process(pid) = sighting.about else { panic!("{sighting:?}") };
        (pid, sighting.fact)
    }

    /// Waits until the thread has read all orders: what is not there is told at once.
    async fn settle(&mut self, followed: &[ProcessId]) {
        self.settled += 1;
        let nobody = ProcessId { pid: u32::MAX, start_ticks: self.settled };
        self.watch.follow(followed.iter().copied().chain([nobody]));
        assert_eq!(self.next().await, (u32::MAX, Fact::EndUnknown));
    }

    /// Asserts that nothing more is told.
    async fn tells_nothing_more(mut self) {
        drop(self.watch);
        assert_eq!(timeout(DEADLINE, self.told.recv()).await.expect("the thread goes on"), None);
    }
}

/// A shell that does this when it is let go, and is a zombie then.
fn shell(script: &str) -> (Child, ProcessId) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("read x; {script}")]).stdin(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let id = id_of(&child);
    (child, id)
}

fn id_of(child: &Child) -> ProcessId {
    // Whoever starts a program may go on before the kernel has told where its stack is, by which we know that we may know
    // all of it.
    let stat = format!("/proc/{}/stat", child.id());
    let life = || super::status::Life::parse(&fs::read(&stat).unwrap()).unwrap();
    while matches!(life(), life if !life.open && life.wait_status.is_none()) {
        std::thread::yield_now();
    }
    ProcessId { pid: child.id(), start_ticks: Proc::default().stat(child.id()).unwrap().start_ticks }
}

fn let_go(child: &mut Child) {
    drop(child.stdin.take());
}

fn ended(end: End) -> Fact {
    Fact::Ended { end, witness: EndWitness::Kernel }
}

const SCRIPTS: [(&str, End); 5] = [
    ("exit 0", End::Exited(0)),
    ("exit 3", End::Exited(3)),
    ("exit 255", End::Exited(255)),
    ("kill -KILL $$", End::Killed(9)),
    ("kill -SEGV $$", End::Killed(11)),
];

#[tokio::test]
async fn before_a_process_is_waited_for_it_is_read_how_it_ended() {
    for (script, end) in SCRIPTS {
        let mut lab = Lab::old();
        let (mut child, id) = shell(script);
        lab.settle(&[id]).await;
        let_go(&mut child);
        assert_eq!(lab.next().await, (id.pid, ended(end)), "{script}");
        child.wait().unwrap();
        lab.tells_nothing_more().await;
    }
}

#[tokio::test]
async fn one_that_has_ended_before_is_told_too() {
    let mut lab = Lab::old();
    let (mut child, id) = shell("exit 3");
    let_go(&mut child);
    while !Proc::default().stat(id.pid).unwrap().ended {
        tokio::task::yield_now().await;
    }
    lab.watch.follow([id]);
    assert_eq!(lab.next().await, (id.pid, ended(End::Exited(3))));
    // And not again, as long as it is asked for.
    lab.settle(&[id]).await;
    child.wait().unwrap();
    lab.tells_nothing_more().await;
}

#[tokio::test]
async fn one_that_is_gone_has_ended_unseen() {
    let mut lab = Lab::old();
    let (mut child, id) = shell("exit 3");
    let_go(&mut child);
    child.wait().unwrap();
    lab.watch.follow([id]);
    assert_eq!(lab.next().await, (id.pid, Fact::EndUnknown));
    lab.watch.follow([id, ProcessId { pid: 0, start_ticks: 0 }]);
    assert_eq!(lab.next().await, (0, Fact::EndUnknown));
    lab.tells_nothing_more().await;
}

#[tokio::test]
async fn another_process_of_the_same_number_is_not_followed() {
    let mut lab = Lab::old();
    let (mut child, id) = shell("exit 3");
    let other = ProcessId { start_ticks: id.start_ticks + 1, ..id };
    lab.watch.follow([other]);
    assert_eq!(lab.next().await, (id.pid, Fact::EndUnknown));
    lab.settle(&[other, id]).await;
    let_go(&mut child);
    assert_eq!(lab.next().await, (id.pid, ended(End::Exited(3))));
    child.wait().unwrap();
    lab.tells_nothing_more().await;
}

#[tokio::test]
async fn one_that_is_not_asked_for_any_more_is_not_told() {
    let mut lab = Lab::old();
    let ((mut one, first), (mut other, second)) = (shell("exit 1"), shell("exit 2"));
    lab.settle(&[first, second]).await;
    lab.settle(&[second]).await;
    let_go(&mut one);
    one.wait().unwrap();
    let_go(&mut other);
    assert_eq!(lab.next().await, (second.pid, ended(End::Exited(2))));
    other.wait().unwrap();
    lab.tells_nothing_more().await;
}

#[tokio::test]
async fn beyond_the_room_nobody_is_followed() {
    let (into, told) = channel(1);
    let orders = Orders::new().unwrap();
    let watcher = Watcher::new(orders.clone(), None, Proc::default(), 1, into).unwrap();
    let ((mut one, first), (mut other, second)) = (shell("exit 1"), shell("exit 1"));
    orders.give(Order::Follow([first, second].into()));
    std::thread::spawn(move || watcher.run());
    let mut lab = Lab { watch: EndWatch { orders }, told, settled: 0 };
    let_go(&mut one);
    let_go(&mut other);
    let (told_first, fact) = lab.next().await;
    assert_eq!(fact, ended(End::Exited(1)));
    // Now there is room for the other one.
    lab.watch.follow([first, second]);
    let (told_second, fact) = lab.next().await;
    assert_eq!(fact, ended(End::Exited(1)));
    assert_ne!(told_first, told_second);
    one.wait().unwrap();
    other.wait().unwrap();
}

/// A kernel of which a test decides what it says.
struct Kernel {
    proc: TempDir,
    connector: UnixDatagram,
}

impl Kernel {
    fn with_lab() -> (Self, Lab) {
        let proc = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let lab = Lab::new(Some(Connector { socket: theirs.into() }), Proc::below(proc.path()));
        (Self { proc, connector: ours }, lab)
    }

    /// Shows a process as it is now, and for ever: how it ends is not to be read.
    fn show(&self, id: ProcessId) {
        let pid = id.pid.to_string();
        fs::create_dir(self.proc.path().join(&pid)).unwrap();
        let stat = fs::read(Path::new("/proc").join(&pid).join("stat")).unwrap();
        fs::write(self.proc.path().join(&pid).join("stat"), stat).unwrap();
    }

    fn announce(&self, pid: u32, status: u32) {
        let words = [0, 0, 0, 0, 1, 1, 0, 0, 40, 0x8000_0000, 0, 0, 0, pid, pid, status, 17, 1, 1];
        let message: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        self.connector.send(&message).unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_announced() {
    for (script, end) in SCRIPTS {
        let (kernel, mut lab) = Kernel::with_lab();
        let (mut child, id) = shell(script);
        kernel.show(id);
        lab.settle(&[id]).await;
        // Of somebody else, and of a main thread that ends before the others.
        kernel.announce(1, 9);
        kernel.announce(id.pid, 0x0700);
        lab.settle(&[]).await;
        lab.settle(&[id]).await;
        let_go(&mut child);
        child.wait().unwrap();
        let status = match end {
            End::Exited(status) => u32::from(status) << 8,
            End::Killed(signal) => signal.into(),
        };
        kernel.announce(id.pid, status);
        assert_eq!(lab.next().await, (id.pid, ended(end)), "{script}");
        lab.tells_nothing_more().await;
    }
}

#[tokio::test]
async fn what_is_not_announced_is_not_waited_for_for_ever() {
    for announces in [false, true] {
        let (kernel, mut lab) = Kernel::with_lab();
        let (mut child, id) = shell("exit 3");
        kernel.show(id);
        if announces {
            kernel.announce(1, 9);
        }
        lab.settle(&[id]).await;
        let_go(&mut child);
        child.wait().unwrap();
        assert_eq!(lab.next().await, (id.pid, Fact::EndUnknown));
        lab.tells_nothing_more().await;
    }
}

/// Starts children in groups, which end at once and are waited for at once, as by tmux. Returns of how many it was
/// told how they ended.
async fn many_children(mut lab: Lab, at_once: usize, settle: bool) -> usize {
    let mut ids = Vec::new();
    let mut missing = Vec::new();
    let mut known = 0;
    for _ in 0..MANY / at_once {
        let mut group: Vec<Child> = Vec::new();
        for _ in 0..at_once {
            let (script, end) = SCRIPTS[ids.len() % SCRIPTS.len()];
            let (child, id) = shell(script);
            ids.push(id);
            missing.push((id.pid, end));
            group.push(child);
        }
        lab.watch.follow(ids.iter().copied());
        if settle {
            lab.settle(&ids).await;
        }
        std::thread::spawn(move || {
            group.iter_mut().for_each(let_go);
            assert!(group.iter_mut().all(|child| child.wait().is_ok()));
        });
        while settle && !missing.is_empty() {
            known += usize::from(found(&mut missing, lab.next().await));
        }
    }
    while !missing.is_empty() {
        known += usize::from(found(&mut missing, lab.next().await));
    }
    lab.tells_nothing_more().await;
    known
}

/// Finds and removes what was told, which is right or says that it is not known; returns whether it is.
fn found(missing: &mut Vec<(u32, End)>, (pid, fact): (u32, Fact)) -> bool {
    let at = missing.iter().position(|(missing, _)| *missing == pid).expect("told twice");
    let (_, end) = missing.swap_remove(at);
    assert!([ended(end), Fact::EndUnknown].contains(&fact), "{fact:?} and not {end:?}");
    fact == ended(end)
}

#[tokio::test]
async fn of_many_quick_children_each_is_told_once() {
    let known = many_children(Lab::old(), 1, false).await;
    println!("without announcements it was seen of {known} of {MANY} how they ended");
}

#[tokio::test]
async fn with_announcements_it_is_known_how_each_ended() {
    let Some(connector) = Connector::listen().filter(announces) else {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: the kernel announces no ends here: old, or a container");
        return;
    };
    let mut lab = Lab::new(Some(connector), Proc::default());
    // The thread has not heard of any yet.
    let (mut child, id) = shell("exit 0");
    lab.settle(&[id]).await;
    let_go(&mut child);
    lab.next().await;
    child.wait().unwrap();
    assert_eq!(many_children(lab, 50, true).await, MANY);
}

/// Whether the kernel's announcements come here.
fn announces(connector: &Connector) -> bool {
    let (mut child, id) = shell("exit 3");
    let_go(&mut child);
    child.wait().unwrap();
    let until = std::time::Instant::now() + ANNOUNCEMENTS_MAX;
    std::iter::repeat_with(|| connector.announced())
        .take_while(|_| std::time::Instant::now() < until)
        .flatten()
        .any(|exit| exit == (id.pid, 0x0300))
}
