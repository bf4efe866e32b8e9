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
    let steps = plan.steps.iter().map(|step| match &step.target {
        Target::Sharing(peer) => format!("make {} like {peer}", step.session.name),
        Target::New => format!("make {}", step.session.name),
        Target::Replacing(id) => format!("make {} for {id}", step.session.name),
        Target::Living => format!("add to {}", step.session.name),
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
        let selection = Selection {
            sessions: wanted.iter().map(ToString::to_string).collect(),
            by_hand,
            ..Selection::default()
        };
        let plan = plan(7, &saved(1, &["a", "b"]), live.as_ref(), &selection).unwrap();
        assert_eq!(told(&plan), expected, "{title}");
        assert_eq!((plan.generation, plan.is_empty()), (7, !expected.contains("make")), "{title}");
    }
}

#[test]
fn names_mean_themselves_and_are_no_patterns() {
    for name in NAMES {
        let selection = Selection { sessions: vec![name.to_owned()], by_hand: true, ..Selection::default() };
        let plan = plan(7, &saved(1, &NAMES), None, &selection).unwrap();
        assert_eq!(told(&plan), format!("make {name}"));
    }
    for unknown in ["we", "WEB", "w*", "=web", "web:", "$0", ""] {
        let selection = Selection {
            sessions: vec!["web".to_owned(), unknown.to_owned()],
            by_hand: true,
            ..Selection::default()
        };
        let error = plan(7, &saved(1, &["web", "it's"]), None, &selection).unwrap_err().to_string();
        let near = if ["", "w*", "$0"].contains(&unknown) { "" } else { " (did you mean \"web\"?)" };
        assert_eq!(error, format!("snapshot 7 holds no session {unknown:?}{near}; it holds: web, it's"));
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
        let selection = Selection { sessions, by_hand, ..Selection::default() };

        let first = plan(7, &saved, Some(&live), &selection).unwrap();
        prop_assert_eq!(first.steps.len() + first.skips.len(), expected);
        for step in &first.steps {
            prop_assert!(!alive.contains(&step.session.name.as_str()));
            if let Target::Sharing(peer) = &step.target {
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

// ── windows and new names ──

/// `web` with the windows 0 "edit", 2 "logs" and 5 "build", the last two being the last and the current one.
fn saved_windows() -> Snapshot {
    let mut saved = saved(1, &["web", "api"]);
    let web = &mut saved.server.sessions[0];
    web.windows =
        [(10, 0, "edit"), (11, 2, "logs"), (12, 5, "build")].map(|(id, i, n)| window(id, i, n)).into();
    (web.active_window, web.last_window) = (5, Some(2));
    saved
}

/// A window in whose directory its name can be read.
fn window(id: u32, index: u32, name: &str) -> Window {
    let mut pane = sample::pane(id, 0);
    pane.directory = format!("/{name}").as_str().into();
    Window { name: name.to_owned(), ..sample::window(id, index, vec![pane]) }
}

/// A living `web` with these windows.
fn living_web(life: u32, windows: &[(u32, u32, &str)]) -> Server {
    let mut server = sample::server(life, &["web"]);
    server.sessions[0].windows = windows.iter().map(|(id, index, name)| window(*id, *index, name)).collect();
    server
}

fn by_window(windows: &[&str]) -> Selection {
    let windows = windows.iter().map(ToString::to_string).collect();
    Selection { windows, by_hand: true, ..Selection::default() }
}

/// Returns the plan with its windows and notes.
fn told_fully(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(|step| {
        let windows: Vec<_> =
            step.session.windows.iter().map(|one| format!("{}{}", one.index, one.name)).collect();
        format!("{:?} {} [{}] {}", step.target, step.session.name, windows.join(" "), step.note)
    });
    let skips = plan.skips.iter().map(|skip| format!("skip {}: {}", skip.session, skip.why.sentence()));
    steps.chain(skips).map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

/// A title, the life of the living server, its windows, what is asked for, and the plan.
type WindowCase =
    (&'static str, u32, &'static [(u32, u32, &'static str)], &'static [&'static str], &'static str);

#[test]
fn a_window_comes_to_the_session_that_lives_at_its_index_or_the_next_free_one() {
    let only_edit: &'static [_] = &[(10, 0, "edit")];
    let other_at_2: &'static [_] = &[(10, 0, "edit"), (20, 2, "new"), (21, 3, "newer")];
    let all: &'static [_] = &[(10, 0, "edit"), (11, 7, "logs"), (12, 5, "build")];
    let restored: &'static [_] = &[(0, 0, "edit"), (1, 2, "new"), (2, 3, "logs")];
    let cases: [WindowCase; 8] = [
        ("its index is free", 1, only_edit, &["logs"], "Living web [2logs] window 2 \"logs\""),
        (
            "taken",
            1,
            other_at_2,
            &["web:2"],
            "Living web [4logs] window 2 \"logs\" as window 4, because 2 is taken",
        ),
        ("it lives", 1, all, &["web:2"], "skip web: window 2 is there already, at index 7 now"),
        ("it lives where it was", 1, all, &["web:5"], "skip web: window 5 is there already"),
        (
            "restored before",
            2,
            restored,
            &["web:2"],
            "skip web: a window like 2 is there already, at index 3",
        ),
        (
            "an id of another life means nothing",
            2,
            &[(11, 0, "x")],
            &["web:2"],
            "Living web [2logs] window 2 \"logs\"",
        ),
        (
            "two, one there",
            1,
            only_edit,
            &["edit", "build"],
            "Living web [5build] window 5 \"build\", skip web: window 0 is there already",
        ),
        (
            "a like window that was there with it is another",
            1,
            &[(12, 2, "logs")],
            &["web:2"],
            "Living web [3logs] window 2 \"logs\" as window 3, because 2 is taken",
        ),
    ];
    for (title, life, windows, wanted, expected) in cases {
        let live = living_web(life, windows);
        let plan = plan(7, &saved_windows(), Some(&live), &by_window(wanted)).unwrap();
        assert_eq!(told_fully(&plan), expected, "{title}");
    }
}

#[test]
fn a_session_that_is_gone_comes_back_with_only_the_window() {
    let saved = saved_windows();
    let plan = plan(7, &saved, None, &by_window(&["logs", "web:0"])).unwrap();
    assert_eq!(told_fully(&plan), "New web [0edit 2logs] only window 0 \"edit\" and window 2 \"logs\"");
    // The current one is not among them; the last one is not current and last at once.
    assert_eq!((plan.steps[0].session.active_window, plan.steps[0].session.last_window), (0, Some(2)));
}

#[test]
fn under_another_name_a_session_comes_beside_the_one_that_lives() {
    let mut saved = saved_windows();
    saved.server.sessions[0].group = Some("g".to_owned());
    let mut live = living_web(1, &[(10, 0, "edit")]);
    live.sessions[0].group = Some("g".to_owned());
    let told = |sessions: &[&str], windows: &[&str], name: &str| {
        let sessions = sessions.iter().map(ToString::to_string).collect();
        let selection = Selection { sessions, rename: Some(name.to_owned()), ..by_window(windows) };
        plan(7, &saved, Some(&live), &selection)
            .map_or_else(|error| error.to_string(), |plan| told_fully(&plan))
    };
    let apart = "with windows of its own, outside the group g";
    assert_eq!(told(&["web"], &[], "old"), format!("New old [0edit 2logs 5build] it was web; {apart}"));
    assert_eq!(
        told(&[], &["logs"], "old"),
        format!("New old [2logs] it was web; only window 2 \"logs\"; {apart}")
    );
    assert_eq!(told(&["api"], &[], "web"), "a session \"web\" is there already");
}

#[test]
fn one_of_a_group_that_comes_back_alone_says_so() {
    let mut saved = sample::snapshot(sample::server(1, &["a", "b", "c"]));
    for session in &mut saved.server.sessions[..2] {
        session.group = Some("g".to_owned());
    }
    let mut live = sample::server(2, &[]);
    let notes = |saved: &Snapshot, live: &Server, names: &[&str]| {
        let sessions = names.iter().map(ToString::to_string).collect();
        let selection = Selection { sessions, by_hand: true, ..Selection::default() };
        let plan = plan(7, saved, Some(live), &selection).unwrap();
        plan.steps.into_iter().map(|step| step.note).collect::<Vec<_>>()
    };
    let apart = "with windows of its own, outside the group g";
    assert_eq!(notes(&saved, &live, &["a"]), [apart]);
    assert_eq!(notes(&saved, &live, &["b", "c"]), [apart, ""]);
    assert_eq!(notes(&saved, &live, &["a", "b", "c"]), ["", "", ""]);
    live.sessions = sample::server(2, &["a"]).sessions;
    assert_eq!(notes(&saved, &live, &["b"]), [apart], "the other one has come back alone before");
    live.sessions[0].group = Some("g".to_owned());
    let shared = saved.server.sessions[0].windows.clone();
    saved.server.sessions[1].windows = shared;
    assert_eq!(notes(&saved, &live, &["b"]), [""]);
}

#[test]
fn a_window_that_comes_back_without_its_link_says_so() {
    let mut saved = sample::snapshot(sample::server(1, &["a", "b"]));
    let shared = saved.server.sessions[0].windows[0].clone();
    saved.server.sessions[1].windows.push(Window { index: 7, ..shared });
    let notes = |names: &[&str]| {
        let sessions = names.iter().map(ToString::to_string).collect();
        let selection = Selection { sessions, by_hand: true, ..Selection::default() };
        let plan = plan(7, &saved, Some(&sample::server(2, &[])), &selection).unwrap();
        plan.steps.into_iter().map(|step| step.note).collect::<Vec<_>>()
    };
    assert_eq!(notes(&["a"]), ["window 0 of its own, not linked to b any more"]);
    assert_eq!(notes(&["b"]), ["window 7 of its own, not linked to a any more"]);
    assert_eq!(notes(&["a", "b"]), ["", ""]);
}

#[test]
fn a_mark_that_the_user_has_set_stays_where_it_is() {
    let mut saved = saved_windows();
    saved.server.sessions[1].windows[0].panes[0].marked = true;
    let mut live = sample::server(2, &["web"]);
    let marked = |live: &Server| {
        let plan = plan(7, &saved, Some(live), &Selection::default()).unwrap();
        plan.steps[0].session.windows[0].panes[0].marked
    };
    assert!(marked(&live));
    live.sessions[0].windows[0].panes[0].marked = true;
    assert!(!marked(&live));
}

proptest! {
    /// What lives is not in a plan: no index that is taken, no name that is taken; the second time nothing is done.
    #[test]
    fn windows_are_added_once_and_beside_what_lives(
        same_life in any::<bool>(),
        alive in proptest::collection::btree_map(0_u32..8, "[ab]", 1..6),
        wanted in proptest::sample::subsequence(vec!["edit", "logs", "build"], 1..=3),
    ) {
        let saved = saved_windows();
        let windows: Vec<_> = alive.iter().map(|(index, name)| (100 + index, *index, name.as_str())).collect();
        let mut live = living_web(if same_life { 1 } else { 2 }, &windows);
        let first = plan(7, &saved, Some(&live), &by_window(&wanted)).unwrap();
        prop_assert_eq!(first.steps.len(), 1);
        let added = &first.steps[0].session.windows;
        prop_assert_eq!(added.len(), wanted.len());
        for (id, window) in (200..).zip(added) {
            let web = &mut live.sessions[0];
            prop_assert!(web.windows.iter().all(|other| other.index != window.index));
            web.windows.push(Window { id: crate::model::WindowId(id), ..window.clone() });
        }
        let second = plan(7, &saved, Some(&live), &by_window(&wanted)).unwrap();
        prop_assert!(second.is_empty(), "{}", told_fully(&second));
        prop_assert_eq!(second.skips.len(), wanted.len());
    }
}
