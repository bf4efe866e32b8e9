//! Panes that float above the others (tmux 3.7 and newer).
//!
//! `select-layout` knows nothing of them: they are made one by one when the others have their layout, from the
//! lowest to the topmost. Where tmux has none they become ordinary panes, and that is said.

use std::collections::BTreeMap;

use crate::cause::in_words;
use crate::model::{Pane, PaneId, Window, WindowId};
use crate::tmux::command::Command;
use crate::tmux::layout::{Floating, Layout};

use super::{PLACEHOLDER, Run, StepError, parse};

/// How a window's panes are arranged, by their places in the window.
pub(super) struct Shape {
    /// The panes that are split off each other.
    pub(super) tiled: Vec<usize>,
    /// Their layout; `None` when that cannot be had.
    pub(super) layout: Option<String>,
    /// The panes that float, the topmost first.
    pub(super) floating: Vec<(usize, Floating)>,
}

impl Shape {
    /// Returns how a window is to be made by a tmux that can or cannot let panes float.
    pub(super) fn of(window: &Window, can_float: bool) -> Self {
        let all: Vec<usize> = (0..window.panes.len()).collect();
        let read = Layout::parse(&window.layout).ok();
        // Only a zoomed window does not say which panes float; elsewhere a pane out of its place is just that.
        let told = window.zoomed || window.layout.ends_with('>');
        let floating = read.as_ref().filter(|_| told).map_or_else(Vec::new, Layout::floating);
        let place = |cell: &Floating| window.panes.iter().position(|pane| pane.id.0 == cell.pane);
        let floating: Vec<_> = floating.into_iter().filter_map(|cell| Some((place(&cell)?, cell))).collect();
        if floating.is_empty() {
            return Self { tiled: all, layout: Some(window.layout.clone()), floating };
        }
        match read.and_then(|layout| layout.tiled()).filter(|_| can_float) {
            Some(layout) => {
                let floats = |at: &usize| floating.iter().any(|(place, _)| place == at);
                let tiled = all.into_iter().filter(|at| !floats(at)).collect();
                Self { tiled, layout: Some(layout.render()), floating }
            }
            None => Self { tiled: all, layout: None, floating: Vec::new() },
        }
    }

    /// Returns the place of the pane that the window is made with: the one that is to be active, so that no other
    /// counts as visited. If that floats, the one that was active before it.
    pub(super) fn first(&self, window: &Window) -> usize {
        let wanted = [Some(window.active_pane), window.last_pane];
        let tiled = wanted.into_iter().flatten().find(|at| self.tiled.contains(at));
        tiled.or(self.tiled.first().copied()).unwrap_or_default()
    }

    fn floats(&self, place: usize) -> bool {
        self.floating.iter().any(|(at, _)| *at == place)
    }
}

