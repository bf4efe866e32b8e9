//! `keeperctl why`: why something died.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cause::in_words;
use crate::diagnosis::explain;
use crate::doctor::CHECKS;
use crate::history::{self, Range};
use crate::model::evidence::Fact;
use crate::model::incident::{Cause, Confidence, Deed, Incident, SubjectKind};
use crate::model::plural;
use crate::restore::policy;

use super::output::{
    BAD, DIM, DOUBT, GOOD, NAME, ago, fit, note, pad, paragraph, print, print_json, printable, styled, width,
};
use super::{CliError, Context, Exit};

/// How many panes of a death are named.
const PANES_TOLD_MAX: usize = 8;

/// Say why something died
#[derive(Debug, clap::Args)]
#[command(after_help = TARGETS)]
pub struct Arguments {
    /// What died: a session, window or pane as tmux calls it (web, web:1, web:1.0), or the number of a death; the
    /// last death that was not its user's wish if nothing is named
    target: Option<String>,
    /// Explain the last death of all, also one that was its user's wish
    #[arg(long, conflicts_with_all = ["target", "all"])]
    last: bool,
    /// List all deaths that are remembered, the newest last
    #[arg(long, conflicts_with = "target")]
    all: bool,
}

const TARGETS: &str = "\
Examples:
  keeperctl why            the last death that nobody wanted
  keeperctl why web        what last happened to session web, or to a pane of it
  keeperctl why 12         death number 12, as keeperctl why --all numbers them";

/// One row of the list.
#[derive(Debug, Serialize)]
struct Row<'a> {
    number: u64,
    at: Timestamp,
    kind: SubjectKind,
    place: &'a str,
    cause: Cause,
    confidence: Confidence,
    sentence: String,
    deed: Deed,
}

/// Explains.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let mut history = history::read(&context.places.state, &Range::default());
    say_damage(&mut history);
    let incidents = history.incidents();
    if arguments.all {
        return list(context, &incidents);
    }
    let found = match &arguments.target {
        Some(target) => Some(find(&incidents, target)?),
        None if arguments.last => incidents.last().copied(),
        None => incidents.iter().rfind(|incident| explain::is_unwanted(incident)).copied(),
    };
    if arguments.target.is_none() && !context.json {
        say_closed_server(&incidents, found);
        say_closed_terminal(&incidents, found);
    }
    let Some(incident) = found else {
        return nothing(context, &incidents);
    };
    if context.json {
        print_json("keeperctl.why/1", Document { sentence: explain::sentence(incident), incident })?;
    } else {
        print(&text(incident, Timestamp::now()))?;
    }
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    sentence: String,
    incident: &'a Incident,
}

fn say_damage(history: &mut history::History) {
    if history.damaged > 0 {
        note(&format!("{} of the history cannot be read", plural(history.damaged, "line")));
    }
    for error in history.unread.drain(..) {
        note(&in_words(error));
    }
}

/// Says that a whole server was closed after what is told: whoever asks may miss that.
fn say_closed_server(incidents: &[&Incident], found: Option<&Incident>) {
    let closed = |one: &&&Incident| {
        let since = found.is_some_and(|found| one.number > found.number);
        since && one.subject.kind == SubjectKind::Server && !explain::is_unwanted(one)
    };
    if let Some(closed) = incidents.iter().rfind(closed) {
        let sentence = explain::sentence(closed);
        note(&printable(&format!("{}: {sentence}; more: keeperctl why {}", clock(closed.at), closed.number)));
    }
}

/// Says that a terminal was closed after all that is told: whoever asks may ask for that, and it is no death.
fn say_closed_terminal(incidents: &[&Incident], found: Option<&Incident>) {
    let Some(last) = incidents.last().filter(|last| found.is_none_or(|found| last.number > found.number))
    else {
        return;
    };
    let session = last.evidence.iter().find_map(|one| match &one.fact {
        Fact::ClientLost { session, .. } => Some(session),
        _ => None,
    });
    if let Some(session) = session {
        let sentence = explain::sentence(last);
        let target = format!("={session}");
        let target = shlex::try_quote(&target).unwrap_or_default();
        note(&printable(&format!(
            "{}: {sentence}; its session lives: tmux attach -t {target}",
            clock(last.at)
        )));
    }
}

