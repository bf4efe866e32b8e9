//! Translates method calls into requests to the keeper, and its answers back. Decides nothing.
#![expect(
    clippy::too_many_arguments,
    reason = "of a signal; each is something that listeners match on or show"
)]

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use zbus::object_server::SignalEmitter;
use zbus::{OwnedVariant, Variant, interface};

use crate::bulletin::Bulletin;
use crate::cause::in_words;
use crate::keeper::{Answer, Asked, Summary};
use crate::model::{Generation, Snapshot};
use crate::restore::execute::{Outcome, Report};
use crate::restore::plan::{Selection, SelectionError, Skip};
use crate::store::carry::{CarryError, Whole};
use crate::store::{StoreError, Writer};

use super::OBJECT_PATH;

/// Something that somebody asks the keeper, and where the answer goes.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub asked: Asked,
    /// Who waits.
    pub reply: oneshot::Sender<Answer>,
}

/// One row of the answer to `Restore`: the session, one word for what became of it, and why.
pub type RestoreRow = (String, String, String);

/// Errors as they go over the bus.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.agentkeeper.Keeper1.Error")]
pub enum KeeperError {
    /// An error of D-Bus itself.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// Not now, or not at all.
    Refused(String),
    /// There is no such generation, or it cannot be used.
    NoGeneration(String),
    /// The generation has no such session.
    UnknownSession(String),
    /// The generation has no such window, or several.
    UnknownWindow(String),
    /// A session cannot get this name.
    BadName(String),
    /// An option that is not known, or of another type.
    BadOption(String),
}

/// The object that is served.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// Where requests go.
    pub requests: mpsc::Sender<Request>,
    /// How things stand.
    pub summary: watch::Receiver<Summary>,
    /// Where generations are read, and where is written what concerns nobody but the store.
    pub writer: Arc<Writer>,
    /// What died, as it is told.
    pub bulletins: broadcast::Sender<Arc<Bulletin>>,
    /// The socket that is watched.
    pub socket: String,
}

impl Keeper {
    async fn ask(&self, asked: Asked) -> Result<Answer, KeeperError> {
        let gone = || KeeperError::Refused("the keeper is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { asked, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    async fn load(&self, generation: Generation) -> Result<(Generation, Arc<Snapshot>), KeeperError> {
        let writer = self.writer.clone();
        let load = move || -> Result<_, StoreError> {
            let generation = match generation {
                0 => writer.store().newest_restorable()?.good.map(|(newest, _)| newest),
                _ => Some(generation),
            };
            generation.map(|generation| Ok((generation, writer.protect(generation)?))).transpose()
        };
        let loaded = tokio::task::spawn_blocking(load)
            .await
            .map_err(|error| KeeperError::Refused(error.to_string()))?;
        let found = loaded.map_err(|error| KeeperError::NoGeneration(in_words(error)))?;
        let nothing = || KeeperError::NoGeneration("there is no snapshot to restore from yet".to_owned());
        found.map(|(generation, snapshot)| (generation, Arc::new(snapshot))).ok_or_else(nothing)
    }

    /// Does something to the store without holding up anybody else.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Writer) -> Result<T, CarryError> + Send + 'static,
    ) -> Result<T, KeeperError> {
        let writer = self.writer.clone();
        let done = tokio::task::spawn_blocking(move || work(&writer)).await;
        match done.map_err(|error| KeeperError::Refused(error.to_string()))? {
            Ok(result) => Ok(result),
            Err(CarryError::Store(error @ (StoreError::NoGeneration { .. } | StoreError::Flaw { .. }))) => {
                Err(KeeperError::NoGeneration(in_words(error)))
            }
            Err(error) => Err(KeeperError::Refused(in_words(error))),
        }
    }
}

impl Keeper {
    async fn restore_what(
        &self,
        generation: Generation,
        selection: Selection,
    ) -> Result<Vec<RestoreRow>, KeeperError> {
        let (generation, snapshot) = self.load(generation).await?;
        match self.ask(Asked::Restore { generation, snapshot, selection }).await? {
            Answer::Restored(report, skips) => Ok(restore_rows(report, skips)),
            other => Err(refusal(other)),
        }
    }
}

#[interface(name = "org.agentkeeper.Keeper1")]
impl Keeper {
    /// Takes a snapshot now and returns its number. Returns when the snapshot is on the disk.
    ///
    /// Errors: Error.Refused when there is nothing to save, when it could not be written, and while
    /// the keeper is restoring or about to end.
    #[zbus(out_args("generation"))]
    async fn take_snapshot(&self) -> Result<u64, KeeperError> {
        match self.ask(Asked::Snapshot).await? {
            Answer::Snapshot(generation) => Ok(generation),
            other => Err(refusal(other)),
        }
    }

