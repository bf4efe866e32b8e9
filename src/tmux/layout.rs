//! `window_layout`: the tree of a window's panes as one line, checksum in front.
//!
//! `bb62,159x48,0,0{79x48,0,0,79x48,80,0[79x24,80,0,1,79x23,80,25,2]}`: a cell is `WxH,X,Y`, then
//! `,PANE` for a pane, `{…}` for cells side by side, `[…]` for cells one above the other
//! (layout-custom.c).

use std::fmt::Write;

/// How deep cells may nest and how many there may be, so that no damaged file can exhaust the stack.
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) x: u32,
    pub(super) y: u32,
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
        if !rest.is_empty() {
            return Err(invalid("text behind the last cell"));
        }
        Ok(Self { root })
    }

    /// Returns the ids of the panes, in the order in which `select-layout` hands out the cells.
    pub fn panes(&self) -> Vec<u32> {
        let mut panes = Vec::new();
        self.root.collect(&mut panes);
        panes
    }

    /// Returns the layout with the panes called 0, 1, 2, … so that two windows can be compared.
    pub fn normalised(mut self) -> Self {
        let mut next = 0;
        self.root.renumber(&mut next);
        self
    }

    /// Returns the layout of a tree of cells.
    pub(super) fn of(root: Cell) -> Self {
        Self { root }
    }

    /// Returns the columns and rows of the whole window.
    pub fn size(&self) -> (u32, u32) {
        (self.root.width, self.root.height)
    }

    /// Returns whether the cells fill their places exactly. tmux refuses a layout whose do not
    /// (`layout_check` in layout-custom.c).
    pub fn fits(&self) -> bool {
        self.root.fits()
    }

    /// Returns the text of the layout with its checksum, as tmux writes it.
    pub fn render(&self) -> String {
        let mut body = String::new();
        self.root.render(&mut body);
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
    let x = number(rest)?;
    expect(rest, ',')?;
    let y = number(rest)?;
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

fn expect(rest: &mut &str, wanted: char) -> Result<(), &'static str> {
    *rest = rest.strip_prefix(wanted).ok_or("unexpected character")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(a.normalised(), b.normalised());
    }

    fn cells() -> impl Strategy<Value = Cell> {
        let leaf = (1u32..300, 1u32..300, 0u32..300, 0u32..300, any::<u16>()).prop_map(
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
        fn what_is_rendered_is_parsed_back(root in cells()) {
            let layout = Layout { root };
            prop_assert_eq!(Layout::parse(&layout.render()).unwrap(), layout);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = Layout::parse(&text);
            let _ = Layout::parse(&format!("{:04x},{text}", checksum(&text)));
        }
    }
}