fn nothing(context: &Context, incidents: &[&Incident]) -> Result<Exit, CliError> {
    if context.json {
        #[derive(Serialize)]
        struct Nothing {
            incident: Option<()>,
        }
        print_json("keeperctl.why/1", Nothing { incident: None })?;
    } else if incidents.is_empty() {
        note("nothing has died since the keeper watches");
    } else {
        note("nothing has died that its user did not want; for the last death of all: keeperctl why --last");
    }
    Ok(Exit::Done)
}

/// Finds the last death of what is named.
fn find<'a>(incidents: &[&'a Incident], target: &str) -> Result<&'a Incident, CliError> {
    let by_number = target.trim_start_matches('#').parse::<u64>().ok();
    let numbered = incidents.iter().find(|incident| Some(incident.number) == by_number);
    // As tmux has it, `=3` is the session of that name, and so is `3:`.
    let place = target.trim_start_matches('=');
    let place = place.strip_suffix(':').unwrap_or(place);
    let found = numbered.or_else(|| incidents.iter().rfind(|incident| concerns(incident, place)));
    found.copied().ok_or_else(|| {
        let message = format!("no death of {target:?} is remembered");
        CliError::failed(anyhow::Error::msg(message)).hint("see what is: keeperctl why --all")
    })
}

/// Returns whether something that is named by a target, or a part of it, died in an incident.
fn concerns(incident: &Incident, target: &str) -> bool {
    let is_in = |place: &str| {
        place == target || place.strip_prefix(target).is_some_and(|rest| rest.starts_with([':', '.']))
    };
    let panes = &incident.subject.panes;
    is_in(&incident.subject.place)
        || panes.iter().any(|pane| is_in(&pane.place) || pane.id.to_string() == target)
}

fn list(context: &Context, incidents: &[&Incident]) -> Result<Exit, CliError> {
    let rows: Vec<Row<'_>> = incidents.iter().map(|incident| row(incident)).collect();
    if context.json {
        #[derive(Serialize)]
        struct List<'a> {
            incidents: Vec<Row<'a>>,
        }
        print_json("keeperctl.why.list/1", List { incidents: rows })?;
    } else if rows.is_empty() {
        note("nothing has died since the keeper watches");
    } else {
        print(&table(&rows))?;
    }
    Ok(Exit::Done)
}

fn row(incident: &Incident) -> Row<'_> {
    let finding = &incident.verdict.finding;
    Row {
        number: incident.number,
        at: incident.at,
        kind: incident.subject.kind,
        place: &incident.subject.place,
        cause: finding.cause,
        confidence: finding.confidence,
        sentence: explain::sentence(incident),
        deed: incident.deed,
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let number = rows.iter().map(|row| row.number.to_string().len()).max().unwrap_or(1);
    let mut out = String::new();
    for row in rows {
        let head = format!("{}  {}  ", pad(&row.number.to_string(), number), styled(DIM, clock(row.at)));
        let room = width().saturating_sub(number + 2 + 19 + 2);
        out.push_str(&format!("{head}{}\n", fit(&printable(&row.sentence), room)));
    }
    out
}

fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns everything that is known of a death, for a person.
fn text(incident: &Incident, now: Timestamp) -> String {
    let finding = &incident.verdict.finding;
    let style = match (explain::is_unwanted(incident), finding.confidence) {
        (false, _) => GOOD,
        (true, Confidence::Certain | Confidence::Likely) => BAD,
        (true, _) => DOUBT,
    };
    let sentence = format!("{}.", explain::sentence(incident));
    let mut out = paragraph(&format!("{} ", styled(style, "●")), 2, &printable(&sentence));
    let when = ago(now.duration_since(incident.at).as_secs());
    let sure = finding.confidence.word();
    let unseen = incident.evidence.iter().any(|one| one.fact == Fact::GoneUnseen);
    let dated = incident.evidence.iter().any(|one| one.at.is_some());
    let noticed = if unseen && !dated { "noticed " } else { "" };
    out.push_str(&paragraph(
        "  ",
        2,
        &styled(
            DIM,
            format!("{noticed}{}, {when} ago; {sure}; number {}", clock(incident.at), incident.number),
        ),
    ));
    out.push_str(&panes(incident));
    out.push_str(&evidence(incident));
    out.push_str(&others(incident));
    out.push_str(&gaps(incident));
    out.push_str(&afterwards(incident));
    out
}

fn head(words: &str) -> String {
    format!("\n{}\n", styled(NAME, words))
}

