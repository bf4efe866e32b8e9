//! `window_layout`: the tree of a window's panes as one line, checksum in front.
//!
//! `bb62,159x48,0,0{79x48,0,0,79x48,80,0[79x24,80,0,1,79x23,80,25,2]}`: a cell is `WxH,X,Y`, then
//! `,PANE` for a pane, `{…}` for cells side by side, `[…]` for cells one above the other
//! (layout-custom.c).
//!
//! From 3.7 on panes can float above the others: `98f7,100x30,0,0{50x30,0,0,0,49x30,51,0,1,18x6,-6,4,2}<18x6,-6,4,2>`.
//! Their cells are among the others and, unless the window is zoomed, once more in `<…>`, the topmost first; they
//! may begin left of the window and above it. `select-layout` refuses such a text.

use std::fmt::Write;

/// How deep cells may nest, so that no damaged file can exhaust the stack. There are no more of them than the text
/// has bytes.
const DEPTH_MAX: usize = 200;

/// A layout that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid tmux layout {text:?}: {why}")]
pub struct InvalidLayout {
    text: String,
    why: &'static str,
}

/// A window's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: Cell,
    /// What stands in `<…>`.
    above: Vec<Floating>,
}

/// The place of a pane that floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floating {
    /// The pane's number.
    pub pane: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Columns from the window's left edge.
    pub x: i32,
    /// Rows from the window's upper edge.
    pub y: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Pane(u32),
    LeftRight(Vec<Cell>),
    TopBottom(Vec<Cell>),
}

impl Layout {
    /// Reads a layout and verifies its checksum.
    pub fn parse(text: &str) -> Result<Self, InvalidLayout> {
        let invalid = |why| InvalidLayout { text: text.chars().take(80).collect(), why };
        let (sum, body) = text.split_once(',').ok_or_else(|| invalid("no checksum"))?;
        let sum = u16::from_str_radix(sum, 16).map_err(|_| invalid("no checksum"))?;
        if sum != checksum(body) {
            return Err(invalid("the checksum does not match"));
        }
        let mut rest = body;
        let root = parse_cell(&mut rest, 0).map_err(invalid)?;
        let above = parse_above(&mut rest).map_err(invalid)?;
        if !rest.is_empty() {
            return Err(invalid("text behind the last cell"));
        }
        Ok(Self { root, above })
    }

    /// Returns the ids of the panes, in the order in which `select-layout` hands out the cells.
    pub fn panes(&self) -> Vec<u32> {
        let mut panes = Vec::new();
        self.root.collect(&mut panes);
        panes
    }

    /// Returns the panes that float, the topmost first. A zoomed window does not tell which they are: there
    /// they are those that have no place among the others, and their order is not known.
    pub fn floating(&self) -> Vec<Floating> {
        if !self.above.is_empty() || self.fits() {
            return self.above.clone();
        }
        let mut strays = Vec::new();
        self.root.collect_strays(&mut strays);
        let rest = self.root.without(&strays);
        let size = |cell: &Cell| (cell.width, cell.height);
        let whole = |rest: &Cell| rest.fits() && size(rest) == size(&self.root);
        if rest.as_ref().is_some_and(whole) { strays } else { Vec::new() }
    }

    /// Returns the layout of the panes that do not float; `None` when all do.
    pub fn tiled(&self) -> Option<Self> {
        let root = self.root.without(&self.floating())?;
        Some(Self { root, above: Vec::new() })
    }

    /// Returns the layout in a form in which two windows can be compared: the panes that do not float are called
    /// 0, 1, 2, …, and behind them come those that float, called by their places in `panes`.
    pub fn normalised(&self, panes: &[u32]) -> Self {
        let mut floating = self.floating();
        let Some(mut tiled) = self.tiled() else { return self.clone() };
        let mut next = 0;
        tiled.root.renumber(&mut next);
        for cell in &mut floating {
            let place = panes.iter().position(|pane| *pane == cell.pane);
            cell.pane = place.and_then(|place| u32::try_from(place).ok()).unwrap_or(cell.pane);
        }
        if self.above.is_empty() {
            floating.sort_by_key(|cell| cell.pane);
        }
        Self { root: tiled.root, above: floating }
    }

    /// Returns the layout of a tree of cells.
    pub(super) fn of(root: Cell) -> Self {
        Self { root, above: Vec::new() }
    }

    /// Returns the columns and rows of the whole window.
    pub fn size(&self) -> (u32, u32) {
        (self.root.width, self.root.height)
    }

