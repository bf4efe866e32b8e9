//! Layouts that are computed: the arrangements that tmux has names for, and trees of shares.
//!
//! The named ones have the sizes that tmux 3.3a gives them (layout-set.c). From 3.6 on tmux hands out the cells
//! that are left over from the left instead of to the last pane; either form is valid in every version.

use super::layout::{Cell, Content, Layout};

/// The fewest columns or rows of a pane (`PANE_MINIMUM` in tmux.h).
const PANE_MINIMUM: u32 = 1;

/// The most columns or rows of a window (`WINDOW_MAXIMUM` in tmux.h).
pub const WINDOW_MAXIMUM: u32 = 10_000;

/// What `main-pane-width` and `main-pane-height` are if nobody says otherwise (tmux(1)).
const MAIN_PANE: (u32, u32) = (80, 24);

/// An arrangement that tmux has a name for; see tmux(1), `select-layout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Side by side.
    EvenHorizontal,
    /// One above the other.
    EvenVertical,
    /// A large pane, the others in a row.
    MainHorizontal {
        /// Whether the large pane is at the bottom.
        mirrored: bool,
    },
    /// A large pane, the others in a column.
    MainVertical {
        /// Whether the large pane is on the right.
        mirrored: bool,
    },
    /// As many rows as columns, or one more.
    Tiled,
}

impl std::str::FromStr for Named {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "even-horizontal" => Named::EvenHorizontal,
            "even-vertical" => Named::EvenVertical,
            "main-horizontal" => Named::MainHorizontal { mirrored: false },
            "main-horizontal-mirrored" => Named::MainHorizontal { mirrored: true },
            "main-vertical" => Named::MainVertical { mirrored: false },
            "main-vertical-mirrored" => Named::MainVertical { mirrored: true },
            "tiled" => Named::Tiled,
            _ => return Err(()),
        })
    }
}

/// How much of a row or column something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many cells.
    Cells(u32),
    /// So much of a hundred of what there is besides the borders.
    Percent(u32),
    /// The same as the others that do not say.
    Rest,
}

impl std::str::FromStr for Share {
    type Err = ();

    /// Reads `20` or `20%`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().map(Share::Percent),
            None => text.parse().map(Share::Cells),
        }
        .map_err(|_| ())
    }
}

impl Share {
    fn of(self, total: u32) -> Option<u32> {
        match self {
            Share::Cells(cells) => Some(cells),
            Share::Percent(percent) => u32::try_from(u64::from(total) * u64::from(percent) / 100).ok(),
            Share::Rest => None,
        }
    }
}

/// A part of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Area {
    /// One pane.
    Pane,
    /// Parts side by side.
    Row(Vec<(Share, Area)>),
    /// Parts one above the other.
    Column(Vec<(Share, Area)>),
}

/// Sizes of the large pane of a `main-` arrangement, from the options `main-pane-width` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MainSizes {
    /// `main-pane-width`
    pub width: Option<Share>,
    /// `main-pane-height`
    pub height: Option<Share>,
}

/// Computes a named arrangement of so many panes, at least one, in a window of this many columns and rows. The
/// window becomes larger where the panes would not fit. Panes are called 0, 1, 2, …
pub fn named(kind: Named, panes: u32, size: (u32, u32), main: MainSizes) -> Layout {
    if panes <= 1 {
        return place(&Area::Pane, size);
    }
    let all = || vec![(Share::Rest, Area::Pane); panes as usize];
    let others = || match panes {
        2 => vec![(Share::Rest, Area::Pane)],
        _ => vec![(Share::Rest, Area::Pane); panes as usize - 1],
    };
    let area = match kind {
        Named::EvenHorizontal => Area::Row(all()),
        Named::EvenVertical => Area::Column(all()),
        Named::MainHorizontal { mirrored } => {
            let cells = main_cells(main.height, MAIN_PANE.1, size.1);
            Area::Column(with_main(cells, Area::Row(others()), mirrored))
        }
        Named::MainVertical { mirrored } => {
            let cells = main_cells(main.width, MAIN_PANE.0, size.0);
            Area::Row(with_main(cells, Area::Column(others()), mirrored))
        }
        Named::Tiled => tiled(panes, size),
    };
    place(&area, size)
}

