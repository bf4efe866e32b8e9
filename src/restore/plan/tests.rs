//! What is planned for which saved and which living sessions.

use super::*;

use proptest::prelude::*;

use crate::model::{Program, Reason, sample};

/// Names as people give them and tmux stores them, dots and colons included: tmux replaces those itself.
const NAMES: [&str; 6] = ["web", "a b", "x.y:z", "it's \"q\"", "😀 #{x} $(y)", "web2"];

fn saved(life: u32, names: &[&str]) -> Snapshot {
    sample::snapshot(sample::server(life, names))
}

/// Returns the plan as a person would tell it.
fn told(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(|step| match &step.shares_windows_of {
        Some(peer) => format!("make {} like {peer}", step.session.name),
        None => format!("make {}", step.session.name),
    });
    let skips = plan.skips.iter().map(|skip| format!("skip {}: {:?}", skip.session, skip.why));
    steps.chain(skips).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_lives_is_left_alone_and_the_rest_is_made() {
    type Case<'a> = (&'a str, Option<Server>, &'a [&'a str], bool, &'a str);
    let server = sample::server;
    let renamed = {
        let mut server = server(1, &["a", "b"]);
        server.sessions[1].name = "new name".to_owned();
        server
    };
    let cases: [Case<'_>; 11] = [
        ("no server", None, &[], false, "make a, make b"),
        ("an empty one", Some(server(2, &[])), &[], false, "make a, make b"),
        ("nothing lost", Some(server(1, &["a", "b"])), &[], false, "skip a: Alive, skip b: Alive"),
        (
            "all there, in another life",
            Some(server(2, &["b", "a"])),
            &[],
            false,
            "skip a: Alive, skip b: Alive",
        ),
        ("one lost", Some(server(2, &["x", "b"])), &[], false, "make a, skip b: Alive"),
        ("one closed", Some(server(1, &["a"])), &[], false, "skip a: Alive, skip b: Closed"),
        ("one closed, by hand", Some(server(1, &["a"])), &[], true, "make b, skip a: Alive"),
        ("one renamed, by hand", Some(renamed), &[], true, "skip a: Alive, skip b: Alive"),
        ("only one wanted", None, &["b"], true, "make b"),
        ("only one wanted, and it lives", Some(server(2, &["b"])), &["b"], true, "skip b: Alive"),
        ("one wanted twice", None, &["b", "b"], true, "make b"),
    ];
    for (title, live, wanted, by_hand, expected) in cases {
        let selection = Selection { sessions: wanted.iter().map(ToString::to_string).collect(), by_hand };
        let plan = plan(7, &saved(1, &["a", "b"]), live.as_ref(), &selection).unwrap();
        assert_eq!(told(&plan), expected, "{title}");
        assert_eq!((plan.generation, plan.is_empty()), (7, !expected.contains("make")), "{title}");
    }
}

#[test]
fn names_mean_themselves_and_are_no_patterns() {
    for name in NAMES {
        let selection = Selection { sessions: vec![name.to_owned()], by_hand: true };
        let plan = plan(7, &saved(1, &NAMES), None, &selection).unwrap();
        assert_eq!(told(&plan), format!("make {name}"));
    }
    for unknown in ["we", "WEB", "w*", "=web", "web:", "$0", ""] {
        let selection = Selection { sessions: vec!["web".to_owned(), unknown.to_owned()], by_hand: true };
        let error = plan(7, &saved(1, &["web", "it's"]), None, &selection).unwrap_err().to_string();
        assert_eq!(error, format!("snapshot 7 holds no session {unknown:?}; it holds: web, it's"));
    }
}

#[test]
fn a_group_shares_windows_with_whichever_of_it_is_there_first() {
    let mut saved = saved(1, &["a", "b", "c", "alone", "other"]);
    for (at, group) in [(0, "g"), (1, "g"), (2, "g"), (4, "h")] {
        saved.server.sessions[at].group = Some(group.to_owned());
    }
    let unasked = |live: Option<&Server>| told(&plan_unasked(7, &saved, live));
    assert_eq!(unasked(None), "make a, make b like a, make c like a, make alone, make other");
    let mut live = sample::server(2, &["c"]);
    assert_eq!(
        unasked(Some(&live)),
        "make a, make b like a, make alone, make other, skip c: Alive",
        "c is alive, but alone"
    );
    live.sessions[0].group = Some("g".to_owned());
    assert_eq!(unasked(Some(&live)), "make a like c, make b like a, make alone, make other, skip c: Alive");
}

