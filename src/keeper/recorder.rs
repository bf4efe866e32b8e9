//! Keeps up with the texts of panes: reads what is new of them, and remembers how far that is.
//!
//! Text that has scrolled away does not change any more. So it is read once, cut into pieces and stored, and
//! from then on only what came after it is read, the screen, and the lines of the last piece, which has no
//! end yet. What is stored is the same bytes as if all had been read anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::cause::in_words;
use crate::model::{ObjectId, PaneId, Scrollback, Server, ServerId};
use crate::redact::Redactor;
use crate::store::{StoreError, Writer, chunks};
use crate::tmux::capture::{CaptureError, Piece, Place, Reader, Reading};
use crate::tmux::text::{Lines, trim_empty_lines};
use crate::tmux::{Tmux, TmuxError};

use super::action::Capture;
use super::event::Text;
use super::room::share;
use super::worker::blocking;

/// How long one save may read. What is not finished by then is gone on with at the next save.
const READING_MAX: Duration = Duration::from_millis(1500);

/// How many lines are read of a pane that prints faster than it can be read.
const RESTLESS_LINES: u64 = 1000;

/// How often a pane is read anew because it was changed meanwhile.
const ANEW_MAX: u32 = 3;

/// The most bytes that are remembered of a pane's last piece; a pane with more is read anew each time.
const OPEN_BYTES_MAX: usize = 256 * 1024;

/// What is kept of texts.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Lines above the screen, of each pane.
    pub lines: u64,
    /// Bytes of all panes together.
    pub total_bytes: u64,
    /// Whether credentials are covered.
    pub redact: bool,
}

/// Reads the texts of one server's panes.
#[derive(Debug)]
pub struct Recorder {
    bounds: Bounds,
    records: Mutex<HashMap<PaneId, Record>>,
    /// Whose panes these are.
    server: Mutex<Option<ServerId>>,
}

impl Recorder {
    /// Returns a recorder that has read nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, records: Mutex::default(), server: Mutex::default() }
    }

    /// Forgets the panes that are gone, and all of them when it is another server.
    pub fn attend(&self, server: &Server) {
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&server.id) {
            records.clear();
            *known = Some(server.id.clone());
        }
        let panes: Vec<PaneId> = server.panes().map(|(_, _, pane)| pane.id).collect();
        records.retain(|pane, _| panes.contains(pane));
    }

    /// Returns when a save that begins now has read enough.
    pub fn deadline() -> Instant {
        Instant::now() + READING_MAX
    }

    fn take(&self, pane: PaneId) -> Option<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(&pane)
    }

    fn keep(&self, pane: PaneId, record: Record) {
        if record.open.len() <= OPEN_BYTES_MAX {
            self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(pane, record);
        }
    }

    /// Reads and stores the text of a pane. Returns nothing when that is not finished at the deadline, or when
    /// the pane is gone. The error is in words.
    pub async fn record(
        &self,
        tmux: &Tmux,
        writer: &Arc<Writer>,
        wanted: &Capture,
        deadline: Instant,
    ) -> Result<Option<Scrollback>, String> {
        let (pane, history) = (wanted.pane, wanted.mark.history);
        let known = self.take(pane).filter(|record| record.is_worth(history, self.bounds.lines, writer));
        let mut reader = Reader::new(tmux, pane).expecting(history, known.as_ref().map(|known| &known.place));
        match self.read(&mut reader, writer, known, pane, deadline).await {
            Ok(found) => Ok(found),
            Err(Failure::Store(why)) => Err(why),
            // One pane that cannot be read must not keep the others from being saved.
            Err(Failure::Capture(
                error @ (CaptureError::Gone
                | CaptureError::Answer
                | CaptureError::Restless
                | CaptureError::Tmux(TmuxError::Refused { .. })),
            )) => {
                debug!(%pane, "a text was not read: {}", in_words(error));
                Ok(None)
            }
            Err(Failure::Capture(error)) => Err(in_words(error)),
        }
    }

    async fn read(
        &self,
        reader: &mut Reader<'_>,
        writer: &Arc<Writer>,
        mut known: Option<Record>,
        pane: PaneId,
        deadline: Instant,
    ) -> Result<Option<Scrollback>, Failure> {
        let bounds = self.bounds;
        for _ in 0..ANEW_MAX {
            let mut record = match known.take() {
                Some(record) => record,
                None => Record::new(reader.start(bounds.lines).await?, bounds),
            };
            loop {
                let piece = match reader.read(&record.place).await {
                    Ok(Reading::Piece(piece)) => piece,
                    Ok(Reading::Lost) => break,
                    Err(CaptureError::Restless) => return self.read_last(reader, writer, pane).await,
                    Err(error) => return Err(error.into()),
                };
                let (store, lines) = (writer.clone(), bounds.lines);
                let absorb = move || record.absorb(piece, &store, lines).map(|text| (record, text));
                let (next, text) = blocking(absorb).await.map_err(Failure::Store)?;
                if text.is_some() || Instant::now() >= deadline {
                    self.keep(pane, next);
                    return Ok(text);
                }
                record = next;
            }
            debug!(%pane, "reading a text anew");
        }
        self.read_last(reader, writer, pane).await
    }

    /// Reads the end of a text that does not hold still.
    async fn read_last(
        &self,
        reader: &mut Reader<'_>,
        writer: &Arc<Writer>,
        pane: PaneId,
    ) -> Result<Option<Scrollback>, Failure> {
        debug!(%pane, "a text changes faster than it can be read; only its end is kept");
        let piece = reader.last(self.bounds.lines.min(RESTLESS_LINES)).await?;
        let (mut record, store, lines) =
            (Record::new(piece.place.clone(), self.bounds), writer.clone(), self.bounds.lines);
        blocking(move || record.absorb(piece, &store, lines)).await.map_err(Failure::Store)
    }

    /// Takes the oldest text from the panes that have most, until all of them together have no more than they
    /// may. The texts that were just read are left as the server has them then: what no generation names does not
    /// last, and must not be named later.
    pub fn make_room(&self, server: &mut Server, texts: &mut [Text], writer: &Writer) {
        server.panes_mut().for_each(|pane| forget_removed(&mut pane.scrollback, writer));
        let size_of = |id: &ObjectId| writer.size_of(*id).unwrap_or_default();
        let mut sizes: HashMap<PaneId, u64> = HashMap::new();
        for (_, _, pane) in server.panes() {
            let bytes = || pane.scrollback.chunks.iter().map(|id| size_of(id).0).sum();
            sizes.entry(pane.id).or_insert_with(bytes);
        }
        let all: Vec<u64> = sizes.values().copied().collect();
        let most = share(&all, self.bounds.total_bytes);
        for pane in server.panes_mut() {
            let mut bytes = sizes.get(&pane.id).copied().unwrap_or_default();
            let Scrollback { lines, chunks } = &mut pane.scrollback;
            let going = chunks.iter().take_while(|id| {
                let (size, count) = size_of(id);
                let goes = bytes > most;
                if goes {
                    bytes -= size;
                    *lines = lines.saturating_sub(count);
                }
                goes
            });
            let going = going.count();
            chunks.drain(..going);
            for text in texts.iter_mut().filter(|text| text.pane == pane.id) {
                text.scrollback.clone_from(&pane.scrollback);
            }
        }
    }
}

