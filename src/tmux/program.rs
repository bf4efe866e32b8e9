//! What runs in a pane, as /proc has it: the shells in one another, the innermost one's job in the foreground
//! and the jobs in the background.
//!
//! What a shell does by itself (loops, functions, redirections) cannot be seen from outside. Of those the
//! processes are recorded that they run at this moment. A process that a shell forked and that has executed
//! nothing since (a subshell) is not a command that could be run again; what runs in it stands for it.

use crate::model::{ByteString, Job, ObjectId, PaneStart, Process, Program, Scrollback, start_order};
use crate::proc::{Descriptor, Proc, Stat};

use super::observe::FindStart;
use super::query::PaneRow;
use super::shell::is_shell;

/// How many shells in one another are looked at, and how deep a program may hide the one that has the
/// terminal (`su`, `script`).
const DEPTH_MAX: usize = 16;

/// Looks at the processes of panes.
pub(super) struct Programs<'a> {
    pub(super) proc: &'a Proc,
    pub(super) find_start: FindStart<'a>,
    /// The server's own arguments: a pane's process that has them has been forked and not executed yet.
    pub(super) server_argv: Vec<ByteString>,
}

/// A process on the way from a pane's own down to the one that has the terminal.
#[derive(Debug, Clone)]
struct Node {
    pid: u32,
    stat: Stat,
    /// Where it is, or was started.
    directory: ByteString,
}

/// What a pane's own process has started.
#[derive(Debug, Default)]
struct Below {
    nested: Vec<Process>,
    job: Vec<Process>,
    background: Vec<Job>,
}

impl Below {
    fn is_empty(&self) -> bool {
        self.nested.is_empty() && self.job.is_empty() && self.background.is_empty()
    }
}

