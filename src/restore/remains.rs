//! What is left of a saved state without some of its panes. Pure.

use crate::model::{PaneId, Server, Window};

/// The layout of a window that is not what it was: tmux divides it evenly (`select-layout tiled`).
const EVEN: &str = "tiled";

/// Returns the window with the panes that are to be kept, or nothing without any.
pub fn window_with(window: &Window, keep: impl Fn(PaneId) -> bool) -> Option<Window> {
    let kept: Vec<usize> = (0..window.panes.len()).filter(|at| keep(window.panes[*at].id)).collect();
    if kept.len() == window.panes.len() {
        return Some(window.clone());
    }
    let place = |before: usize| kept.iter().position(|at| *at == before);
    let active_pane = place(window.active_pane).unwrap_or_default();
    let last_pane = window.last_pane.and_then(place).filter(|last| *last != active_pane);
    let panes: Vec<_> = kept.iter().map(|at| window.panes[*at].clone()).collect();
    if panes.is_empty() {
        return None;
    }
    let zoomed = window.zoomed && place(window.active_pane).is_some() && panes.len() > 1;
    Some(Window { panes, active_pane, last_pane, zoomed, layout: EVEN.to_owned(), ..window.clone() })
}

/// Returns the server with the panes that are to be kept, and the windows and sessions in which there are any.
pub fn server_with(server: &Server, keep: impl Fn(PaneId) -> bool) -> Server {
    let mut server = server.clone();
    for session in &mut server.sessions {
        session.windows = session.windows.iter().filter_map(|window| window_with(window, &keep)).collect();
        let indexes: Vec<u32> = session.windows.iter().map(|window| window.index).collect();
        session.last_window.take_if(|last| !indexes.contains(last));
        if !indexes.contains(&session.active_window) {
            let next = session.last_window.take().or(indexes.first().copied());
            session.active_window = next.unwrap_or_default();
        }
    }
    server.sessions.retain(|session| !session.windows.is_empty());
    server
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn what_is_kept_is_as_it_was_as_far_as_it_can_be() {
        let mut server = sample::server(1, &["web", "api"]);
        let panes = vec![sample::pane(10, 0), sample::pane(11, 1), sample::pane(12, 2)];
        let window =
            Window { active_pane: 2, last_pane: Some(0), zoomed: true, ..sample::window(1, 0, panes) };
        server.sessions[0].windows = vec![window, sample::window(2, 3, vec![sample::pane(13, 0)])];
        server.sessions[0].last_window = Some(3);
        assert_eq!(server_with(&server, |_| true), server);

        let less = server_with(&server, |pane| ![PaneId(11), PaneId(1)].contains(&pane));
        assert_eq!(less.sessions.len(), 1, "nothing is left of the other");
        let window = &less.sessions[0].windows[0];
        assert_eq!((window.panes.len(), window.active_pane, window.last_pane), (2, 1, Some(0)));
        assert_eq!((window.layout.as_str(), window.zoomed), (EVEN, true));

        let less = server_with(&server, |pane| pane == PaneId(13));
        assert_eq!((less.sessions[0].active_window, less.sessions[0].last_window), (3, None));
        let less = server_with(&server, |pane| pane == PaneId(10) || pane == PaneId(11));
        let window = &less.sessions[0].windows[0];
        assert_eq!((window.active_pane, window.last_pane, window.zoomed), (0, None, false));
        assert_eq!(server_with(&server, |_| false).sessions, []);
    }
}
