//! Reads the text of a pane: what has scrolled away and what is on the screen, with colours.
//!
//! tmux is one thread. `capture-pane -e` of 50,000 coloured lines holds it for 0.2 s (measured), and as long
//! nobody can type. So a long text is read in pieces with pauses between them, and what was read before is
//! not read again: a [`Place`] remembers how far a pane has been read.
//!
//! tmux counts lines from the top of the screen, which moves with every line that is printed. Therefore each
//! piece is asked for only on condition that the history is as long as we think (`if-shell -F`), once for
//! each length that it may have by then; all commands of one client run without anything in between. When
//! the history is full, tmux drops its oldest tenth at once (`grid_collect_history`, grid.c), and
//! `clear-history` drops all of it. A place is trusted only if the lines before it are still those that were
//! there (its anchor); else the place is looked for where such drops would have moved it, or all is read
//! anew.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::model::PaneId;

use super::command::Command;
use super::text::{Lines, push_line, trim_empty_lines};
use super::{Tmux, TmuxError};

/// What stands before a text that is shown again, and behind it.
///
/// tmux writes line-drawing characters as letters between SO and SI, which means them only where the G1
/// character set is the graphics set. At the end colours, links and the set go back to normal.
pub const REPLAY_BEGIN: &[u8] = b"\x1b)0";
/// See [`REPLAY_BEGIN`].
pub const REPLAY_END: &[u8] = b"\x1b[0m\x1b]8;;\x1b\\\x0f\x1b)B";

/// The most lines that are read at once: 4 ms of the server's time for 80 coloured columns (measured).
const PIECE_LINES_MAX: u64 = 1000;

/// The fewest; each piece costs a client, which is 0.4 ms of the server's time and 4 ms of ours (measured).
const PIECE_LINES_MIN: u64 = 100;

/// A piece is to take no longer than this, our client's start included; the next one has fewer lines if it did.
const PIECE_TIME: Duration = Duration::from_millis(10);

/// The shortest pause between two pieces; it is never shorter than the last piece took.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// How many lines before a place must be what they were, so that it is believed: 0.1 ms to read (measured).
const ANCHOR_LINES: u64 = 256;

/// How many different lines an anchor must have to be found again by them: a thousand lines `y` look the
/// same wherever one looks.
const ANCHOR_DIFFERENT_MIN: usize = 16;

/// How many drops of a tenth of the history are looked for.
const DROPS_MAX: u64 = 9;

/// How often a piece is asked for when the pane prints faster than we ask.
const ATTEMPTS_MAX: u32 = 6;

/// For how many more lengths of the history a piece is asked for at first, and at most: a client's commands
/// have to fit into 16 KiB (`client_main`, client.c).
const LENGTHS_FIRST: u64 = 8;
/// See [`LENGTHS_FIRST`].
const LENGTHS_MAX: u64 = 28;

const MOMENT: &str = "#{history_size} #{pane_width} #{pane_height} #{history_limit} \
    #{?pane_dead,#{?#{m:3.2*,#{version}},52,#{?#{n:remain-on-exit-format},1,0}},0}";

/// Why a pane could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// tmux failed.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// tmux answered something unexpected.
    #[error("tmux did not answer as asked when the text of a pane was read")]
    Answer,
    /// There is no such pane any more.
    #[error("the pane is gone")]
    Gone,
    /// The pane prints faster than it can be read, or is cleared again and again.
    #[error("the pane's text changes faster than it can be read")]
    Restless,
}

/// What a pane says of itself at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    /// Lines of the history.
    history: u64,
    width: u64,
    height: u64,
    limit: u64,
    /// How long the notice is that the program has ended, 0 for none. tmux scrolls a line, marks it as going on
    /// in the next, and writes the notice there; up to 3.2a that is a sentence of 49 to 52 characters, which
    /// wraps, later it is cut to one row, and absent if `remain-on-exit-format` is empty
    /// (`server_destroy_pane`, server-fn.c).
    notice: u64,
}

impl Moment {
    /// Returns how many rows the screen has without the notice, if there is one.
    fn rows_above_notice(&self) -> Option<u64> {
        let rows = self.notice.div_ceil(self.width.max(1));
        (rows > 0).then(|| self.height.saturating_sub(rows))
    }
}