#[test]
fn nothing_comes_back_unasked_that_was_closed() {
    for closed in [Closed::LastSession, Closed::Server] {
        let saved = Snapshot { closed: Some(closed), reason: Reason::Closed, ..saved(1, &["a"]) };
        assert!(plan_unasked(7, &saved, None).is_empty());
    }
}

#[test]
fn what_waits_for_enter_is_told_once_and_as_it_would_be_typed() {
    let mut saved = saved(1, &["it's: x", "twin"]);
    let process = sample::process;
    let Program::Shell { shell, .. } = sample::pane(0, 0).program else { unreachable!() };
    let with_job = |job| Program::shell(shell.clone(), job);
    let programs = [
        with_job(vec![process(&["make", "-j 2"]), process(&["less"])]),
        with_job(Vec::new()),
        Program::Command { process: process(&["vim", "a file"]) },
        Program::Unknown,
    ];
    let pane = |(index, program): (u32, &Program)| crate::model::Pane {
        program: program.clone(),
        ..sample::pane(index, index)
    };
    let panes: Vec<_> = (0..).zip(&programs).map(pane).collect();
    for session in &mut saved.server.sessions {
        session.group = Some("g".to_owned());
        session.windows = vec![sample::window(0, 3, panes.clone())];
    }
    let plan = plan_unasked(7, &saved, None);
    let told = |list: Vec<Started>| -> Vec<String> {
        list.iter().map(|one| format!("{} {}", one.place, one.command)).collect()
    };
    let programs = plan.programs(&Approved::none());
    assert_eq!(told(programs.waiting), ["it's: x:3.0 make '-j 2' | less", "it's: x:3.2 vim 'a file'"]);
    assert!(programs.running.is_empty());
    let programs = plan.programs(&Approved::parse(&["vim"]).unwrap());
    assert_eq!(told(programs.waiting), ["it's: x:3.0 make '-j 2' | less"]);
    assert_eq!(told(programs.running), ["it's: x:3.2 vim 'a file'"]);
}

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len())
}

proptest! {
    /// Each session that is wanted is made or left out, once; and the second time there is nothing to do.
    #[test]
    fn a_plan_is_carried_out_once(
        wanted in names(),
        alive in names(),
        same_life in any::<bool>(),
        selected in names(),
        by_hand in any::<bool>(),
        groups in proptest::collection::vec(proptest::option::of("[gh]"), NAMES.len()),
    ) {
        let mut saved = saved(1, &wanted);
        saved.server.sessions.iter_mut().zip(groups).for_each(|(session, group)| session.group = group);
        let mut live = sample::server(if same_life { 1 } else { 2 }, &[]);
        live.sessions = alive.iter().zip(100..).map(|(name, id)| sample::session(id, name)).collect();
        let known = |name: &&str| wanted.contains(name);
        let sessions: Vec<String> = selected.into_iter().filter(known).map(str::to_owned).collect();
        let expected = if sessions.is_empty() { wanted.len() } else { sessions.len() };
        let selection = Selection { sessions, by_hand };

        let first = plan(7, &saved, Some(&live), &selection).unwrap();
        prop_assert_eq!(first.steps.len() + first.skips.len(), expected);
        for step in &first.steps {
            prop_assert!(!alive.contains(&step.session.name.as_str()));
            if let Some(peer) = &step.shares_windows_of {
                // It is there by then, and of the same group.
                let peer = live.sessions.iter().find(|session| session.name == *peer);
                prop_assert_eq!(&peer.unwrap().group, &step.session.group);
            }
            live.sessions.push(step.session.clone());
        }
        let second = plan(7, &saved, Some(&live), &selection).unwrap();
        prop_assert!(second.is_empty(), "{}", told(&second));
        prop_assert_eq!(second.skips.len(), expected);
    }
}
