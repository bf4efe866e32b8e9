//! How panes come back: in which order, and whether their programs start by themselves.

use crate::model::{PaneId, StartMode};

/// How panes come back. What is not said is as the configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether the machine's memory is heeded: nobody waits for it.
    pub paced: bool,
    /// Whether everything but shells waits for Enter, whatever is approved.
    pub asks: bool,
    /// Panes that come last, because they took most of the memory.
    pub last: Vec<PaneId>,
    /// Panes whose programs wait for Enter, whatever is approved.
    pub asking: Vec<PaneId>,
    /// Panes whose programs start at once, because the configuration has them started again.
    pub running: Vec<PaneId>,
}

impl Manner {
    /// Returns that of what comes back although nobody asked for it.
    pub fn unasked() -> Self {
        Self { paced: true, ..Self::default() }
    }

    /// Returns what a pane's program does, if that does not follow from what is approved. `pressed` tells whether
    /// there is too little memory.
    pub fn mode(&self, pane: PaneId, pressed: bool) -> Option<StartMode> {
        let asks = self.asks || self.asking.contains(&pane) || pressed && self.last.contains(&pane);
        match asks {
            true => Some(StartMode::Ask),
            false => self.running.contains(&pane).then_some(StartMode::Run),
        }
    }

    /// Takes another one in.
    pub fn extend(&mut self, other: Manner) {
        self.paced |= other.paced;
        self.asks |= other.asks;
        self.last.extend(other.last);
        self.asking.extend(other.asking);
        self.running.extend(other.running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_goes_before_who_runs() {
        let (hog, agent, other) = (PaneId(1), PaneId(2), PaneId(3));
        let manner = Manner { last: vec![hog], running: vec![hog, agent], ..Manner::unasked() };
        let modes = |manner: &Manner, pressed| [hog, agent, other].map(|pane| manner.mode(pane, pressed));
        let (ask, run) = (Some(StartMode::Ask), Some(StartMode::Run));
        assert_eq!(modes(&manner, false), [run, run, None]);
        assert_eq!(modes(&manner, true), [ask, run, None], "no hog into a machine without memory");
        let again = Manner { asking: vec![agent], ..manner.clone() };
        assert_eq!(modes(&again, false), [run, ask, None]);
        assert_eq!(modes(&Manner { asks: true, ..manner }, false), [ask, ask, ask]);
    }
}
