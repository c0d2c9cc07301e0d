//! Puts the text of a page into reading order: columns one after the other, lines from top to bottom.
//!
//! Knows no words and no languages, only places and sizes.

use super::interpret::{Extent, SPACE_GAP, TextRun};

/// Gaps from this share of the font size on part the cells of a table.
const CELL_GAP: f64 = 1.6;
/// Runs whose base lines are no farther apart than this share of the font size stand on one line.
const SAME_LINE: f64 = 0.45;
/// Deepest nesting of columns within columns.
const MAX_COLUMNS_DEPTH: usize = 4;
/// The page is cut into so many strips to look for a gutter between columns.
const STRIPS: usize = 200;
/// Fewest lines on each side of a gutter.
const MIN_COLUMN_LINES: usize = 5;
/// Columns are wider than so many times the font size.
const MIN_COLUMN_EMS: f64 = 11.0;
/// Half of the lines of a column fill at least this share of its width; cells of a table do not.
const MIN_COLUMN_FILL: f64 = 0.55;
/// Share of runs that may cross a gutter: headings over both columns.
const MAX_CROSSING_SHARE: f64 = 0.12;

/// A stretch of a line between two wide gaps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// One for each word of the text.
    pub(super) words: Vec<Extent>,
    pub(super) x0: f64,
    pub(super) x1: f64,
}

impl Cell {
    /// Adds the text of a run, which goes on with the last word unless a space parts them.
    fn append(&mut self, run: TextRun) {
        let mut words = run.words.into_iter();
        let is_parted = self.text.ends_with(char::is_whitespace) || run.text.starts_with(char::is_whitespace);
        if !is_parted && let (Some(last), Some(first)) = (self.words.last_mut(), words.next()) {
            last.and(first);
        }
        self.words.extend(words);
        self.text.push_str(&run.text);
    }
}

/// A line of a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) cells: Vec<Cell>,
    pub(super) y: f64,
    /// The size of most of its characters.
    pub(super) size: f64,
    pub(super) is_bold: bool,
    /// Lines of one column between two headings share this number.
    pub(super) region: usize,
    /// Quarter turns of its text against the page.
    pub(super) turns: u8,
}

impl Line {
    pub(super) fn x0(&self) -> f64 {
        self.cells.first().map_or(0.0, |cell| cell.x0)
    }

    pub(super) fn x1(&self) -> f64 {
        self.cells.last().map_or(0.0, |cell| cell.x1)
    }

