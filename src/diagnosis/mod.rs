//! Says why something died: facts in, one verdict out.
//!
//! | what | where |
//! |---|---|
//! | the table: which facts together show which cause, and how surely | [`rules`] |
//! | a verdict in words | [`explain`] |
//! | which command closed what | [`kills`] |
//! | what a server has lost between two looks | [`losses`] |
//! | which of the facts that were seen are about a death | [`relevance`] |
//!
//! A rule asks for facts that are there and never for facts that are missing, so more evidence never makes a verdict
//! less sure, and less never makes it surer. That somebody looked and found nothing is a fact as well.

use std::collections::HashSet;

use crate::model::evidence::Evidence;
use crate::model::incident::{Cause, Confidence, Finding, Subject, Verdict};

pub mod explain;
pub mod habitat;
pub mod kills;
pub mod losses;
pub mod relevance;
pub mod rules;

use rules::{RULES, Rule, Way};

/// Returns why something died.
pub fn diagnose(subject: &Subject, evidence: &[Evidence]) -> Verdict {
    let rules = RULES.iter().filter(|rule| rule.on.contains(&subject.kind));
    let mut findings: Vec<Finding> = rules.filter_map(|rule| apply(rule, subject, evidence)).collect();
    // A stable sort: among equally sure explanations the rule that stands first in the table knows more.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.confidence));
    // A cause that several rules show, by the surest of them.
    let mut told = HashSet::new();
    findings.retain(|finding| told.insert(finding.cause));
    let mut findings = findings.into_iter();
    let unknown = Finding { cause: Cause::Unknown, confidence: Confidence::None, because: Vec::new() };
    Verdict { finding: findings.next().unwrap_or(unknown), others: findings.collect() }
}

/// Returns the surest way in which a rule holds.
fn apply(rule: &Rule, subject: &Subject, evidence: &[Evidence]) -> Option<Finding> {
    let ways = rule.ways.iter().filter_map(|way| {
        let because = witnesses(way, subject, evidence)?;
        Some(Finding { cause: rule.cause, confidence: way.confidence, because })
    });
    // The first of the surest ones.
    ways.reduce(|best, next| if next.confidence > best.confidence { next } else { best })
}

/// Returns where the facts stand that a way asks for, if all are there.
fn witnesses(way: &Way, subject: &Subject, evidence: &[Evidence]) -> Option<Vec<usize>> {
    let found = way.facts.iter().map(|wanted| evidence.iter().position(|one| wanted(subject, &one.fact)));
    let mut because = found.collect::<Option<Vec<usize>>>()?;
    because.sort_unstable();
    because.dedup();
    Some(because)
}

#[cfg(test)]
mod tests;