/// How far the history of a pane has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How many lines of the history are before it.
    border: u64,
    /// What those look like that are right before it, without colours.
    anchor: Anchor,
    width: u64,
    limit: u64,
}

impl Place {
    /// Returns whether there is something above it.
    pub fn is_below_others(&self) -> bool {
        self.border > 0
    }

    /// Returns how many lines of a history of this length are behind it.
    pub fn lines_behind(&self, history: u64) -> u64 {
        history.saturating_sub(self.border)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Anchor {
    lines: u64,
    hash: u64,
    /// Whether these lines cannot be taken for others.
    distinct: bool,
}

impl Anchor {
    fn of(text: &[u8], lines: u64) -> Self {
        // The keys are this process's own, and so are the places.
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut seen: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        seen.sort_unstable();
        seen.dedup();
        let hash = KEYS.hash_one(text);
        Self { lines, hash, distinct: seen.len() >= ANCHOR_DIFFERENT_MIN }
    }
}

/// A piece of a pane's text.
#[derive(Debug)]
pub struct Piece {
    /// Lines of the history with colours, wrapped ones joined, each with a newline. Where the last of them
    /// goes on in the next piece, or on the screen, it has none.
    pub history: Vec<u8>,
    /// What is on the screen, if the history has been read to its end: with colours, wrapped lines joined. Of
    /// a full-screen program it is what was there before it.
    pub screen: Option<Vec<u8>>,
    /// Where to go on.
    pub place: Place,
}

/// What a reading has come to.
#[derive(Debug)]
pub enum Reading {
    /// A piece.
    Piece(Piece),
    /// The place is not there any more: lines were cleared or wrapped anew. All is to be read again.
    Lost,
}

/// Reads one pane, piece by piece.
#[derive(Debug)]
pub struct Reader<'a> {
    tmux: &'a Tmux,
    pane: PaneId,
    moment: Option<Moment>,
    piece_lines: u64,
    lengths: u64,
    pause: Option<Duration>,
    continuing: bool,
    mark: String,
}

impl<'a> Reader<'a> {
    /// Returns a reader of a pane.
    pub fn new(tmux: &'a Tmux, pane: PaneId) -> Self {
        // Nothing that a pane shows is taken for the mark between two answers, because nobody knows it before.
        let mark = format!("{:016x}", RandomState::new().hash_one(pane));
        let piece_lines = PIECE_LINES_MAX / 2;
        Self {
            tmux,
            pane,
            moment: None,
            piece_lines,
            lengths: LENGTHS_FIRST,
            pause: None,
            continuing: false,
            mark,
        }
    }

    /// Says how long the history was a moment ago, which saves asking.
    #[must_use]
    pub fn expecting(mut self, history: u64, place: Option<&Place>) -> Self {
        if let Some(place) = place {
            let (width, limit) = (place.width, place.limit);
            self.moment = Some(Moment { history, width, height: 0, limit, notice: 0 });
        }
        self
    }

    /// Returns the place from which the last `lines_max` lines of the history are read. If there is something
    /// above it, the first line may be the end of one.
    pub async fn start(&mut self, lines_max: u64) -> Result<Place, CaptureError> {
        let (moment, _) = self.ask(&[]).await?;
        self.moment = Some(moment);
        let border = moment.history.saturating_sub(lines_max);
        Ok(Place { border, anchor: Anchor::default(), width: moment.width, limit: moment.limit })
    }

    /// Reads the last `lines_max` lines of the history and the screen at once, whatever they are: of a pane
    /// that prints too fast for anything else. Its place is where it begins, and nothing goes on from it.
    pub async fn last(&mut self, lines_max: u64) -> Result<Piece, CaptureError> {
        let above = format!("-e -S -{lines_max} -E -1");
        let mut commands = vec![self.only_if_above(&self.body(&[above]))];
        commands.push(self.screen(None));
        let (moment, mut parts) = self.ask(&commands).await?;
        self.moment = Some(moment);
        let screen = parts.pop();
        let history = parts.pop().unwrap_or_default();
        let border = moment.history.saturating_sub(lines_max);
        let place = Place { border, anchor: Anchor::default(), width: 0, limit: 0 };
        Ok(Piece { history, screen, place })
    }