fn panes(incident: &Incident) -> String {
    let panes = &incident.subject.panes;
    if panes.is_empty() {
        return String::new();
    }
    let mut out = head("What ran there");
    let place = panes.iter().take(PANES_TOLD_MAX).map(|pane| pane.place.len()).max().unwrap_or(0);
    for pane in panes.iter().take(PANES_TOLD_MAX) {
        let line = format!("{}  {}", pad(&pane.place, place), pane.program);
        out.push_str(&format!("  {}\n", fit(&printable(&line), width() - 2)));
    }
    if panes.len() > PANES_TOLD_MAX {
        out.push_str(&format!("  and {} more\n", panes.len() - PANES_TOLD_MAX));
    }
    out
}

/// What speaks for the verdict is marked.
fn evidence(incident: &Incident) -> String {
    if incident.evidence.is_empty() {
        return String::new();
    }
    let mut out = head("What was seen");
    for (at, one) in incident.evidence.iter().enumerate() {
        let time = one.at.map_or_else(
            || " ".repeat(8),
            |at| at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        );
        let mark = if incident.verdict.finding.because.contains(&at) { "▸" } else { " " };
        let line = printable(&explain::fact(&one.fact));
        out.push_str(&paragraph(&format!("{mark} {}  ", styled(DIM, time)), 12, &line));
    }
    out
}

fn others(incident: &Incident) -> String {
    let others = &incident.verdict.others;
    if others.is_empty() || incident.verdict.finding.confidence == Confidence::Certain {
        return String::new();
    }
    let names: Vec<String> =
        others.iter().map(|other| format!("{} ({})", other.cause, other.confidence.word())).collect();
    head("What it could be instead") + &paragraph("  ", 2, &names.join(", "))
}

fn gaps(incident: &Incident) -> String {
    if incident.gaps.is_empty() {
        return String::new();
    }
    let mut out = head("What could not be looked at");
    for gap in &incident.gaps {
        let remedy = if gap.remedy.is_empty() { String::new() } else { format!("; {}", gap.remedy) };
        out.push_str(&paragraph("  ", 2, &printable(&format!("{}: {}{remedy}", gap.what, gap.why))));
    }
    out
}

/// Returns how something is brought back by hand. What is back by itself is not said again.
fn way_back(incident: &Incident, generation: u64) -> String {
    let again = matches!(incident.deed, Deed::Restore | Deed::RestorePaced | Deed::Restart);
    let place = shlex::try_quote(&incident.subject.place).unwrap_or_default();
    let stayed = || !incident.evidence.iter().any(|one| one.fact == Fact::Vanished);
    let command = match (incident.subject.kind, &incident.subject.panes[..]) {
        _ if again => {
            return format!("; should anything be missing: keeperctl restore {generation} --dry-run");
        }
        (SubjectKind::Server, _) => format!("keeperctl restore {generation}"),
        (SubjectKind::Session, _) => format!("keeperctl restore {generation} --session {place}"),
        (SubjectKind::Window, _) => format!("keeperctl restore {generation} --window {place}"),
        (SubjectKind::Pane, [pane]) if stayed() => format!("tmux respawn-pane -t {}", pane.id),
        _ => return String::new(),
    };
    format!("; to bring it back: {command}")
}

fn afterwards(incident: &Incident) -> String {
    let kind = incident.subject.kind;
    let done = policy::in_words(incident.deed, incident.verdict.finding.cause, kind);
    let mut out = head("What was done") + &paragraph("  ", 2, done);
    let lives_on = matches!(kind, SubjectKind::Child | SubjectKind::Client);
    if let Some(generation) = incident.last_seen_in.filter(|_| !lives_on) {
        out.push_str(&head("What there is of it"));
        let line = format!(
            "snapshot {generation} shows it alive: keeperctl snapshot show {generation}{}",
            way_back(incident, generation)
        );
        out.push_str(&paragraph("  ", 2, &printable(&line)));
    }
    if let Some((id, what)) = explain::prevention(incident.verdict.finding.cause)
        && let Some(check) = CHECKS.iter().find(|check| check.id == id)
    {
        out.push_str(&head("What prevents it"));
        let line = format!(
            "{what}; doctor's check {id} ({}) tells whether that is so: keeperctl doctor",
            check.title
        );
        out.push_str(&paragraph("  ", 2, &line));
    }
    out
}
