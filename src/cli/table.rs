//! Tables and paragraphs, as wide as the terminal lets them be: [`Table`], [`hanging`].

use std::io;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::{STRONG, painted};
use crate::config::diagnostic::printable;

/// Between two columns.
const GAP: usize = 2;

/// A last column that would be narrower than this goes below its row.
const NARROWEST: usize = 16;

/// How far it then stands in.
const BELOW: usize = 4;

/// Rows of cells below the names of their columns. The last column runs on, all others are as wide as
/// what stands in them.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// On which side a column's cells begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    /// For numbers.
    Right,
}

/// What becomes of lines that are too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// They end in `…`, so that each row stays one line.
    Cut,
    /// Their last column goes on below itself.
    Wrap,
}

/// A text in a table, which cannot drive the terminal.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

/// How many columns and rows the terminal at stdout has; none if there is none, or it does not tell.
pub(super) fn size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size_of(io::stdout())?;
    let (width, height) = (usize::from(width.0), usize::from(height.0));
    (width > 0 && height > 0).then_some((width, height))
}

/// How wide lines on stdout may be; none if nothing limits them.
pub(super) fn width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0)).filter(|width| *width > 0)
}

// === impl Cell ===

impl Cell {
    pub(super) fn new(text: &str, style: Style) -> Self {
        Self {
            text: printable(text),
            style,
        }
    }

    pub(super) fn plain(text: &str) -> Self {
        Self::new(text, Style::new())
    }
}

// === impl Table ===

impl Table {
    pub(super) fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, of as many cells as there are columns.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines, in lines of at most `width` columns.
    pub(super) fn render(&self, width: Option<usize>, overflow: Overflow) -> String {
        let head = |(name, _): &(&'static str, Align)| Cell::new(name, STRONG);
        let head = self.columns.iter().map(head).collect();
        let widths = self.widths();
        let rows = std::iter::once(&head).chain(&self.rows);
        rows.map(|row| self.line(row, &widths, width, overflow))
            .collect()
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(index, (name, _)): (usize, &(&'static str, Align))| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let widest = cells.map(|cell| cell.text.width()).max();
            widest.unwrap_or_default().max(name.len())
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    fn line(
        &self,
        row: &[Cell],
        widths: &[usize],
        width: Option<usize>,
        overflow: Overflow,
    ) -> String {
        let Some((last, first)) = row.split_last() else {
            return "\n".to_owned();
        };
        let most = width.filter(|_| overflow == Overflow::Cut);
        let mut line = Line::new(most);
        for ((cell, (_, align)), width) in first.iter().zip(&self.columns).zip(widths) {
            let padding = width.saturating_sub(cell.text.width());
            let (before, after) = match align {
                Align::Left => (0, padding),
                Align::Right => (padding, 0),
            };
            line.space(before);
            line.push(&cell.text, cell.style);
            line.space(after + GAP);
        }
        match width.filter(|_| overflow == Overflow::Wrap) {
            None => line.push(&last.text, last.style),
            Some(width) => {
                let indent: usize = widths[..first.len()].iter().map(|width| width + GAP).sum();
                let is_narrow = width < indent + NARROWEST && last.text.width() + indent > width;
                let indent = if is_narrow { BELOW } else { indent };
                for (index, part) in wrapped(&last.text, width.saturating_sub(indent)).enumerate() {
                    if index > 0 || is_narrow {
                        line.end();
                        line.space(indent);
                    }
                    line.push(part, last.style);
                }
            }
        }
        line.end();
        line.text
    }
}

/// A line that is being written, up to a width if there is one.
struct Line {
    text: String,
    /// Spaces that stand in it only if something follows them.
    spaces: usize,
    left: Option<usize>,
}

impl Line {
    fn new(most: Option<usize>) -> Self {
        Self {
            text: String::new(),
            spaces: 0,
            left: most,
        }
    }

    fn space(&mut self, count: usize) {
        self.spaces += count;
    }

    fn push(&mut self, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(self.spaces);
            if *left == 0 {
                return;
            }
        }
        self.text.extend(std::iter::repeat_n(' ', self.spaces));
        self.spaces = 0;
        let shown = self.left.map_or(text.to_owned(), |left| cut(text, left));
        if let Some(left) = &mut self.left {
            *left -= shown.width();
        }
        self.text += &if style == Style::new() {
            shown
        } else {
            painted(style, shown)
        };
    }

    fn end(&mut self) {
        self.spaces = 0;
        self.text.push('\n');
    }
}

/// A text behind a first one, in lines of at most `width` columns that all begin where it begins.
pub(super) fn hanging(lead: &str, text: &str, width: Option<usize>) -> String {
    let indent = anstream::adapter::strip_str(lead).to_string().width();
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent));
    let lines: Vec<_> = wrapped(text, room.max(NARROWEST)).collect();
    let between = format!("\n{:indent$}", "");
    format!("{lead}{}\n", lines.join(&between))
}

/// A text of at most `width` columns, `…` in place of what has no room.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or_default();
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let shown: String = text.chars().take_while(fits).collect();
    shown + if width == 0 { "" } else { "…" }
}