    /// Reads the next piece behind a place.
    pub async fn read(&mut self, place: &Place) -> Result<Reading, CaptureError> {
        let mut place = place.clone();
        let mut realigned = false;
        for _ in 0..ATTEMPTS_MAX {
            let known = match self.moment {
                Some(known) => known,
                None => self.ask(&[]).await?.0,
            };
            self.moment = Some(known);
            if known.width != place.width || known.limit != place.limit {
                return Ok(Reading::Lost);
            }
            if known.history >= place.border {
                let plan = Plan::new(&place, known, self.piece_lines);
                let (moment, parts) = self.timed(&plan).await?;
                let believed = self.moment.replace(moment);
                match plan.understand(&place, moment, parts, self.continuing) {
                    Answer::Piece(piece) => {
                        self.continuing = true;
                        return Ok(Reading::Piece(piece));
                    }
                    Answer::Again => {
                        let moved = moment.history.abs_diff(believed.map_or(0, |known| known.history));
                        self.lengths = (4 * moved + LENGTHS_FIRST).min(LENGTHS_MAX);
                        self.pause = None;
                        continue;
                    }
                    Answer::Moved => {}
                }
            }
            // Once: what does not fit after that has been changed and not moved.
            match self.realign(&place).await? {
                Some(found) if !realigned => place = found,
                _ => return Ok(Reading::Lost),
            }
            realigned = true;
        }
        Err(CaptureError::Restless)
    }

    /// Looks for the lines before a place where they are if the oldest lines were dropped meanwhile.
    async fn realign(&mut self, place: &Place) -> Result<Option<Place>, CaptureError> {
        let Some(moment) = self.moment else { return Ok(None) };
        let Anchor { lines, distinct, .. } = place.anchor;
        let tenth = (place.limit / 10).max(1);
        let borders: Vec<u64> = (0..=DROPS_MAX)
            .filter_map(|drops| place.border.checked_sub(drops * tenth))
            .filter(|border| *border >= lines && *border <= moment.history)
            .collect();
        if !distinct || borders.is_empty() {
            return Ok(None);
        }
        let probe = |length, border: &u64| capture_part(border - lines..*border, length, false);
        let probes = |length| borders.iter().map(|border| probe(length, border)).collect();
        let parts = self.at_its_length(moment.history, probes).await?;
        let same = |text: &[u8]| Anchor::of(text, lines) == place.anchor;
        let mut found = borders.iter().zip(&parts).filter(|(_, text)| same(text));
        Ok(match (found.next(), found.next()) {
            (Some((border, _)), None) => Some(Place { border: *border, ..place.clone() }),
            _ => None,
        })
    }

    /// Asks something that depends on the length of the history; the answer is empty if that moved too far.
    async fn at_its_length(
        &mut self,
        history: u64,
        parts: impl Fn(u64) -> Vec<String>,
    ) -> Result<Vec<Vec<u8>>, CaptureError> {
        // Ten parts take more room than four.
        let lengths = history..=history + self.lengths.min(LENGTHS_FIRST);
        let commands: Vec<Command> =
            lengths.map(|length| self.only_if(length, &self.body(&parts(length)))).collect();
        let (moment, parts) = self.ask(&commands).await?;
        self.moment = Some(moment);
        Ok(parts)
    }

    /// Asks for a piece, after a pause if this is not the first, and measures.
    async fn timed(&mut self, plan: &Plan) -> Result<(Moment, Vec<Vec<u8>>), CaptureError> {
        if let Some(pause) = self.pause {
            sleep(pause).await;
        }
        let asked = Instant::now();
        let longest = (plan.history + self.lengths).min(plan.limit.max(plan.history));
        let mut commands: Vec<Command> = (plan.history..=longest)
            .map(|length| self.only_if(length, &self.body(&plan.parts(length))))
            .collect();
        if plan.with_screen {
            commands.push(self.screen(plan.rows));
        }
        let answer = self.ask(&commands).await?;
        let took = asked.elapsed();
        self.pause = Some(took.max(PAUSE_MIN));
        let fitting = self.piece_lines as f64 * PIECE_TIME.as_secs_f64() / took.as_secs_f64().max(0.000_1);
        self.piece_lines = (fitting as u64).clamp(PIECE_LINES_MIN, PIECE_LINES_MAX);
        Ok(answer)
    }