impl Run<'_> {
    /// Makes the panes that float, and chooses the active pane and the one before it. To choose a floating pane
    /// raises it above the others, so those two become active when they are made.
    pub(super) async fn float(
        &mut self,
        window: WindowId,
        saved: &Window,
        shape: &Shape,
        panes: &mut BTreeMap<usize, PaneId>,
    ) {
        let place = format!("window {}", saved.index);
        let select = |at: usize, panes: &BTreeMap<usize, PaneId>| {
            panes.get(&at).map(|pane| Command::new("select-pane").flag("-t", pane))
        };
        let chosen = saved.last_pane.into_iter().chain([saved.active_pane]);
        let tiled = chosen.filter(|at| !shape.floats(*at)).filter_map(|at| select(at, panes)).collect();
        self.try_all(&place, tiled).await;
        let border = self.border(window).await;
        let mut current = None;
        for (at, cell) in shape.floating.iter().rev() {
            let pane = &saved.panes[*at];
            let chosen = *at == saved.active_pane || Some(*at) == saved.last_pane;
            let before = panes.range(at + 1..).next().map(|(_, pane)| *pane);
            let target = Target { window, before, chosen };
            match self.make_floating(&target, cell, border, pane).await {
                Ok(made) => {
                    panes.insert(*at, made);
                    current = if chosen { Some(*at) } else { current };
                }
                Err(error) => {
                    self.problems.push(format!("{place}, pane {}: {}", pane.index, in_words(error)));
                }
            }
        }
        if current.is_some_and(|at| at != saved.active_pane) {
            self.try_all(&place, select(saved.active_pane, panes).into_iter().collect()).await;
        }
    }

    async fn make_floating(
        &mut self,
        target: &Target,
        cell: &Floating,
        border: Border,
        pane: &Pane,
    ) -> Result<PaneId, StepError> {
        let asked = border.around(cell);
        let made = match self.new_pane(target, Some(&asked), pane).await {
            Err(StepError::Tmux(_)) => self.new_pane(target, None, pane).await?,
            made => made?,
        };
        let (id, found) = made;
        if found.is_none_or(|found| Floating { pane: cell.pane, ..found } != *cell) {
            self.problems.push(format!("pane {}: it floats at another place than before", pane.index));
        }
        Ok(id)
    }

    /// Makes a floating pane and returns where it is. Without a place tmux chooses one.
    async fn new_pane(
        &self,
        target: &Target,
        cell: Option<&Floating>,
        pane: &Pane,
    ) -> Result<(PaneId, Option<Floating>), StepError> {
        self.pace(pane).await;
        let command = self.with_program(target.command(cell), pane)?;
        let [id, layout] = self.make(command, pane.directory.as_path()).await?;
        let id = parse(&id)?;
        Ok((id, cell_of(id, &layout)))
    }

    /// Finds out by how much the place of a pane is smaller than what was asked for: up to 3.7c by nothing, then
    /// by the border if there is one.
    async fn border(&self, window: WindowId) -> Border {
        let asked = Floating { pane: 0, width: 5, height: 4, x: 1, y: 1 };
        let target = Target { window, before: None, chosen: false };
        let probe = PLACEHOLDER.iter().fold(target.command(Some(&asked)).arg("--"), Command::arg);
        let probed = async {
            let [id, layout] = self.make(probe, std::path::Path::new("/")).await?;
            let id: PaneId = parse(&id)?;
            self.run(&[Command::new("kill-pane").flag("-t", id)]).await?;
            Ok::<_, StepError>(cell_of(id, &layout))
        };
        // A window may be too small for it; then each pane says itself what is wrong.
        match probed.await {
            Ok(Some(found)) => Border {
                columns: asked.width.saturating_sub(found.width),
                rows: asked.height.saturating_sub(found.height),
                x: found.x - asked.x,
                y: found.y - asked.y,
            },
            _ => Border::default(),
        }
    }
}

/// Where a floating pane is made.
struct Target {
    window: WindowId,
    /// The pane that comes behind it in the order of the indexes; without one it is the last.
    before: Option<PaneId>,
    /// Whether it becomes the active pane.
    chosen: bool,
}

impl Target {
    fn command(&self, cell: Option<&Floating>) -> Command {
        let command = Command::new("new-pane").arg("-P").flag("-F", "#{pane_id}\t#{window_layout}");
        let command = if self.chosen { command } else { command.arg("-d") };
        let command = match self.before {
            Some(pane) => command.arg("-b").flag("-t", pane),
            None => command.flag("-t", self.window),
        };
        match cell {
            Some(Floating { width, height, x, y, .. }) => {
                command.flag("-x", width).flag("-y", height).flag("-X", x).flag("-Y", y)
            }
            None => command,
        }
    }
}

/// What tmux takes off the size that is asked for, and how far it moves the pane.
#[derive(Debug, Clone, Copy, Default)]
struct Border {
    columns: u32,
    rows: u32,
    x: i32,
    y: i32,
}

impl Border {
    fn around(self, cell: &Floating) -> Floating {
        Floating {
            pane: cell.pane,
            width: cell.width.saturating_add(self.columns),
            height: cell.height.saturating_add(self.rows),
            x: cell.x.saturating_sub(self.x),
            y: cell.y.saturating_sub(self.y),
        }
    }
}

fn cell_of(id: PaneId, layout: &str) -> Option<Floating> {
    Layout::parse(layout).ok()?.floating().into_iter().find(|cell| cell.pane == id.0)
}
