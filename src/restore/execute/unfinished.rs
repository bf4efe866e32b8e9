//! What a keeper that was killed in the middle of a restore has left.

use crate::model::{ByteString, Session, SessionId, start_order};
use crate::proc::Proc;
use crate::tmux::command::Command;

use super::{PLACEHOLDER, Run, StepError};

/// The processes of a session's panes, each with a space behind it.
const PIDS: &str = "#{W:#{P:#{pane_pid} }}";

impl Run<'_> {
    /// Removes a session that a keeper was making when it was killed, unless something of the user's can be in it:
    /// somebody has been in it since then, or a pane has more in it than our own process that waits. A shell that
    /// has started counts: what was typed into it (`send-keys` needs no client) is not seen from outside.
    pub(super) async fn remove_unfinished(&self, id: SessionId, session: &Session) -> Result<(), StepError> {
        let place = format!("{id}:");
        let ask = Command::new("display-message").arg("-p").flag("-t", &place).arg(PIDS);
        let pids = self.run(&[ask]).await?;
        let pids = String::from_utf8_lossy(&pids).trim_end_matches('\n').to_owned();
        let proc = Proc::default();
        if !pids.split_ascii_whitespace().all(|pid| pid.parse().is_ok_and(|pid| only_waits(&proc, pid))) {
            return Err(self.in_use(session));
        }
        // Asked and done in one breath: whoever attaches or opens a pane meanwhile keeps all of it. 3.2a crashes when
        // it expands this for a session that is gone, so that is asked before.
        let untouched = format!("#{{&&:#{{==:#{{session_last_attached}},}},#{{==:{PIDS},{pids}}}}}");
        let there = Command::new("has-session").flag("-t", id);
        let kill = Command::new("if-shell").arg("-F").flag("-t", place).arg(untouched);
        let kill = kill.arg(format!("kill-session -t '{id}'")).arg("display-message -p used");
        match self.run(&[there, kill]).await?.is_empty() {
            true => Ok(()),
            false => Err(self.in_use(session)),
        }
    }

    fn in_use(&self, session: &Session) -> StepError {
        let name = shlex::try_quote(&session.name).map_or_else(|_| session.name.clone(), Into::into);
        StepError::Unfinished { generation: self.generation, name }
    }
}

/// Returns whether a pane's process is one of ours in which nothing of the user's has started.
fn only_waits(proc: &Proc, pid: u32) -> bool {
    let Ok(process) = proc.process(pid, None) else { return false };
    let placeholder = process.argv.iter().map(ByteString::as_bytes).eq(PLACEHOLDER.map(str::as_bytes));
    (placeholder || start_order(&process).is_some()) && proc.children(pid).is_empty()
}