impl Programs<'_> {
    /// Looks at the processes of a pane.
    pub(super) fn look(&self, row: &PaneRow) -> Seen {
        if row.dead || row.pid == 0 {
            return Seen::default();
        }
        let started_in = ByteString::from(row.start_directory.as_slice());
        let Ok(root) = self.proc.process(row.pid, Some(&started_in)) else {
            return Seen::default();
        };
        if root.argv == self.server_argv {
            return Seen::default();
        }
        let directory = Some(root.directory.clone());
        let order = start_order(&root).and_then(|(id, _)| Some((id, (self.find_start)(id)?)));
        let program = match order {
            Some((id, start)) => {
                let below = self.below(row.pid, &root);
                if below.is_empty() {
                    // What waits is what was saved: its own text and its own program, not the question.
                    let PaneStart { program, scrollback, .. } = start;
                    return Seen { directory, program, scrollback, start: Some(id) };
                }
                with(start.program, below)
            }
            None if is_shell(&root) => {
                let below = self.below(row.pid, &root);
                with(Program::shell(root, Vec::new()), below)
            }
            None => Program::Command { process: root },
        };
        Seen { directory, program, ..Seen::default() }
    }

    /// Follows the terminal from a pane's own shell, through shells in shells, to the job that has it.
    fn below(&self, pid: u32, root: &Process) -> Below {
        let mut below = Below::default();
        let Ok(stat) = self.proc.stat(pid) else {
            return below;
        };
        let front = stat.foreground_group;
        let mut shell = Node { pid, stat, directory: root.directory.clone() };
        for _ in 0..DEPTH_MAX {
            let children = self.children(&shell);
            let next = self.towards(front, &shell, &children);
            let next_group = next.first().map(|node| node.stat.process_group);
            below.background.extend(self.background(&shell, &children, next_group));
            match next.as_slice() {
                [] => break,
                [only] => {
                    if let Some(process) = self.nested_shell(only, &shell) {
                        shell = Node { directory: process.directory.clone(), ..only.clone() };
                        below.nested.push(process);
                        continue;
                    }
                    let hides_a_shell = only.stat.process_group != front && only.stat.is_fork_of(&shell.stat);
                    if hides_a_shell {
                        shell = only.clone();
                        continue;
                    }
                    below.job = self.processes(&next, &shell);
                    break;
                }
                _ => {
                    below.job = self.processes(&next, &shell);
                    break;
                }
            }
        }
        below
    }

    /// Returns the living children of a process that have not left the pane.
    fn children(&self, parent: &Node) -> Vec<Node> {
        let children = self.proc.children(parent.pid).into_iter();
        let here = children
            .filter(|(_, stat)| stat.session == parent.stat.session && stat.terminal == parent.stat.terminal);
        here.map(|(pid, stat)| Node { pid, stat, directory: parent.directory.clone() }).collect()
    }

    /// Returns the children of a shell that are in the group that has the terminal, or else the group below
    /// which it is; nothing when the shell has the terminal itself.
    fn towards(&self, front: i32, shell: &Node, children: &[Node]) -> Vec<Node> {
        if front <= 0 || front == shell.stat.process_group {
            return Vec::new();
        }
        let in_group = |group: i32| -> Vec<Node> {
            children.iter().filter(|child| child.stat.process_group == group).cloned().collect()
        };
        let direct = in_group(front);
        if !direct.is_empty() {
            return direct;
        }
        match children.iter().find(|child| self.leads_to(front, child, DEPTH_MAX)) {
            Some(child) => in_group(child.stat.process_group),
            None => self.stranger(front, shell).into_iter().collect(),
        }
    }

    fn leads_to(&self, front: i32, node: &Node, depth: usize) -> bool {
        let below = if depth == 0 { Vec::new() } else { self.children(node) };
        below.iter().any(|child| child.stat.process_group == front || self.leads_to(front, child, depth - 1))
    }

    /// Returns the leader of the group that has the terminal, when its parent has gone.
    fn stranger(&self, front: i32, shell: &Node) -> Option<Node> {
        let pid = u32::try_from(front).ok()?;
        let stat = self.proc.stat(pid).ok()?;
        let ours = stat.session == shell.stat.session && !stat.ended;
        ours.then(|| Node { pid, stat, directory: shell.directory.clone() })
    }

    /// Returns a child as a shell in a shell, if it is one or is about to become one.
    fn nested_shell(&self, child: &Node, parent: &Node) -> Option<Process> {
        // Our own process in a shell's place was started by ourselves, and is the same program.
        let process = self.proc.process(child.pid, Some(&parent.directory)).ok()?;
        if let Some((id, level)) = start_order(&process) {
            let Program::Shell { nested, .. } = (self.find_start)(id)?.program else { return None };
            return nested.into_iter().nth(level.checked_sub(1)?);
        }
        (is_shell(&process) && !child.stat.is_fork_of(&parent.stat)).then_some(process)
    }

    /// Returns the jobs that a shell has in the background: the groups of its children that are neither its own
    /// nor the given one, and that were started at the terminal. Helpers (a prompt's daemon, a worker of a
    /// plug-in, `>(tee log)`) get their orders through a pipe or have another terminal.
    fn background(&self, shell: &Node, children: &[Node], except: Option<i32>) -> Vec<Job> {
        let mut groups: Vec<Vec<Node>> = Vec::new();
        let wanted = |group: i32| group != shell.stat.process_group && Some(group) != except;
        for child in children.iter().filter(|child| wanted(child.stat.process_group)) {
            match groups.iter_mut().find(|group| group[0].stat.process_group == child.stat.process_group) {
                Some(group) => group.push(child.clone()),
                None => groups.push(vec![child.clone()]),
            }
        }
        groups.retain(|group| self.was_started_at_the_terminal(&group[0]));
        let jobs = groups.iter().map(|group| Job {
            processes: self.processes(group, shell),
            stopped: group.iter().any(|node| node.stat.stopped),
        });
        jobs.filter(|job| !job.processes.is_empty()).collect()
    }

    fn was_started_at_the_terminal(&self, leader: &Node) -> bool {
        let terminal = Some(Descriptor::Device(leader.stat.terminal));
        let [stdin, stdout] = [0, 1].map(|number| self.proc.descriptor(leader.pid, number));
        stdin == terminal || (stdout == terminal && stdin != Some(Descriptor::Pipe))
    }

    /// Returns the processes of a job from left to right, with what runs in a subshell in its place; nothing
    /// when one of them cannot be read, because half a pipeline is another one.
    fn processes(&self, members: &[Node], parent: &Node) -> Vec<Process> {
        let mut found = Vec::new();
        match self.expand(members, parent, DEPTH_MAX, &mut found) {
            Some(()) => found,
            None => Vec::new(),
        }
    }

    fn expand(&self, members: &[Node], parent: &Node, depth: usize, to: &mut Vec<Process>) -> Option<()> {
        for node in members {
            if node.stat.is_fork_of(&parent.stat) {
                let mut inside = self.children(node);
                inside.retain(|child| child.stat.process_group == node.stat.process_group);
                self.expand(&inside, node, depth.checked_sub(1)?, to)?;
                continue;
            }
            match self.proc.process(node.pid, Some(&parent.directory)) {
                Ok(process) => to.push(process),
                // It has ended meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}

/// What was seen of a pane's processes.
pub(super) struct Seen {
    pub(super) directory: Option<ByteString>,
    pub(super) program: Program,
    pub(super) scrollback: Scrollback,
    pub(super) start: Option<ObjectId>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { directory: None, program: Program::Unknown, scrollback: Scrollback::default(), start: None }
    }
}

/// Returns a shell with what runs in it now.
fn with(program: Program, Below { nested, job, background }: Below) -> Program {
    match program {
        Program::Shell { shell, .. } => Program::Shell { shell, nested, job, background },
        other => other,
    }
}