/// The large pane leaves the others at least one cell.
fn main_cells(wanted: Option<Share>, usual: u32, total: u32) -> u32 {
    let total = total.saturating_sub(1);
    let wanted = wanted.and_then(|share| share.of(total)).filter(|cells| *cells <= total).unwrap_or(usual);
    if wanted.saturating_add(PANE_MINIMUM) < total {
        return wanted;
    }
    total.saturating_sub(PANE_MINIMUM).max(PANE_MINIMUM)
}

/// The large pane is the first one also where it is shown last; so tmux gives the cells of a mirrored
/// arrangement another order than its panes, which a saved layout cannot say. The panes change places instead.
fn with_main(cells: u32, others: Area, mirrored: bool) -> Vec<(Share, Area)> {
    let main = (Share::Cells(cells), Area::Pane);
    let others = (Share::Rest, others);
    if mirrored { vec![others, main] } else { vec![main, others] }
}

fn tiled(panes: u32, size: (u32, u32)) -> Area {
    let (mut rows, mut columns) = (1, 1);
    while rows * columns < panes {
        rows += 1;
        if rows * columns < panes {
            columns += 1;
        }
    }
    let cell = |total: u32, count: u32| ((total.saturating_sub(count - 1)) / count).max(PANE_MINIMUM);
    let (width, height) = (cell(size.0, columns), cell(size.1, rows));
    let mut lines = Vec::new();
    let mut left = panes;
    while left > 0 {
        let here = left.min(columns);
        left -= here;
        let mut line = vec![(Share::Cells(width), Area::Pane); here as usize];
        if let Some(last) = line.last_mut() {
            last.0 = Share::Rest;
        }
        lines.push((Share::Cells(height), Area::Row(line)));
    }
    if let Some(last) = lines.last_mut() {
        last.0 = Share::Rest;
    }
    Area::Column(lines)
}

/// Gives every pane of a tree its cells, in a window of this many columns and rows or as many more as it needs.
/// Panes are called 0, 1, 2, … in the order of the tree.
pub fn place(area: &Area, size: (u32, u32)) -> Layout {
    let least = least(area);
    let limit = |wanted: u32, least: u32| wanted.clamp(1, WINDOW_MAXIMUM).max(least);
    let mut next = 0;
    Layout::of(cell(area, (limit(size.0, least.0), limit(size.1, least.1)), (0, 0), &mut next))
}

/// The columns and rows below which a part has no room.
fn least(area: &Area) -> (u32, u32) {
    let sizes = |parts: &[(Share, Area)]| parts.iter().map(|(_, part)| least(part)).collect::<Vec<_>>();
    let sum = |extents: Vec<u32>| {
        let borders = u32::try_from(extents.len()).unwrap_or(u32::MAX).saturating_sub(1);
        extents.into_iter().fold(borders, u32::saturating_add)
    };
    match area {
        Area::Pane => (PANE_MINIMUM, PANE_MINIMUM),
        Area::Row(parts) => {
            let sizes = sizes(parts);
            let height = sizes.iter().map(|size| size.1).max().unwrap_or(PANE_MINIMUM);
            (sum(sizes.iter().map(|size| size.0).collect()).max(PANE_MINIMUM), height)
        }
        Area::Column(parts) => {
            let sizes = sizes(parts);
            let width = sizes.iter().map(|size| size.0).max().unwrap_or(PANE_MINIMUM);
            (width, sum(sizes.iter().map(|size| size.1).collect()).max(PANE_MINIMUM))
        }
    }
}

fn cell(area: &Area, (width, height): (u32, u32), (x, y): (u32, u32), next: &mut u32) -> Cell {
    let content = match area {
        Area::Row(parts) | Area::Column(parts) if parts.len() == 1 => {
            return cell(&parts[0].1, (width, height), (x, y), next);
        }
        Area::Pane => pane(next),
        Area::Row(parts) | Area::Column(parts) if parts.is_empty() => pane(next),
        Area::Row(parts) => {
            let wanted: Vec<_> = parts.iter().map(|(share, part)| (*share, least(part).0)).collect();
            let mut at = x;
            let place = |(part, extent): (&(Share, Area), u32)| {
                let made = cell(&part.1, (extent, height), (at, y), next);
                at += extent + 1;
                made
            };
            Content::LeftRight(parts.iter().zip(spread(width, &wanted)).map(place).collect())
        }
        Area::Column(parts) => {
            let wanted: Vec<_> = parts.iter().map(|(share, part)| (*share, least(part).1)).collect();
            let mut at = y;
            let place = |(part, extent): (&(Share, Area), u32)| {
                let made = cell(&part.1, (width, extent), (x, at), next);
                at += extent + 1;
                made
            };
            Content::TopBottom(parts.iter().zip(spread(height, &wanted)).map(place).collect())
        }
    };
    let [x, y] = [x, y].map(|offset| i32::try_from(offset).unwrap_or(i32::MAX));
    Cell { width, height, x, y, content }
}