    /// Runs commands and returns what the pane is like at that moment, and what they printed.
    async fn ask(&self, commands: &[Command]) -> Result<(Moment, Vec<Vec<u8>>), CaptureError> {
        let moment = Command::new("display-message").arg("-p").flag("-t", self.pane).arg(MOMENT);
        let output = self.tmux.run(&[std::slice::from_ref(&moment), commands].concat()).await?;
        let end = output.iter().position(|byte| *byte == b'\n').ok_or(CaptureError::Answer)?;
        if output.starts_with(b" ") {
            return Err(CaptureError::Gone);
        }
        let moment = parse_moment(&output[..end]).ok_or(CaptureError::Answer)?;
        Ok((moment, split_parts(&output[end + 1..], self.mark.as_bytes())))
    }

    /// Returns a command that runs others only if the history is this long.
    fn only_if(&self, length: u64, body: &str) -> Command {
        let condition = format!("#{{==:#{{history_size}},{length}}}");
        Command::new("if-shell").arg("-F").flag("-t", self.pane).arg(condition).arg(body)
    }

    /// Returns a command that runs others only if there is a history.
    fn only_if_above(&self, body: &str) -> Command {
        Command::new("if-shell").arg("-F").flag("-t", self.pane).arg("#{history_size}").arg(body)
    }

    fn body(&self, parts: &[String]) -> String {
        let (pane, mark) = (self.pane, &self.mark);
        let one = |part: &String| format!("capture-pane -p -J -t '{pane}' {part}; display-message -p {mark}");
        parts.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// Returns a command that reads the screen, or its first rows.
    fn screen(&self, rows: Option<u64>) -> Command {
        let range =
            rows.map_or_else(|| "-S 0".to_owned(), |rows| format!("-S 0 -E {}", rows.saturating_sub(1)));
        let pane = self.pane;
        Command::new("if-shell")
            .arg("-F")
            .flag("-t", pane)
            .arg("#{alternate_on}")
            .arg(self.body(&["-e -a -q".to_owned()]))
            .arg(self.body(&[format!("-e {range}")]))
    }
}

/// What is asked for to get one piece.
struct Plan {
    history: u64,
    limit: u64,
    anchor: Range<u64>,
    text: Range<u64>,
    /// Whether this reaches the end of the history, whatever has been printed until then.
    with_screen: bool,
    /// How many rows of the screen are read; all if none.
    rows: Option<u64>,
}

enum Answer {
    Piece(Piece),
    /// The history had none of the lengths for which it was asked.
    Again,
    /// Other lines are where the place was.
    Moved,
}

impl Plan {
    fn new(place: &Place, known: Moment, piece_lines: u64) -> Self {
        let left = known.history - place.border;
        let with_screen = left <= piece_lines;
        let end = if with_screen { known.history } else { place.border + piece_lines };
        Self {
            history: known.history,
            limit: known.limit,
            anchor: place.border - place.anchor.lines..place.border,
            text: place.border..end,
            with_screen,
            rows: known.rows_above_notice(),
        }
    }

    /// Returns where the text ends if the history is this long.
    fn end(&self, length: u64) -> u64 {
        if self.with_screen { length } else { self.text.end }
    }

    /// Returns what is captured if the history is this long: the anchor of the place, the text, whether it
    /// goes on behind its end, and the anchor of its end.
    fn parts(&self, length: u64) -> Vec<String> {
        let mut parts = Vec::new();
        if !self.anchor.is_empty() {
            parts.push(capture_part(self.anchor.clone(), length, false));
        }
        let end = self.end(length);
        if end > self.text.start {
            parts.push(capture_part(self.text.start..end, length, true));
            parts.push(capture_part(end - 1..end + 1, length, false));
            parts.push(anchor_part(end, length));
        }
        parts
    }