    /// Brings back sessions of a snapshot: of this number, or with 0 of the newest that has any. Without names
    /// all of its sessions are meant. What is alive is never touched. Returns when all is there.
    ///
    /// Each row is a session's name, what became of it ("restored", "partly", "failed" or "skipped") and
    /// the reason in words. For "restored" that is nothing, or what is not as it was, such as options that are
    /// not set because the snapshot came from a file.
    ///
    /// Errors: Error.NoGeneration when there is no such snapshot or it cannot be read,
    /// Error.UnknownSession when it holds no session of a name, Error.Refused while the keeper is
    /// restoring or about to end.
    #[zbus(out_args("rows"))]
    async fn restore(&self, generation: u64, sessions: Vec<String>) -> Result<Vec<RestoreRow>, KeeperError> {
        self.restore_what(generation, Selection { sessions, by_hand: true, ..Selection::default() }).await
    }

    /// Like Restore, for windows as well as for sessions, and under another name. Each option may be left out:
    ///
    /// "sessions" (as): only these sessions.
    ///
    /// "windows" (as): only these windows; "session:index", "session:name", or an index or a name that is looked
    /// for in the given sessions, or in all. A window of a session that lives is added to it, at its index or,
    /// if that is taken, at the next one that is free and was no other window's.
    ///
    /// "name" (s): the name that the one session gets instead of its own; it is made even if the one of its
    /// old name lives.
    ///
    /// Errors: as for Restore, and Error.UnknownWindow when a window is not there or can be several,
    /// Error.BadName when the name is taken, is not for exactly one session or would be changed by tmux,
    /// Error.BadOption when an option is not one of these or has another type.
    #[zbus(out_args("rows"))]
    async fn restore_selected(
        &self,
        generation: u64,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<Vec<RestoreRow>, KeeperError> {
        self.restore_what(generation, selection(options)?).await
    }

    /// Reads an export ("keeperctl snapshot export") from a plain file and saves it as a new snapshot, from
    /// which no restore starts unasked, and returns its number. Either all of it is there then, or nothing.
    ///
    /// Errors: Error.Refused when it is no plain file, is not a whole export, or could not be written.
    #[zbus(out_args("generation"))]
    async fn import(&self, file: zbus::OwnedFd) -> Result<u64, KeeperError> {
        let file = File::from(std::os::fd::OwnedFd::from(file));
        // A pipe could keep us waiting for ever.
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(KeeperError::Refused("only a plain file can be imported".to_owned()));
        }
        let imported = self.write(move |writer| writer.import(Whole::check(&file)?)).await?;
        let generation = imported.generation;
        tracing::info!(generation, host = imported.snapshot.host, "imported a snapshot");
        Ok(generation)
    }

    /// Keeps a snapshot until it is unpinned, whatever else is cleaned up. The note is for people; without
    /// one an earlier note stays.
    ///
    /// Errors: Error.NoGeneration when there is no such snapshot or it cannot be read, Error.Refused when it
    /// could not be written.
    async fn pin(&self, generation: u64, note: String) -> Result<(), KeeperError> {
        self.write(move |writer| Ok(writer.pin(generation, &note)?)).await
    }

    /// Lets a pinned snapshot go the way of the others, and returns whether it was pinned.
    ///
    /// Errors: Error.Refused when it could not be written.
    #[zbus(out_args("was_pinned"))]
    async fn unpin(&self, generation: u64) -> Result<bool, KeeperError> {
        self.write(move |writer| Ok(writer.unpin(generation)?)).await
    }

    /// Removes snapshots, all of these or none.
    ///
    /// Errors: Error.NoGeneration when one is not there, Error.Refused when one is pinned, is the one that a
    /// restore would start from, is being restored or was written by a newer keeper, and when it could not be
    /// removed.
    async fn remove(&self, generations: Vec<u64>) -> Result<(), KeeperError> {
        tracing::info!(?generations, "asked to remove snapshots");
        self.write(move |writer| Ok(writer.remove(&generations)?)).await
    }

