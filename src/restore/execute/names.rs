//! Sessions by their names, and names in the form in which they have to be given.

use crate::model::{Session, SessionId};
use crate::restore::name::{printable, typed};
use crate::tmux::command::Command;
use crate::tmux::escape::{counted, unvis};

use super::{Run, StepError, parse};

impl Run<'_> {
    /// Finds a session by its name. As a target a name could be read as a pattern or as a place.
    pub(super) async fn session_id(&self, name: &str) -> Result<SessionId, StepError> {
        let list =
            Command::new("list-sessions").flag("-F", "#{session_id}\t#{n:session_name}:#{session_name}");
        let output = self.run(&[list]).await?;
        let text = String::from_utf8_lossy(&output);
        let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
        let wanted = typed(name, &self.version);
        let found = lines.find(|(_, other)| {
            counted(other.as_bytes(), &self.version).is_some_and(|stored| unvis(&stored) == wanted)
        });
        let (id, _) = found.ok_or_else(|| StepError::NoPeer(name.to_owned()))?;
        parse(id)
    }

    /// -E: the session gets no variables from us; the user's own arrive when a client attaches.
    pub(super) fn new_session(&self, session: &Session) -> Command {
        let name = typed(&session.name, &self.version);
        Command::new("new-session").arg("-d").arg("-E").arg("-s").literal(&name)
    }

    pub(super) fn renaming(&self, id: SessionId, name: &str) -> Command {
        Command::new("rename-session").flag("-t", id).arg("--").literal(&typed(name, &self.version))
    }

    /// Returns the form in which a name of a window or a title has to be given to be stored as it was.
    pub(super) fn given(&self, name: &str) -> Vec<u8> {
        if self.encodes { printable(&unvis(name.as_bytes())) } else { name.as_bytes().to_vec() }
    }
}

/// Returns the target that means the session of this name and can mean nothing else. `=$0:` is an id whatever is
/// called so, from 3.7 on names may have in them what separates the parts of a target, and one that is stored
/// encoded may be stored otherwise here.
pub(super) fn exact_target(name: &str) -> Option<String> {
    let ambiguous = name.starts_with(['$', '@', '%']) || name.contains([':', '.', '\\']);
    (!ambiguous).then(|| format!("={name}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_mean_something_else_is_no_target() {
        assert_eq!(exact_target("=a b{x}").as_deref(), Some("==a b{x}:"));
        for name in ["$0", "@1", "%2", "a:b", "a.b", r"a\\b"] {
            assert_eq!(exact_target(name), None, "{name}");
        }
    }
}