/// Leaves out the oldest pieces of a text if they are gone: they were taken from it to make room, and after a
/// while a clean-up has removed them.
fn forget_removed(scrollback: &mut Scrollback, writer: &Writer) {
    let gone = scrollback.chunks.iter().take_while(|id| writer.size_of(**id).is_none()).count();
    if gone > 0 {
        scrollback.chunks.drain(..gone);
        let lines = scrollback.chunks.iter().filter_map(|id| writer.size_of(*id)).map(|(_, lines)| lines);
        scrollback.lines = lines.sum();
    }
}

enum Failure {
    Store(String),
    Capture(CaptureError),
}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

/// How far the text of a pane has been recorded.
#[derive(Debug)]
struct Record {
    place: Place,
    /// The line that goes on behind the place.
    lines: Lines,
    redactor: Redactor,
    /// The pieces that are stored, and how many lines each has.
    stored: Vec<(ObjectId, u64)>,
    /// The lines behind them: the beginning of a piece that has no end yet.
    open: Vec<u8>,
    /// Whether the next line may be the end of one and is left out: half a credential looks like nothing.
    begins_within: bool,
}

impl Record {
    fn new(place: Place, bounds: Bounds) -> Self {
        Self {
            begins_within: place.is_below_others(),
            place,
            lines: Lines::default(),
            redactor: Redactor::new(bounds.redact),
            stored: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Returns whether going on is less work than reading anew, and possible.
    fn is_worth(&self, history: u64, lines_max: u64, writer: &Writer) -> bool {
        self.place.lines_behind(history) < lines_max && self.stored.iter().all(|(id, _)| writer.has(*id))
    }

    /// Takes in a piece, and returns the whole text if that was its end.
    fn absorb(
        &mut self,
        piece: Piece,
        writer: &Writer,
        lines_max: u64,
    ) -> Result<Option<Scrollback>, StoreError> {
        self.place = piece.place;
        self.take_in(&piece.history);
        self.store(writer)?;
        self.forget_oldest(lines_max);
        piece.screen.map(|screen| self.whole(&screen, writer)).transpose()
    }

    fn take_in(&mut self, text: &[u8]) {
        let Self { lines, redactor, open, begins_within, .. } = self;
        lines.feed(text, |line| {
            if !std::mem::take(begins_within) {
                redactor.push(&line, open);
            }
        });
    }

    /// Stores the pieces that have an end.
    fn store(&mut self, writer: &Writer) -> Result<(), StoreError> {
        let mut pieces = chunks::cut(&self.open);
        pieces.pop();
        let mut done = 0;
        for piece in pieces {
            self.stored.push((writer.put(piece)?, count_lines(piece)));
            done += piece.len();
        }
        self.open.drain(..done);
        Ok(())
    }

    /// Forgets the oldest pieces without which there are still lines enough.
    fn forget_oldest(&mut self, lines_max: u64) {
        let mut lines = self.stored.iter().map(|(_, lines)| lines).sum::<u64>() + count_lines(&self.open);
        let going = self.stored.iter().take_while(|(_, oldest)| {
            let goes = lines - oldest >= lines_max;
            lines -= if goes { *oldest } else { 0 };
            goes
        });
        let going = going.count();
        self.stored.drain(..going);
    }

    /// Returns the text with what is on the screen now.
    fn whole(&self, screen: &[u8], writer: &Writer) -> Result<Scrollback, StoreError> {
        let mut last = Record {
            place: self.place.clone(),
            lines: self.lines.clone(),
            redactor: self.redactor.clone(),
            stored: self.stored.clone(),
            open: self.open.clone(),
            begins_within: self.begins_within,
        };
        last.take_in(screen);
        if last.lines.is_open() {
            last.take_in(b"\n");
        }
        trim_empty_lines(&mut last.open);
        while last.open.is_empty()
            && let Some((id, _)) = last.stored.pop()
        {
            last.open = writer.store().object(id)?;
            trim_empty_lines(&mut last.open);
        }
        for piece in chunks::cut(&last.open) {
            last.stored.push((writer.put(piece)?, count_lines(piece)));
        }
        let lines = last.stored.iter().map(|(_, lines)| lines).sum();
        Ok(Scrollback { lines, chunks: last.stored.into_iter().map(|(id, _)| id).collect() })
    }
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;
    use crate::store::retention::Retention;
    use crate::store::tests::{make_old, object_paths};
    use crate::tmux::observe::OutputMark;

    /// A hundred kilobytes in many pieces.
    fn long_text(of: &str) -> Vec<u8> {
        (0..5000).flat_map(|line| format!("{of}: line {line:06}\n").into_bytes()).collect()
    }

    fn recorder(total_bytes: u64) -> Recorder {
        Recorder::new(Bounds { lines: 50_000, total_bytes, redact: true })
    }

    fn bytes(writer: &Writer, text: &Scrollback) -> usize {
        let (text, missing) = writer.store().text(text);
        assert!(missing.is_empty(), "{missing:?}");
        text.len()
    }

    #[test]
    fn what_was_taken_to_make_room_is_not_named_again_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let whole = writer.put_text(&long_text("whole")).unwrap();
        let mut server = sample::server(1, &["web"]);
        server.panes_mut().for_each(|pane| pane.scrollback = whole.clone());
        let pane = server.panes().next().unwrap().2.id;
        let mut texts = [Text { pane, mark: OutputMark::default(), scrollback: whole.clone() }];
        let before = server.clone();
        recorder(50_000).make_room(&mut server, &mut texts, &writer);
        let kept = server.panes().next().unwrap().2.scrollback.clone();
        assert!((1..=50_000).contains(&bytes(&writer, &kept)), "{kept:?}");
        assert_eq!(texts[0].scrollback, kept, "the next save starts from what was kept");

        // Whoever still has the whole list: a pane that was not read now, or that waits for Enter.
        writer.save(&sample::snapshot(server.clone())).unwrap();
        make_old(writer.store());
        assert!(writer.prune(&Retention::default()).unwrap().1 > 0);
        let mut again = before;
        recorder(10_000_000).make_room(&mut again, &mut [], &writer);
        assert_eq!(again.panes().next().unwrap().2.scrollback, kept);
        let generation = writer.save(&sample::snapshot(again)).unwrap();
        assert_eq!(writer.store().verify(Some(&[generation])).unwrap().problems, []);
    }

    #[test]
    fn a_damaged_piece_is_named_on() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let whole = writer.put_text(&long_text("whole")).unwrap();
        drop(writer);
        let writer = Writer::open(dir.path()).unwrap();
        object_paths(writer.store()).iter().for_each(|path| std::fs::write(path, "x").unwrap());
        let mut server = sample::server(1, &["web"]);
        server.panes_mut().for_each(|pane| pane.scrollback = whole.clone());
        recorder(10_000_000).make_room(&mut server, &mut [], &writer);
        assert_eq!(server.panes().next().unwrap().2.scrollback, whole);
    }
}
