//! Which pane took the memory, as far as the evidence of a death tells.

use crate::model::evidence::{Evidence, Fact};
use crate::model::{PaneId, Program};
use crate::tmux::observe::Observation;

/// The kernel cuts the names of programs to this length (proc_pid_comm(5)).
const COMM_MAX: usize = 15;

/// Returns the pane with the process that was killed for want of memory: by its process id, else the only one in
/// which a program of that name ran.
pub fn hog(seen: &Observation, evidence: &[Evidence]) -> Option<PaneId> {
    let victim = evidence.iter().find_map(|one| match &one.fact {
        Fact::OomVictim { comm, pid, .. } => Some((*pid, comm.as_bytes())),
        _ => None,
    });
    let (pid, comm) = victim?;
    let own = seen.vitals.iter().find(|(_, vitals)| vitals.pid == pid).map(|(pane, _)| *pane);
    own.or_else(|| {
        let mut called: Vec<PaneId> = seen
            .server
            .panes()
            .filter(|(.., pane)| runs(&pane.program, comm))
            .map(|(.., pane)| pane.id)
            .collect();
        called.sort_unstable();
        called.dedup();
        match called[..] {
            [only] => Some(only),
            _ => None,
        }
    })
}

fn runs(program: &Program, comm: &[u8]) -> bool {
    let jobs = program.to_be_started().flatten();
    jobs.map(|process| process.exe.base_name()).any(|name| &name[..name.len().min(COMM_MAX)] == comm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use crate::model::evidence::Victim;
    use crate::model::sample;
    use crate::tmux::observe::{OutputMark, Vitals};

    #[test]
    fn the_pane_of_the_victim_is_found_by_its_process_or_its_name() {
        let mut server = sample::server(1, &["a", "b", "c"]);
        let run = |name: &str| Program::shell(sample::process(&["-bash"]), vec![sample::process(&[name])]);
        for (session, program) in server.sessions.iter_mut().zip(["hog", "cc1", "cc1"]) {
            session.windows[0].panes[0].program = run(program);
        }
        let vitals = |pid| Vitals {
            pid,
            dead: false,
            alternate: false,
            waiting: false,
            keep_text: true,
            output: OutputMark::default(),
        };
        let vitals = [(PaneId(0), vitals(70)), (PaneId(1), vitals(71)), (PaneId(2), vitals(72))].into();
        let (attached, cgroups, kills) = (HashMap::new(), HashMap::new(), Vec::new());
        let (clients, cut_off, began) = (Vec::new(), Vec::new(), None);
        let seen = Observation { server, vitals, attached, clients, cut_off, began, cgroups, kills };
        let found = |comm: &str, pid| {
            let victim = Victim::Child;
            let fact = Fact::OomVictim { victim, comm: comm.into(), pid, rss_bytes: 1, limit: None };
            hog(&seen, &[Fact::Cut.undated(), fact.undated()])
        };
        assert_eq!(found("bash", 71), Some(PaneId(1)));
        assert_eq!(found("hog", 99), Some(PaneId(0)));
        assert_eq!(found("cc1", 99), None, "which of them?");
        assert_eq!(found("ld", 99), None);
        assert_eq!(hog(&seen, &[]), None);
    }
}