    /// Returns whether the cells fill their places exactly and none floats. tmux refuses a layout of which that
    /// is not true (`layout_check` in layout-custom.c).
    pub fn fits(&self) -> bool {
        self.above.is_empty() && self.root.fits()
    }

    /// Returns the text of the layout with its checksum, as tmux writes it.
    pub fn render(&self) -> String {
        let mut body = String::new();
        self.root.render(&mut body);
        for (at, Floating { pane, width, height, x, y }) in self.above.iter().enumerate() {
            let before = if at == 0 { '<' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(body, "{before}{width}x{height},{x},{y},{pane}");
        }
        if !self.above.is_empty() {
            body.push('>');
        }
        sealed(&body)
    }
}

/// Returns the text of a layout with its checksum in front.
pub fn sealed(body: &str) -> String {
    format!("{:04x},{body}", checksum(body))
}

impl Cell {
    fn children(&self) -> &[Cell] {
        match &self.content {
            Content::Pane(_) => &[],
            Content::LeftRight(cells) | Content::TopBottom(cells) => cells,
        }
    }

    fn fits(&self) -> bool {
        let children = self.children();
        let filled: u64 = children.iter().map(|cell| u64::from(self.content.along(cell)) + 1).sum();
        match self.content {
            Content::Pane(_) => self.width > 0 && self.height > 0,
            _ => {
                filled == u64::from(self.content.along(self)) + 1
                    && children.iter().all(|cell| self.content.across(cell) == self.content.across(self))
                    && children.iter().all(Cell::fits)
            }
        }
    }

    /// Collects the panes that are not where the next cell of a row or column has to be.
    fn collect_strays(&self, strays: &mut Vec<Floating>) {
        let row = matches!(self.content, Content::LeftRight(_));
        let mut next = i64::from(if row { self.x } else { self.y });
        for cell in self.children() {
            let (begin, aside, edge) = if row { (cell.x, cell.y, self.y) } else { (cell.y, cell.x, self.x) };
            let fits = i64::from(begin) == next
                && aside == edge
                && self.content.across(cell) == self.content.across(self);
            match cell.content {
                Content::Pane(pane) if !fits => strays.push(cell.floating(pane)),
                _ => {
                    next += i64::from(self.content.along(cell)) + 1;
                    cell.collect_strays(strays);
                }
            }
        }
    }

    fn floating(&self, pane: u32) -> Floating {
        Floating { pane, width: self.width, height: self.height, x: self.x, y: self.y }
    }

    /// Returns the cell without some panes; `None` when nothing is left. What is left alone takes the place of
    /// the row or column that it was in.
    fn without(&self, gone: &[Floating]) -> Option<Cell> {
        if let Content::Pane(id) = self.content {
            return (!gone.iter().any(|cell| cell.pane == id)).then(|| self.clone());
        }
        let mut rest: Vec<Cell> = self.children().iter().filter_map(|cell| cell.without(gone)).collect();
        if rest.len() == 1 && self.children().len() > 1 {
            return rest.pop();
        }
        let content = match self.content {
            _ if rest.is_empty() => return None,
            Content::LeftRight(_) => Content::LeftRight(rest),
            _ => Content::TopBottom(rest),
        };
        Some(Cell { content, ..*self })
    }

    fn collect(&self, panes: &mut Vec<u32>) {
        if let Content::Pane(id) = self.content {
            panes.push(id);
        }
        self.children().iter().for_each(|cell| cell.collect(panes));
    }

    fn renumber(&mut self, next: &mut u32) {
        match &mut self.content {
            Content::Pane(id) => {
                *id = *next;
                *next += 1;
            }
            Content::LeftRight(cells) | Content::TopBottom(cells) => {
                cells.iter_mut().for_each(|cell| cell.renumber(next));
            }
        }
    }

    fn render(&self, out: &mut String) {
        let Cell { width, height, x, y, content } = self;
        // Writing to a string cannot fail.
        let _ = write!(out, "{width}x{height},{x},{y}");
        let (open, close) = match content {
            Content::Pane(id) => {
                let _ = write!(out, ",{id}");
                return;
            }
            Content::LeftRight(_) => ('{', '}'),
            Content::TopBottom(_) => ('[', ']'),
        };
        out.push(open);
        for (at, cell) in self.children().iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            cell.render(out);
        }
        out.push(close);
    }
}

impl Content {
    /// Returns the extent of a cell in the direction in which children follow each other.
    fn along(&self, cell: &Cell) -> u32 {
        if matches!(self, Content::LeftRight(_)) { cell.width } else { cell.height }
    }