    /// Returns what an answer means. `continuing` says that the place was read a moment ago, and so that lines
    /// that look like those before it are those.
    fn understand(&self, place: &Place, moment: Moment, parts: Vec<Vec<u8>>, continuing: bool) -> Answer {
        let end = self.end(moment.history);
        let wanted = self.parts(moment.history).len() + usize::from(self.with_screen);
        // Only a length that was asked for has all the parts. A history of no lines has nothing to ask for.
        if parts.len() != wanted || moment.history < self.history || moment.rows_above_notice() != self.rows {
            let shrunk = moment.history < self.history;
            return if shrunk { Answer::Moved } else { Answer::Again };
        }
        if moment.width != place.width || moment.limit != place.limit {
            return Answer::Moved;
        }
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let mut place = place.clone();
        if !self.anchor.is_empty() {
            let found = Anchor::of(&next(), place.anchor.lines);
            let whole = self.anchor.start == 0;
            if found != place.anchor || !(whole || continuing || place.anchor.distinct) {
                return Answer::Moved;
            }
        }
        let mut history = Vec::new();
        if end > self.text.start {
            history = next();
            // A line that goes on in the next is joined with it, and then there are not two.
            if next().iter().filter(|byte| **byte == b'\n').count() < 2 {
                history.pop();
            }
            place.anchor = Anchor::of(&next(), end.min(ANCHOR_LINES));
            place.border = end;
        }
        let screen = self.with_screen.then(|| if self.rows == Some(0) { Vec::new() } else { next() });
        Answer::Piece(Piece { history, screen, place })
    }
}

fn anchor_part(border: u64, length: u64) -> String {
    capture_part(border.saturating_sub(ANCHOR_LINES)..border, length, false)
}

/// Returns what of `capture-pane` says which lines are meant, by their number from the top of the history, when
/// that is of this length.
fn capture_part(lines: Range<u64>, length: u64, coloured: bool) -> String {
    let from_screen = |line: u64| line.cast_signed() - length.cast_signed();
    let colours = if coloured { "-e " } else { "" };
    format!("{colours}-S {} -E {}", from_screen(lines.start), from_screen(lines.end - 1))
}

fn parse_moment(line: &[u8]) -> Option<Moment> {
    let mut numbers = str::from_utf8(line).ok()?.split(' ').map(|word| word.parse().ok());
    let mut next = || numbers.next()?;
    Some(Moment { history: next()?, width: next()?, height: next()?, limit: next()?, notice: next()? })
}

/// Splits what was printed at the marks, one of which ends each part.
fn split_parts(output: &[u8], mark: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        if line.strip_suffix(b"\n") == Some(mark) {
            parts.push(std::mem::take(&mut part));
        } else {
            part.extend_from_slice(line);
        }
    }
    parts
}

/// Reads at most `lines_max` lines above the screen, and the screen, of a pane, in lines that stand for
/// themselves. Wrapped lines are one line, so that they wrap anew in another width. Of a full-screen program
/// only what was there before it is read: it comes back as a program, not as a picture.
pub async fn capture(tmux: &Tmux, pane: PaneId, lines_max: u32) -> Result<Vec<u8>, CaptureError> {
    let mut reader = Reader::new(tmux, pane);
    'anew: for _ in 0..ATTEMPTS_MAX {
        let mut place = reader.start(lines_max.into()).await?;
        let mut text = Text::default();
        loop {
            match reader.read(&place).await? {
                Reading::Lost => continue 'anew,
                Reading::Piece(Piece { history, screen: None, place: next }) => {
                    text.add(&history);
                    place = next;
                }
                Reading::Piece(Piece { history, screen: Some(screen), .. }) => {
                    text.add(&history);
                    text.add(&screen);
                    return Ok(text.end());
                }
            }
        }
    }
    Err(CaptureError::Restless)
}

#[derive(Default)]
struct Text {
    lines: Lines,
    text: Vec<u8>,
}

impl Text {
    fn add(&mut self, piece: &[u8]) {
        self.lines.feed(piece, |line| push_line(&mut self.text, &line));
    }

    fn end(mut self) -> Vec<u8> {
        if self.lines.is_open() {
            push_line(&mut self.text, &self.lines.end_line());
        }
        trim_empty_lines(&mut self.text);
        self.text
    }
}