    /// The whole line; white space at its end is kept, for it tells that a word ended there.
    pub(super) fn text(&self) -> String {
        self.cells
            .iter()
            .map(|cell| cell.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn n_chars(&self) -> usize {
        self.cells.iter().map(|cell| cell.text.chars().count()).sum()
    }
}

/// The lines of a page in reading order. Turned text follows the upright one, or stands alone.
pub(super) fn lines(runs: Vec<TextRun>) -> Vec<Line> {
    let mut by_turns: [Vec<TextRun>; 4] = Default::default();
    for run in runs {
        by_turns[usize::from(run.turns % 4)].push(run);
    }
    let mut groups: Vec<Vec<TextRun>> = by_turns.into_iter().filter(|runs| !runs.is_empty()).collect();
    groups.sort_by_key(|runs| std::cmp::Reverse(runs.iter().map(|run| run.text.len()).sum::<usize>()));
    let mut lines = Vec::new();
    for runs in groups {
        order(runs, 0, &mut lines);
    }
    lines
}

/// Parts columns; what cannot be parted comes out line by line.
fn order(runs: Vec<TextRun>, depth: usize, out: &mut Vec<Line>) {
    if runs.is_empty() {
        return;
    }
    let gutter = if depth < MAX_COLUMNS_DEPTH {
        find_gutter(&runs)
    } else {
        None
    };
    let Some((from, to)) = gutter else {
        let region = out.last().map_or(0, |line| line.region + 1);
        out.extend(into_lines(runs, region));
        return;
    };
    let middle = f64::midpoint(from, to);
    let crosses = |run: &TextRun| run.x0 < from && run.x1 > to;
    let crossing_lines: Vec<(f64, f64)> = runs
        .iter()
        .filter(|run| crosses(run))
        .map(|run| (run.y, run.size))
        .collect();
    let mut ordered = runs;
    ordered.sort_by(|a, b| b.y.total_cmp(&a.y));
    let (mut full, mut left, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for run in ordered {
        let is_full = crossing_lines
            .iter()
            .any(|(y, size)| (run.y - y).abs() < SAME_LINE * size);
        if is_full {
            order(std::mem::take(&mut left), depth + 1, out);
            order(std::mem::take(&mut right), depth + 1, out);
            full.push(run);
        } else {
            order(std::mem::take(&mut full), MAX_COLUMNS_DEPTH, out);
            let side = if f64::midpoint(run.x0, run.x1) < middle {
                &mut left
            } else {
                &mut right
            };
            side.push(run);
        }
    }
    order(full, MAX_COLUMNS_DEPTH, out);
    order(left, depth + 1, out);
    order(right, depth + 1, out);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The widest upright strip with hardly any text in it and running text on both sides.
fn find_gutter(runs: &[TextRun]) -> Option<(f64, f64)> {
    if runs.len() < 2 * MIN_COLUMN_LINES {
        return None;
    }
    let size = median(runs.iter().map(|run| run.size).collect());
    let left = runs.iter().map(|run| run.x0).fold(f64::INFINITY, f64::min);
    let right = runs.iter().map(|run| run.x1).fold(f64::NEG_INFINITY, f64::max);
    let strip = (right - left) / STRIPS as f64;
    if !strip.is_finite() || right - left < 2.0 * MIN_COLUMN_EMS * size {
        return None;
    }
    let mut crossings = vec![0_usize; STRIPS];
    for run in runs {
        let (from, to) = (
            ((run.x0 - left) / strip) as usize,
            ((run.x1 - left) / strip).ceil() as usize,
        );
        for n in crossings.iter_mut().take(to.min(STRIPS)).skip(from) {
            *n += 1;
        }
    }
    let most = (runs.len() as f64 * MAX_CROSSING_SHARE) as usize;
    // Only gutters well inside of the text count.
    let inner = STRIPS / 6..STRIPS * 5 / 6;
    let mut best: Option<(usize, usize)> = None;
    let mut start = inner.start;
    for (index, n) in crossings.iter().enumerate().take(inner.end).skip(inner.start) {
        if *n > most {
            start = index + 1;
        } else if best.is_none_or(|(from, to)| index + 1 - start > to - from) {
            best = Some((start, index + 1));
        }
    }
    let (from, to) = best.map(|(from, to)| (left + from as f64 * strip, left + to as f64 * strip))?;
    let is_column = |side: Vec<TextRun>| is_column(side, size);
    let on_left: Vec<TextRun> = runs.iter().filter(|run| run.x1 <= to).cloned().collect();
    let on_right: Vec<TextRun> = runs.iter().filter(|run| run.x0 >= from).cloned().collect();
    (to - from >= 0.7 * size && is_column(on_left) && is_column(on_right)).then_some((from, to))
}

/// Whether text is wide and full enough to be a column of running text.
fn is_column(runs: Vec<TextRun>, size: f64) -> bool {
    let lines = into_lines(runs, 0);
    if lines.len() < MIN_COLUMN_LINES {
        return false;
    }
    let left = lines.iter().map(Line::x0).fold(f64::INFINITY, f64::min);
    let right = lines.iter().map(Line::x1).fold(f64::NEG_INFINITY, f64::max);
    let filled = median(
        lines
            .iter()
            .map(|line| line.cells.iter().map(|cell| cell.x1 - cell.x0).sum())
            .collect(),
    );
    right - left >= MIN_COLUMN_EMS * size && filled >= MIN_COLUMN_FILL * (right - left)
}

/// Runs as lines from top to bottom.
fn into_lines(mut runs: Vec<TextRun>, region: usize) -> Vec<Line> {
    runs.sort_by(|a, b| b.y.total_cmp(&a.y));
    let mut lines = Vec::new();
    let mut row: Vec<TextRun> = Vec::new();
    let (mut y, mut size) = (0.0, 0.0);
    for run in runs {
        // A raised footnote mark comes before its line: the largest run says where the line is.
        if !row.is_empty() && (y - run.y) > SAME_LINE * f64::max(size, run.size) {
            lines.extend(into_line(std::mem::take(&mut row), region));
        }
        if row.is_empty() || run.size > size {
            (y, size) = (run.y, run.size);
        }
        row.push(run);
    }
    lines.extend(into_line(row, region));
    lines
}

fn into_line(mut runs: Vec<TextRun>, region: usize) -> Option<Line> {
    runs.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    let main = runs.iter().max_by_key(|run| run.text.chars().count())?;
    let (y, size, turns) = (main.y, main.size, main.turns);
    let n_chars: usize = runs.iter().map(|run| run.text.trim().chars().count()).sum();
    let n_bold: usize = runs
        .iter()
        .filter(|run| run.is_bold)
        .map(|run| run.text.trim().chars().count())
        .sum();
    let mut cells: Vec<Cell> = Vec::new();
    for run in runs {
        match cells.last_mut() {
            Some(cell) if run.x0 - cell.x1 < CELL_GAP * size => {
                let gap = run.x0 - cell.x1;
                if gap >= SPACE_GAP * size && !cell.text.ends_with(' ') {
                    cell.text.push(' ');
                }
                cell.x1 = cell.x1.max(run.x1);
                cell.append(run);
            }
            _ => cells.push(Cell {
                text: run.text,
                words: run.words,
                x0: run.x0,
                x1: run.x1,
            }),
        }
    }
    cells.retain(|cell| !cell.text.trim().is_empty());
    (!cells.is_empty()).then_some(Line {
        cells,
        y,
        size,
        is_bold: 2 * n_bold > n_chars,
        region,
        turns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, x0: f64, y: f64) -> TextRun {
        let x1 = x0 + 5.0 * text.chars().count() as f64;
        let extent = Extent {
            x0: x0 as f32,
            x1: x1 as f32,
            y0: y as f32,
            y1: y as f32 + 10.0,
        };
        TextRun {
            text: text.to_owned(),
            words: vec![extent; text.split_whitespace().count()],
            x0,
            x1,
            y,
            size: 10.0,
            is_bold: false,
            turns: 0,
        }
    }

    fn texts(runs: Vec<TextRun>) -> Vec<String> {
        lines(runs).iter().map(Line::text).collect()
    }

    #[test]
    fn reads_columns_one_after_the_other_below_a_common_title() {
        let mut runs = vec![run(
            "A title that stands over both of the columns of this page, centred",
            100.0,
            760.0,
        )];
        for row in 0..8 {
            let y = 700.0 - 12.0 * f64::from(row);
            runs.push(run(&format!("left line {row} is full of running text"), 50.0, y));
            runs.push(run(
                &format!("right line {row} is full of running text"),
                300.0,
                y,
            ));
        }
        let texts = texts(runs);
        assert!(texts[0].starts_with("A title"));
        assert!(texts[1..9].iter().all(|text| text.starts_with("left")));
        assert!(texts[9..].iter().all(|text| text.starts_with("right")));
    }

    #[test]
    fn keeps_the_rows_of_a_table_together() {
        let mut runs = Vec::new();
        for row in 0..8 {
            let y = 700.0 - 14.0 * f64::from(row);
            runs.push(run(&format!("item {row}"), 50.0, y));
            runs.push(run(&format!("{row} won"), 350.0, y));
        }
        assert!(
            texts(runs)
                .iter()
                .all(|text| text.contains("item") && text.contains("won"))
        );
    }

    #[test]
    fn parts_words_by_their_gaps_alone() {
        let texts = texts(vec![
            run("word", 50.0, 100.0),
            run("next", 73.0, 100.0),
            run("ly", 93.5, 100.0),
        ]);
        assert_eq!(texts, ["word nextly"]);
    }
}