    fn across(&self, cell: &Cell) -> u32 {
        if matches!(self, Content::LeftRight(_)) { cell.height } else { cell.width }
    }
}

/// The checksum of layout-custom.c: rotate right by one, add the byte, in 16 bits.
fn checksum(body: &str) -> u16 {
    body.bytes().fold(0u16, |sum, byte| sum.rotate_right(1).wrapping_add(u16::from(byte)))
}

fn parse_cell(rest: &mut &str, depth: usize) -> Result<Cell, &'static str> {
    if depth > DEPTH_MAX {
        return Err("nested too deeply");
    }
    let width = number(rest)?;
    expect(rest, 'x')?;
    let height = number(rest)?;
    expect(rest, ',')?;
    let x = offset(rest)?;
    expect(rest, ',')?;
    let y = offset(rest)?;
    let content = match rest.chars().next() {
        Some('{') => Content::LeftRight(parse_cells(rest, '}', depth)?),
        Some('[') => Content::TopBottom(parse_cells(rest, ']', depth)?),
        Some(',') => {
            expect(rest, ',')?;
            Content::Pane(number(rest)?)
        }
        _ => return Err("a cell without a pane"),
    };
    Ok(Cell { width, height, x, y, content })
}

/// Reads `<…>`, which may be missing.
fn parse_above(rest: &mut &str) -> Result<Vec<Floating>, &'static str> {
    let mut above = Vec::new();
    if expect(rest, '<').is_err() {
        return Ok(above);
    }
    loop {
        let cell = parse_cell(rest, 0)?;
        let Content::Pane(pane) = cell.content else { return Err("cells that float in a row") };
        above.push(cell.floating(pane));
        if expect(rest, ',').is_err() {
            expect(rest, '>')?;
            return Ok(above);
        }
    }
}

fn parse_cells(rest: &mut &str, close: char, depth: usize) -> Result<Vec<Cell>, &'static str> {
    let mut cells = Vec::new();
    *rest = &rest[1..];
    loop {
        cells.push(parse_cell(rest, depth + 1)?);
        if expect(rest, ',').is_err() {
            expect(rest, close)?;
            return Ok(cells);
        }
    }
}

fn number(rest: &mut &str) -> Result<u32, &'static str> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, tail) = rest.split_at(end);
    let number = digits.parse().map_err(|_| "a number is missing or too large")?;
    *rest = tail;
    Ok(number)
}

fn offset(rest: &mut &str) -> Result<i32, &'static str> {
    let negative = expect(rest, '-').is_ok();
    let size = i32::try_from(number(rest)?).map_err(|_| "a number is missing or too large")?;
    Ok(if negative { -size } else { size })
}