    /// Something in tmux has died or was closed, and this is why.
    ///
    /// The number is that of "keeperctl why NUMBER"; 0 when it could not be written down. The subject is "server",
    /// "session", "window", "pane", "child" or "client", and the place is where it was, as a tmux target; for a server
    /// the path of its socket, for a client its terminal. The cause is one word, such as "oom-kill" or
    /// "closed-by-user"; the confidence is "none", "possible", "likely" or "certain"; the sentence is for people.
    ///
    /// The details, of which there may be more in later versions: "at" (x), when it happened, in microseconds since
    /// 1970 (UTC); "unwanted" (b), whether it was not its user's wish; "deed" (s), what the keeper does about it, such
    /// as "restore" or "nothing"; "programs" (as), what ran there, at most 20; "server_pid" (u). What looks like a
    /// credential is covered.
    #[zbus(signal)]
    async fn died(
        emitter: &SignalEmitter<'_>,
        number: u64,
        subject: &str,
        place: &str,
        cause: &str,
        confidence: &str,
        sentence: &str,
        details: HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<()>;

    /// The version of the keeper that runs, like "0.1.0".
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// The process id of the keeper.
    #[zbus(property(emits_changed_signal = "const"), name = "ProcessID")]
    fn process_id(&self) -> u32 {
        std::process::id()
    }

    /// The path of the tmux socket that is watched.
    #[zbus(property(emits_changed_signal = "const"))]
    fn socket(&self) -> &str {
        &self.socket
    }

    /// What the keeper is doing: "watching", "restoring" or other words for people.
    #[zbus(property)]
    fn state(&self) -> String {
        self.summary.borrow().state.to_owned()
    }

    /// What is wrong, in words; empty when nothing is.
    #[zbus(property)]
    fn problem(&self) -> String {
        self.summary.borrow().problem.clone().unwrap_or_default()
    }

    /// The process id of the tmux server; 0 when there is none.
    #[zbus(property, name = "ServerPID")]
    fn server_pid(&self) -> u32 {
        self.summary.borrow().server.unwrap_or_default()
    }

    /// The number of the newest snapshot that is not kept aside (imported, shrunk or half restored); 0 when there
    /// is none.
    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.summary.borrow().head.map_or(0, |(generation, _)| generation)
    }

    /// When that snapshot was taken, in microseconds since 1970 (UTC); 0 when there is none.
    #[zbus(property, name = "GenerationUSec")]
    fn generation_usec(&self) -> u64 {
        let taken = self.summary.borrow().head.map_or(0, |(_, taken_at)| taken_at.as_microsecond());
        taken.try_into().unwrap_or_default()
    }
}

/// Tells a connection of every change and every death, until the keeper or the connection ends.
pub async fn announce(
    connection: zbus::Connection,
    summary: watch::Receiver<Summary>,
    bulletins: broadcast::Receiver<Arc<Bulletin>>,
) -> zbus::Result<()> {
    tokio::select! {
        result = announce_changes(&connection, summary) => result,
        result = announce_deaths(&connection, bulletins) => result,
    }
}