fn pane(next: &mut u32) -> Content {
    *next += 1;
    Content::Pane(*next - 1)
}

/// Divides an extent among parts, each with its share and its least extent; with the borders between them they
/// fill it exactly. The extent must have room for all of the least ones.
fn spread(total: u32, parts: &[(Share, u32)]) -> Vec<u32> {
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let room = total.saturating_sub(count - 1);
    let fixed: u32 = parts
        .iter()
        .filter_map(|(share, least)| Some(share.of(room)?.min(room).max(*least)))
        .fold(0, u32::saturating_add);
    let open = u32::try_from(parts.iter().filter(|(share, _)| *share == Share::Rest).count()).unwrap_or(0);
    let each = room.saturating_sub(fixed) / open.max(1);
    let mut extents: Vec<u32> =
        parts.iter().map(|(share, least)| share.of(room).unwrap_or(each).min(room).max(*least)).collect();
    let sum: u32 = extents.iter().copied().fold(0, u32::saturating_add);
    if sum <= room {
        // To the last one, as tmux does.
        let last = parts.iter().rposition(|(share, _)| *share == Share::Rest).unwrap_or(parts.len() - 1);
        extents[last] += room - sum;
        return extents;
    }
    let mut over = sum - room;
    for (extent, (_, least)) in extents.iter_mut().zip(parts).rev() {
        let given = over.min(extent.saturating_sub(*least));
        *extent -= given;
        over -= given;
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn areas() -> impl Strategy<Value = Area> {
        let share = prop_oneof![
            Just(Share::Rest),
            any::<u32>().prop_map(Share::Cells),
            (0u32..200).prop_map(Share::Percent),
        ];
        Just(Area::Pane).prop_recursive(5, 60, 6, move |inner| {
            let parts = prop::collection::vec((share.clone(), inner), 0..6);
            (parts, any::<bool>())
                .prop_map(|(parts, row)| if row { Area::Row(parts) } else { Area::Column(parts) })
        })
    }

    #[test]
    fn shares_are_given_what_they_ask_for() {
        let halves = Area::Row(vec![(Share::Percent(30), Area::Pane), (Share::Rest, Area::Pane)]);
        assert!(place(&halves, (101, 10)).render().ends_with("101x10,0,0{30x10,0,0,0,70x10,31,0,1}"));
        let fixed = Area::Column(vec![
            (Share::Cells(5), Area::Pane),
            (Share::Rest, Area::Pane),
            (Share::Rest, Area::Pane),
        ]);
        assert!(
            place(&fixed, (80, 24)).render().ends_with("80x24,0,0[80x5,0,0,0,80x8,0,6,1,80x9,0,15,2]"),
            "{}",
            place(&fixed, (80, 24)).render()
        );
    }

    #[test]
    fn a_window_that_is_too_small_grows() {
        let layout = named(Named::EvenHorizontal, 50, (80, 24), MainSizes::default());
        assert_eq!(layout.size(), (99, 24));
        assert!(layout.fits());
    }

    proptest! {
        #[test]
        fn every_tree_fits(area in areas(), width in 0u32..400, height in 0u32..200) {
            let layout = place(&area, (width, height));
            prop_assert!(layout.fits(), "{}", layout.render());
            prop_assert_eq!(&Layout::parse(&layout.render()).unwrap(), &layout);
            let panes = layout.panes();
            prop_assert_eq!(&panes, &(0..panes.len() as u32).collect::<Vec<_>>());
        }

        #[test]
        fn every_named_one_fits(kind in 0usize..7, panes in 1u32..60, width in 0u32..400, height in 0u32..200) {
            let names = [
                "even-horizontal", "even-vertical", "main-horizontal", "main-horizontal-mirrored",
                "main-vertical", "main-vertical-mirrored", "tiled",
            ];
            let layout = named(names[kind].parse().unwrap(), panes, (width, height), MainSizes::default());
            prop_assert!(layout.fits(), "{}", layout.render());
            prop_assert_eq!(layout.panes().len() as u32, panes);
        }
    }
}
