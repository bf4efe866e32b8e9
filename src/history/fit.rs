//! Makes an entry small enough to be kept: what matters least goes first, and what went is said.
//!
//! First long texts are cut. Then an incident loses panes, weaker explanations, evidence and gaps, in this order and
//! each from the end. What died and why it is believed to have died stays.

use serde::Serialize;
use serde_json::Value;

use crate::model::entry::{Entry, Happening};
use crate::model::evidence::Gap;
use crate::model::incident::{Finding, Incident};
use crate::model::plural;

/// The longest text in an entry that is too large, in bytes. What somebody must see of a command line is less, and
/// the few texts that no entry can do without are far below [`super::ENTRY_BYTES_MAX`] then, even if each byte of them
/// is six in JSON (`\u0001`).
const TEXT_BYTES_MAX: usize = 1024;

/// What it takes to say what was left out, in bytes: a gap with two sentences and four numbers has 160.
const NOTE_BYTES: usize = 256;

/// Returns an entry in JSON of at most this many bytes.
pub(super) fn render(entry: &Entry, bytes_max: usize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(entry)?;
    if json.len() <= bytes_max {
        return Ok(json);
    }
    let mut value = serde_json::to_value(entry)?;
    cut_texts(&mut value);
    let json = serde_json::to_vec(&value)?;
    if json.len() <= bytes_max {
        return Ok(json);
    }
    let mut entry: Entry = serde_json::from_value(value)?;
    let excess = json.len() - bytes_max + NOTE_BYTES;
    match &mut entry.what {
        Happening::Died(incident) => shorten_incident(incident, excess, bytes_max),
        Happening::Restored { sessions, .. } => shorten_names(sessions, excess),
        // The others have a few texts and nothing else.
        _ => {}
    }
    serde_json::to_vec(&entry)
}

fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        Value::Array(values) => values.iter_mut().for_each(cut_texts),
        Value::Object(fields) => fields.values_mut().for_each(cut_texts),
        _ => {}
    }
}

fn shorten_incident(incident: &mut Incident, mut excess: usize, bytes_max: usize) {
    let Incident { subject, evidence, gaps, verdict, .. } = incident;
    let gone = [
        (shorten(&mut subject.panes, &mut excess), "pane"),
        (shorten(&mut verdict.others, &mut excess), "weaker explanation"),
        (shorten(evidence, &mut excess), "fact"),
        (shorten(gaps, &mut excess), "gap"),
    ];
    let findings = std::iter::once(&mut verdict.finding).chain(&mut verdict.others);
    findings.for_each(|finding| forget(finding, evidence.len()));
    let gone = gone.into_iter().filter(|(count, _)| *count > 0);
    gaps.push(Gap {
        what: gone.map(|(count, noun)| plural(count, noun)).collect::<Vec<_>>().join(", "),
        why: format!("they were left out: the record of a death has at most {bytes_max} bytes"),
        remedy: String::new(),
    });
}

/// Takes back what speaks for a finding and is not there any more.
fn forget(finding: &mut Finding, evidence: usize) {
    finding.because.retain(|at| *at < evidence);
}

fn shorten_names(names: &mut Vec<String>, mut excess: usize) {
    let gone = shorten(names, &mut excess);
    names.push(format!("… and {gone} more"));
}

/// Takes elements from the end of a list until enough bytes are saved, and returns how many.
fn shorten<T: Serialize>(list: &mut Vec<T>, excess: &mut usize) -> usize {
    let before = list.len();
    while *excess > 0
        && let Some(last) = list.pop()
    {
        let saved = serde_json::to_vec(&last).map_or(0, |json| json.len());
        *excess = excess.saturating_sub(saved);
    }
    before - list.len()
}