async fn announce_deaths(
    connection: &zbus::Connection,
    mut bulletins: broadcast::Receiver<Arc<Bulletin>>,
) -> zbus::Result<()> {
    let object = connection.object_server().interface::<_, Keeper>(OBJECT_PATH).await?;
    loop {
        match bulletins.recv().await {
            Ok(bulletin) => announce_death(object.signal_emitter(), &bulletin).await?,
            // Whoever reads so slowly finds them in the history.
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "a listener is too slow");
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

async fn announce_death(to: &SignalEmitter<'_>, bulletin: &Bulletin) -> zbus::Result<()> {
    let incident = &bulletin.incident;
    let details = HashMap::from([
        ("at", Variant::from(incident.at.as_microsecond())),
        ("unwanted", Variant::from(bulletin.unwanted)),
        ("deed", Variant::from(bulletin.deed())),
        ("programs", Variant::from(bulletin.programs())),
        ("server_pid", Variant::from(incident.subject.server.pid)),
    ]);
    let (subject, confidence) = (bulletin.subject(), bulletin.confidence());
    let (place, cause, sentence) = (bulletin.place(), bulletin.cause(), &bulletin.sentence);
    Keeper::died(to, incident.number, &subject, place, cause, &confidence, sentence, details).await
}

async fn announce_changes(
    connection: &zbus::Connection,
    mut summary: watch::Receiver<Summary>,
) -> zbus::Result<()> {
    let object = connection.object_server().interface::<_, Keeper>(OBJECT_PATH).await?;
    let mut before = summary.borrow_and_update().clone();
    while summary.changed().await.is_ok() {
        let now = summary.borrow_and_update().clone();
        let (keeper, to) = (object.get().await, object.signal_emitter());
        if now.state != before.state {
            keeper.state_changed(to).await?;
        }
        if now.problem != before.problem {
            keeper.problem_changed(to).await?;
        }
        if now.server != before.server {
            keeper.server_p_i_d_changed(to).await?;
        }
        if now.head != before.head {
            keeper.generation_changed(to).await?;
            keeper.generation_u_sec_changed(to).await?;
        }
        before = now;
    }
    Ok(())
}

/// The options of `RestoreSelected`.
fn selection(options: HashMap<String, OwnedVariant>) -> Result<Selection, KeeperError> {
    let mut selection = Selection { by_hand: true, ..Selection::default() };
    for (key, value) in options {
        let wrong =
            |expected| KeeperError::BadOption(format!("the option {key:?} is not of type {expected}"));
        match key.as_str() {
            "sessions" => selection.sessions = value.try_into().map_err(|_| wrong("as"))?,
            "windows" => selection.windows = value.try_into().map_err(|_| wrong("as"))?,
            "name" => selection.rename = Some(value.try_into().map_err(|_| wrong("s"))?),
            _ => return Err(KeeperError::BadOption(format!("there is no option {key:?}"))),
        }
    }
    Ok(selection)
}

fn restore_rows(report: Report, skips: Vec<Skip>) -> Vec<RestoreRow> {
    let Report { sessions, mut notes } = report;
    let made = sessions.into_iter().map(|(session, outcome)| {
        let at = notes.iter().position(|(of, _)| *of == session);
        let note = at.map(|at| notes.swap_remove(at).1);
        restore_row(session, outcome, note.unwrap_or_default())
    });
    let made: Vec<RestoreRow> = made.collect();
    let skipped = skips.into_iter().map(|skip| (skip.session, "skipped".to_owned(), skip.why.sentence()));
    made.into_iter().chain(skipped).collect()
}

fn restore_row(session: String, outcome: Outcome, note: String) -> RestoreRow {
    match outcome {
        Outcome::Restored => (session, "restored".to_owned(), note),
        Outcome::Partly(mut problems) => {
            problems.extend(Some(note).filter(|note| !note.is_empty()));
            (session, "partly".to_owned(), problems.join("; "))
        }
        Outcome::Failed(why) => (session, "failed".to_owned(), why),
    }
}

fn refusal(answer: Answer) -> KeeperError {
    match answer {
        Answer::Unknown(error) => {
            let sentence = error.to_string();
            match error {
                SelectionError::UnknownSession { .. } => KeeperError::UnknownSession(sentence),
                SelectionError::UnknownWindow { .. } | SelectionError::AmbiguousWindow { .. } => {
                    KeeperError::UnknownWindow(sentence)
                }
                SelectionError::OneNameForMany { .. }
                | SelectionError::BadName { .. }
                | SelectionError::NameTaken { .. } => KeeperError::BadName(sentence),
            }
        }
        Answer::Refused(why) => KeeperError::Refused(why),
        Answer::Snapshot(_) | Answer::Restored(..) => {
            KeeperError::Refused("the answers were mixed up".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn options(pairs: &[(&str, Variant<'_>)]) -> HashMap<String, OwnedVariant> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.try_to_owned().unwrap())).collect()
    }

    #[test]
    fn options_make_a_selection_and_unknown_ones_are_refused() {
        assert_eq!(selection(options(&[])).unwrap(), Selection { by_hand: true, ..Selection::default() });
        let all = [
            ("sessions", Variant::from(vec!["web"])),
            ("windows", Variant::from(vec!["2", "logs"])),
            ("name", Variant::from("web 2")),
        ];
        let expected = Selection {
            sessions: vec!["web".to_owned()],
            windows: vec!["2".to_owned(), "logs".to_owned()],
            rename: Some("web 2".to_owned()),
            by_hand: true,
        };
        assert_eq!(selection(options(&all)).unwrap(), expected);
        for wrong in [
            ("session", Variant::from("web")),
            ("sessions", Variant::from("web")),
            ("name", Variant::from(1)),
        ] {
            let refused = selection(options(&[wrong]));
            assert!(matches!(refused, Err(KeeperError::BadOption(_))), "{refused:?}");
        }
    }

    #[test]
    fn a_note_goes_with_its_session() {
        let sessions = vec![
            ("a".to_owned(), Outcome::Restored),
            ("b".to_owned(), Outcome::Partly(vec!["x".to_owned()])),
        ];
        let notes = vec![("b".to_owned(), "only window 2".to_owned())];
        let rows = restore_rows(Report { sessions, notes }, Vec::new());
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(rows, [row("a", "restored", ""), row("b", "partly", "x; only window 2")]);
    }
}
