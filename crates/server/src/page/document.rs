//! A document on the page: a part of its text in sheets, with the quoted words marked.

use knowledge::{DocumentText, PageSpan};
use serde::Serialize;

/// Characters shown at once.
const WINDOW_CHARS: usize = 40_000;
/// Characters before the quote.
const LEAD_CHARS: usize = 8_000;
/// Formats whose rows are shown as rows.
const TABLE_FORMATS: [&str; 3] = ["xlsx", "ods", "csv"];
/// What the stored text has between two cells of a row.
const CELL_GAP: &str = " | ";

/// A page of the document, or the whole text where it has no pages.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sheet {
    /// 1-based; `None` where the format has no pages.
    pub(crate) page: Option<u32>,
    pub(crate) pieces: Vec<Piece>,
}

/// A stretch of running text, or a table where there are rows.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Piece {
    pub(crate) runs: Vec<Run>,
    pub(crate) rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Vec<Run>>,
    /// Whether something in it is quoted.
    pub(crate) cited: bool,
}

/// A run of text, quoted or not.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Run {
    pub(crate) text: String,
    pub(crate) quoted: bool,
    /// Whether it is the first quoted run, to which the address's fragment leads.
    pub(crate) first: bool,
}

/// The part of a document that is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) of: usize,
    pub(crate) sheets: Vec<Sheet>,
}

/// Where to start: asked for, or a little before the quote.
pub(crate) fn window_start(from: Option<usize>, quote: Option<(usize, usize)>) -> usize {
    from.unwrap_or_else(|| quote.map_or(0, |(start, _)| start.saturating_sub(LEAD_CHARS)))
}

/// The part before this one.
pub(crate) fn before(from: usize) -> Option<usize> {
    (from > 0).then(|| from.saturating_sub(WINDOW_CHARS))
}

/// Cuts the part that starts at `from`, with `quote` (a range of the whole text) marked.
pub(crate) fn part(document: &DocumentText, from: usize, quote: Option<(usize, usize)>) -> Part {
    let of = document.info.n_chars;
    let from = from.min(of);
    let shown: Vec<char> = document.text.chars().skip(from).take(WINDOW_CHARS).collect();
    let to = from + shown.len();
    let mut marked = false;
    let is_table = TABLE_FORMATS.contains(&document.info.format.as_str());
    let sheets = sheet_ranges(&document.pages, from, to);
    let sheets = sheets.into_iter().map(|(page, start, end)| {
        let mut runs = Vec::new();
        for (start, end, quoted) in split(start, end, quote) {
            runs.push(Run {
                text: shown[start - from..end - from].iter().collect(),
                quoted,
                first: quoted && !marked,
            });
            marked |= quoted;
        }
        let pieces = if is_table {
            pieces(runs)
        } else {
            let rows = Vec::new();
            vec![Piece { runs, rows }]
        };
        Sheet { page, pieces }
    });
    Part {
        from,
        to,
        of,
        sheets: sheets.collect(),
    }
}

/// The pages that overlap `from..to`, clipped to it; text between pages goes with the page before.
fn sheet_ranges(pages: &[PageSpan], from: usize, to: usize) -> Vec<(Option<u32>, usize, usize)> {
    let mut ranges = Vec::new();
    let mut at = from;
    for (i, span) in pages.iter().enumerate() {
        let end = pages.get(i + 1).map_or(to, |next| next.start).min(to);
        if span.start >= to || end <= at {
            continue;
        }
        if span.start > at {
            ranges.push((None, at, span.start));
            at = span.start;
        }
        ranges.push((Some(span.page), at, end));
        at = end;
    }
    if at < to {
        ranges.push((None, at, to));
    }
    ranges
}

/// `start..end` cut at the quote's borders.
fn split(start: usize, end: usize, quote: Option<(usize, usize)>) -> Vec<(usize, usize, bool)> {
    let (open, close) = quote.unwrap_or((end, end));
    let open = open.clamp(start, end);
    let close = close.clamp(open, end);
    let runs = [(start, open, false), (open, close, true), (close, end, false)];
    runs.into_iter().filter(|(start, end, _)| start < end).collect()
}

/// Lines with cells become rows of tables; a quote over several cells is marked in each.
fn pieces(runs: Vec<Run>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for line in lines(runs) {
        let is_row = line.iter().any(|run| run.text.contains(CELL_GAP));
        match pieces.last_mut() {
            Some(piece) if is_row != piece.rows.is_empty() => piece.add(line, is_row),
            _ => {
                let mut piece = Piece::default();
                piece.add(line, is_row);
                pieces.push(piece);
            }
        }
    }
    pieces
}