fn expect(rest: &mut &str, wanted: char) -> Result<(), &'static str> {
    *rest = rest.strip_prefix(wanted).ok_or("unexpected character")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Printed by 3.7c and by next-3.8; the last one of a zoomed window.
    const WITH_FLOATING: [(&str, &str, &[u32]); 4] = [
        (
            "414e,100x30,0,0{50x30,0,0,0,49x30,51,0,1,20x8,5,3,2,30x6,27,3,3}<30x6,27,3,3,20x8,5,3,2>",
            "100x30,0,0{50x30,0,0,0,49x30,51,0,1}",
            &[3, 2],
        ),
        (
            "96f5,100x30,0,0[100x30,0,0,4,20x8,-5,-3,5,20x8,15,13,6]<20x8,15,13,6,20x8,-5,-3,5>",
            "100x30,0,0,4",
            &[6, 5],
        ),
        (
            "c9de,100x30,0,0[100x30,0,0,4,18x6,4,2,5,18x6,24,2,7,18x6,16,14,6]<18x6,24,2,7,18x6,16,14,6,18x6,4,2,5>",
            "100x30,0,0,4",
            &[7, 6, 5],
        ),
        ("72c1,100x30,0,0[100x30,0,0,4,20x5,-5,-3,5,20x11,15,13,6]", "100x30,0,0,4", &[5, 6]),
    ];

    #[test]
    fn floating_panes_are_told_from_the_others() {
        for (text, tiled, floating) in WITH_FLOATING {
            let layout = Layout::parse(text).unwrap();
            assert_eq!(layout.render(), text);
            assert_eq!(layout.tiled().unwrap().render(), sealed(tiled));
            assert_eq!(layout.floating().iter().map(|cell| cell.pane).collect::<Vec<_>>(), floating);
            assert!(!layout.fits() && layout.tiled().unwrap().fits());
        }
        let first = Layout::parse(WITH_FLOATING[1].0).unwrap().floating()[1];
        assert_eq!(first, Floating { pane: 5, width: 20, height: 8, x: -5, y: -3 });
        for text in CAPTURED {
            let layout = Layout::parse(text).unwrap();
            assert_eq!((layout.tiled(), layout.floating()), (Some(layout.clone()), Vec::new()));
        }
    }

    #[test]
    fn two_windows_with_floating_panes_are_the_same_whatever_their_panes_are_called() {
        let body = "100x30,0,0[100x30,0,0,4,18x6,4,2,5,18x6,16,14,6]<18x6,16,14,6,18x6,4,2,5>";
        let [one, other, turned] = [
            (body, [4, 5, 6]),
            ("100x30,0,0[100x30,0,0,1,18x6,16,14,2,18x6,4,2,9]<18x6,16,14,2,18x6,4,2,9>", [1, 9, 2]),
            ("100x30,0,0[100x30,0,0,4,18x6,4,2,5,18x6,16,14,6]<18x6,4,2,5,18x6,16,14,6>", [4, 5, 6]),
        ]
        .map(|(body, panes)| Layout::parse(&sealed(body)).unwrap().normalised(&panes));
        assert_eq!(one, other);
        assert_eq!(one.render(), sealed("100x30,0,0,0<18x6,16,14,2,18x6,4,2,1>"));
        assert_ne!(one, turned, "the order in which they lie above each other counts");
    }

    /// Printed by tmux 3.3a and 3.5a.
    const CAPTURED: [&str; 3] = [
        "b25d,80x24,0,0,0",
        "c08a,100x30,0,0[100x15,0,0,0,100x14,0,16,1]",
        "9191,80x23,0,0[80x11,0,0,0,80x11,0,12,1]",
    ];

    #[test]
    fn layouts_of_real_servers_come_back_to_the_letter() {
        for text in CAPTURED {
            assert_eq!(Layout::parse(text).unwrap().render(), text);
        }
        assert_eq!(Layout::parse(CAPTURED[1]).unwrap().panes(), [0, 1]);
    }

    #[test]
    fn cells_that_do_not_fill_their_place_are_seen() {
        for text in CAPTURED {
            assert!(Layout::parse(text).unwrap().fits(), "{text}");
        }
        for body in
            ["80x24,0,0{40x24,0,0,0,40x24,41,0,1}", "80x24,0,0[80x11,0,0,0,79x12,0,12,1]", "0x1,0,0,0"]
        {
            assert!(!Layout::parse(&sealed(body)).unwrap().fits(), "{body}");
        }
    }

    #[test]
    fn damaged_layouts_are_refused() {
        let deep = format!("0000,{}", "1x1,0,0{".repeat(5000));
        for text in ["", "b25d", "b25e,80x24,0,0,0", "0000,", "zzzz,80x24,0,0,0", &deep] {
            assert!(Layout::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn two_windows_with_other_pane_ids_are_equal_when_normalised() {
        let a = Layout::parse(CAPTURED[1]).unwrap();
        let mut b = a.clone();
        let mut next = 70;
        b.root.renumber(&mut next);
        assert_ne!(a, b);
        assert_eq!(a.normalised(&[]), b.normalised(&[]));
    }

    fn cells() -> impl Strategy<Value = Cell> {
        let leaf = (1u32..300, 1u32..300, -300i32..300, -300i32..300, any::<u16>()).prop_map(
            |(width, height, x, y, id)| Cell { width, height, x, y, content: Content::Pane(id.into()) },
        );
        leaf.prop_recursive(6, 40, 5, |inner| {
            (1u32..300, 1u32..300, prop::collection::vec(inner, 1..5), any::<bool>()).prop_map(
                |(width, height, cells, side_by_side)| {
                    let content =
                        if side_by_side { Content::LeftRight(cells) } else { Content::TopBottom(cells) };
                    Cell { width, height, x: 0, y: 0, content }
                },
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_parsed_back(root in cells(), others in cells()) {
            let mut above = Vec::new();
            others.collect_strays(&mut above);
            let layout = Layout { root, above };
            prop_assert_eq!(&Layout::parse(&layout.render()).unwrap(), &layout);
            let floating = layout.floating();
            let tiled = layout.tiled().map_or_else(Vec::new, |tiled| tiled.panes());
            prop_assert!(!floating.iter().any(|cell| tiled.contains(&cell.pane)));
            let _ = layout.normalised(&tiled);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = Layout::parse(&text);
            let _ = Layout::parse(&format!("{:04x},{text}", checksum(&text)));
        }
    }
}