/// The lines of a text, broken at spaces, or within words that are longer than a line.
fn wrapped(text: &str, width: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(most) = overflow(text, width.max(1)) else {
            rest = None;
            return Some(text);
        };
        let space = text[..most].rfind(' ').filter(|&at| at > 0);
        // A space right behind what fits breaks it there.
        let at = if text[most..].starts_with(' ') {
            Some(most)
        } else {
            space
        };
        let at = at.unwrap_or(most);
        rest = Some(text[at..].trim_start_matches(' '));
        Some(text[..at].trim_end_matches(' '))
    })
}

/// Where a text is wider than a width, if it is; after its first character at the earliest.
fn overflow(text: &str, width: usize) -> Option<usize> {
    let mut used = 0;
    let mut over = text.char_indices().skip_while(|(_, c)| {
        used += c.width().unwrap_or_default();
        used <= width
    });
    let at = over.next()?.0;
    let first = text.chars().next().map_or(0, char::len_utf8);
    (first < text.len()).then_some(at.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::BAD;

    fn table(last: &str) -> Table {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("COUNT", Align::Right),
            ("WHY", Align::Left),
        ]);
        table.row(vec![
            Cell::plain("a"),
            Cell::new("7", BAD),
            Cell::plain(last),
        ]);
        table.row(["longer", "1234567", ""].map(Cell::plain).into());
        table
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_are_as_wide_as_their_cells_and_numbers_end_together() {
        assert_eq!(
            plain(&table("because").render(None, Overflow::Wrap)),
            "NAME      COUNT  WHY\n\
             a             7  because\n\
             longer  1234567\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let why =
            "the upstream has not answered for so long that nobody waits any more, 不知道为什么";
        for overflow in [Overflow::Cut, Overflow::Wrap] {
            for width in 20..100 {
                let text = plain(&table(why).render(Some(width), overflow));
                let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
                assert!(widest <= width, "{overflow:?} {width}:\n{text}");
                let lines = text.lines().count();
                let has_room = width >= 17 + why.width();
                assert_eq!(lines == 3, overflow == Overflow::Cut || has_room, "{text}");
                let words = text.split_whitespace().collect::<String>();
                let all = why.split_whitespace().collect::<String>();
                let is_whole = plain(&words).replace(' ', "").contains(&all);
                assert!(is_whole || overflow == Overflow::Cut, "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn a_long_last_cell_goes_on_below_itself_or_is_cut() {
        let table = table("one two three four");
        assert_eq!(
            plain(&table.render(Some(33), Overflow::Wrap)),
            "NAME      COUNT  WHY\n\
             a             7  one two three\n                 four\n\
             longer  1234567\n"
        );
        assert_eq!(
            plain(&table.render(Some(26), Overflow::Wrap)),
            "NAME      COUNT  WHY\n\
             a             7\n    one two three four\n\
             longer  1234567\n"
        );
        assert_eq!(
            plain(&table.render(Some(26), Overflow::Cut)),
            "NAME      COUNT  WHY\n\
             a             7  one two …\n\
             longer  1234567\n"
        );
    }

    #[test]
    fn styles_take_no_room_and_a_cell_drives_no_terminal() {
        let shown = table("\u{1b}[2J").render(None, Overflow::Cut);
        assert!(shown.contains("\u{1b}[31m7\u{1b}[0m"), "{shown:?}");
        assert!(!shown.contains("\u{1b}[2J"), "{shown:?}");
    }

    #[test]
    fn a_paragraph_hangs_behind_its_lead() {
        let lead = painted(BAD, "why");
        let text = "one two three four five";
        assert_eq!(hanging("why: ", text, None), format!("why: {text}\n"));
        assert_eq!(
            plain(&hanging(&format!("{lead}: "), text, Some(22))),
            "why: one two three\n     four five\n"
        );
    }

    #[test]
    fn what_has_no_room_is_cut() {
        for (text, width, shown) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("abcd", 1, "…"),
            ("abcd", 0, ""),
            ("字字字", 5, "字字…"),
            ("字字字", 4, "字…"),
        ] {
            assert_eq!(cut(text, width), shown, "{text} {width}");
        }
    }
}