impl Piece {
    fn add(&mut self, line: Vec<Run>, is_row: bool) {
        if !is_row {
            self.runs.extend(line);
            return;
        }
        let cited = line.iter().any(|run| run.quoted);
        let mut cells = vec![Vec::new()];
        for run in line {
            let mut first = run.first;
            for (index, text) in run.text.trim_end_matches('\n').split(CELL_GAP).enumerate() {
                if index > 0 {
                    cells.push(Vec::new());
                }
                if let Some(cell) = cells.last_mut().filter(|_| !text.is_empty()) {
                    cell.push(Run {
                        text: text.to_owned(),
                        quoted: run.quoted,
                        first: std::mem::take(&mut first),
                    });
                }
            }
        }
        self.rows.push(Row { cells, cited });
    }
}

/// Runs cut at the ends of lines, which stay with their line.
fn lines(runs: Vec<Run>) -> Vec<Vec<Run>> {
    let mut lines: Vec<Vec<Run>> = Vec::new();
    let mut is_open = false;
    for run in runs {
        let mut first = run.first;
        for text in run.text.split_inclusive('\n') {
            let piece = Run {
                text: text.to_owned(),
                quoted: run.quoted,
                first: std::mem::take(&mut first),
            };
            match lines.last_mut().filter(|_| is_open) {
                Some(line) => line.push(piece),
                None => lines.push(vec![piece]),
            }
            is_open = !text.ends_with('\n');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use knowledge::DocumentInfo;
    use proptest::prelude::*;

    fn document(text: &str, pages: &[(usize, usize)]) -> DocumentText {
        let pages = pages
            .iter()
            .zip(1..)
            .map(|(&(start, end), page)| PageSpan { page, start, end });
        DocumentText {
            info: DocumentInfo {
                document_id: "d".into(),
                version: "v".into(),
                path: "p".into(),
                title: "t".into(),
                format: "text".into(),
                n_pages: None,
                n_chars: text.chars().count(),
                n_passages: 0,
                ..DocumentInfo::default()
            },
            text: text.into(),
            pages: pages.collect(),
        }
    }

    fn runs(part: &Part) -> impl Iterator<Item = &Run> {
        let pieces = part.sheets.iter().flat_map(|sheet| &sheet.pieces);
        pieces.flat_map(|piece| &piece.runs)
    }

    #[test]
    fn a_cell_of_a_sheet_is_marked_in_its_row() {
        let text = "Budget\n\nItem | Won\nPaper | 1,200\nInk | 900\n\nEnd";
        let mut document = document(text, &[]);
        document.info.format = "xlsx".into();
        let at = text.find("1,200").unwrap();
        let part = part(&document, 0, Some((at, at + 5)));
        let pieces = &part.sheets[0].pieces;
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[0].runs[0].text, "Budget\n");
        let rows: Vec<(bool, usize)> = pieces[1].rows.iter().map(|r| (r.cited, r.cells.len())).collect();
        assert_eq!(rows, [(false, 2), (true, 2), (false, 2)]);
        let cell = &pieces[1].rows[1].cells[1];
        assert!(cell.len() == 1 && cell[0].first && cell[0].text == "1,200");
    }

    #[test]
    fn a_quote_over_a_whole_row_is_marked_in_each_cell_and_led_to_once() {
        let text = "A | B\nC | D";
        let mut document = document(text, &[]);
        document.info.format = "csv".into();
        let part = part(&document, 0, Some((6, 11)));
        let row = &part.sheets[0].pieces[0].rows[1];
        let cells: Vec<(&str, bool, bool)> = row
            .cells
            .iter()
            .flatten()
            .map(|run| (run.text.as_str(), run.quoted, run.first))
            .collect();
        assert_eq!(cells, [("C", true, true), ("D", true, false)]);
    }

    fn marked(part: &Part) -> String {
        runs(part)
            .filter(|run| run.quoted)
            .map(|run| run.text.as_str())
            .collect()
    }

    #[test]
    fn a_quote_over_a_page_break_is_marked_on_both_pages() {
        let document = document("가나다라마바", &[(0, 3), (3, 6)]);
        let part = part(&document, 0, Some((2, 4)));
        assert_eq!(marked(&part), "다라");
        assert_eq!(part.sheets.len(), 2);
        assert!(part.sheets[0].pieces[0].runs[1].first && !part.sheets[1].pieces[0].runs[0].first);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_only_the_quote_is_marked(
            text in "[a-c가나 \n]{0,60}", from in 0usize..70, a in 0usize..70, b in 0usize..70, cuts in prop::collection::vec(0usize..60, 0..4)
        ) {
            let n = text.chars().count();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(n)).collect();
            cuts.sort_unstable();
            let pages: Vec<(usize, usize)> = cuts.windows(2).map(|w| (w[0], w[1])).collect();
            let document = document(&text, &pages);
            let part = part(&document, from, Some((a, b)));
            let all: String = runs(&part).map(|r| r.text.as_str()).collect();
            let shown: String = text.chars().skip(from).collect();
            prop_assert_eq!(all, shown);
            let quote: String = text.chars().enumerate().filter(|(i, _)| *i >= from && *i >= a && *i < b).map(|(_, c)| c).collect();
            prop_assert_eq!(marked(&part), quote);
        }
    }
}
