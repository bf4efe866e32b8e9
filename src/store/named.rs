//! The objects that a snapshot names, and what each is for.

use crate::model::{ObjectId, Snapshot};

/// Returns what of a snapshot lies in objects and is brought back: the text of each pane, at its place
/// (`session:window.pane`), and the content of each paste buffer (`buffer NAME`).
pub(super) fn contents(snapshot: &Snapshot) -> impl Iterator<Item = (String, &[ObjectId])> {
    let panes = snapshot.server.panes().map(|(session, window, pane)| {
        let place = format!("{}:{}.{}", session.name, window.index, pane.index);
        (place, pane.scrollback.chunks.as_slice())
    });
    let buffers = snapshot.server.buffers.iter();
    panes.chain(
        buffers.map(|buffer| (format!("buffer {}", buffer.name), std::slice::from_ref(&buffer.content))),
    )
}

/// Returns the orders that the living panes of a snapshot were started with, at their places. They are
/// needed while those panes live, and are not brought back.
pub(super) fn orders(snapshot: &Snapshot) -> impl Iterator<Item = (String, &[ObjectId])> {
    snapshot.server.panes().map(|(session, window, pane)| {
        (format!("{}:{}.{}", session.name, window.index, pane.index), pane.start.as_slice())
    })
}

/// Returns every object that a snapshot names.
pub(super) fn objects(snapshot: &Snapshot) -> impl Iterator<Item = ObjectId> {
    contents(snapshot).chain(orders(snapshot)).flat_map(|(_, ids)| ids.iter().copied())
}
