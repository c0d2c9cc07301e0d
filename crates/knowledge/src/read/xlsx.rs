//! XLSX: sheets as tables of what people see in the cells: dates, percentages and amounts as they are formatted.
//!
//! Formulas count by the value that was stored with them; hidden sheets, rows and columns are left out.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};

use super::builder::Builder;
use super::markdown::CELL_GAP;
use super::package::Package;
use super::xml::{self, Attributes, Node};
use super::{BlockKind, Format, RawDocument, ReadError, Run, office};

mod number;
mod styles;

use styles::Styles;

/// Where Excel puts the list of sheets, unless the package says otherwise.
const MAIN_PART: &str = "xl/workbook.xml";
/// Columns that Excel has; a cell that says it stands further right is damage.
const COLUMNS_MAX: usize = 16_384;

/// A sheet as the workbook lists it.
struct Sheet {
    name: String,
    part: String,
}

/// Reads XLSX.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut package = Package::open(bytes)?;
    let main = office::main_part(&mut package, MAIN_PART, run)?;
    let mut builder = Builder::new(run);
    let workbook = Workbook::open(&mut package, &main, run, &mut builder)?;
    let title = office::title(&mut package, run)?;
    office::properties(&mut package, &mut builder, run)?;
    let is_alone = workbook.sheets.len() == 1;
    for sheet in &workbook.sheets {
        let Some(part) = package.part(&sheet.part, run)? else {
            builder.warn(format!("the sheet `{}` is missing in the file", sheet.name));
            continue;
        };
        if !(is_alone && is_default_name(&sheet.name)) {
            builder.push(BlockKind::Heading(1), &sheet.name, None)?;
        }
        read_sheet(&part, &sheet.part, &workbook, run, &mut builder)?;
    }
    let title = title.or_else(|| {
        let named = workbook
            .sheets
            .first()
            .filter(|sheet| !is_default_name(&sheet.name));
        named.map(|sheet| sheet.name.clone())
    });
    // Without a title of its own, the file's name says more than "Sheet1".
    let mut document = builder.finish(Format::Xlsx, title.clone(), None);
    document.title = title;
    Ok(document)
}

/// Names that Excel gives by itself.
fn is_default_name(name: &str) -> bool {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    ["sheet", "시트", "tabelle", "feuil", "hoja"]
        .iter()
        .any(|own| letters.trim_end().eq_ignore_ascii_case(own))
}

struct Workbook {
    sheets: Vec<Sheet>,
    strings: Vec<String>,
    styles: Styles,
    /// Whether days count from 1904, as old Macintoshes did.
    from_1904: bool,
}

impl Workbook {
    fn open(
        package: &mut Package<'_>,
        main: &str,
        run: Run<'_>,
        builder: &mut Builder<'_>,
    ) -> Result<Self, ReadError> {
        let relations = office::relations(package, main, run)?;
        let (mut sheets, mut from_1904) = (Vec::new(), false);
        let part = office::required(package, main, run)?;
        xml::walk(&part, main, run, &mut |node| {
            match node {
                Node::Open("workbookPr", attributes) => {
                    from_1904 = matches!(attributes.get("date1904").as_deref(), Some("1" | "true"));
                }
                Node::Open("sheet", attributes) => {
                    let relation = attributes.get_prefixed("id").and_then(|id| relations.get(&id));
                    let is_shown =
                        !matches!(attributes.get("state").as_deref(), Some("hidden" | "veryHidden"));
                    match relation.filter(|relation| relation.kind == "worksheet") {
                        Some(relation) if is_shown => sheets.push(Sheet {
                            name: attributes.get("name").unwrap_or_default(),
                            part: relation.target.clone(),
                        }),
                        Some(_) => builder.count_hidden(),
                        None => {}
                    }
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut part_of = |kind: &str| -> Result<Option<(String, Vec<u8>)>, ReadError> {
            let relation = relations.values().find(|relation| relation.kind == kind);
            let Some(target) = relation.map(|relation| relation.target.clone()) else {
                return Ok(None);
            };
            Ok(package.part(&target, run)?.map(|part| (target, part)))
        };
        let strings = match part_of("sharedStrings")? {
            Some((name, part)) => shared_strings(&part, &name, run)?,
            None => Vec::new(),
        };
        let styles = match part_of("styles")? {
            Some((name, part)) => styles::read(&part, &name, run)?,
            None => Styles::default(),
        };
        Ok(Self {
            sheets,
            strings,
            styles,
            from_1904,
        })
    }

    /// What people see of a value of this type and style.
    fn show(&self, kind: &str, value: &str, style: usize) -> String {
        match kind {
            "s" => {
                let at: Option<usize> = value.trim().parse().ok();
                at.and_then(|at| self.strings.get(at))
                    .cloned()
                    .unwrap_or_default()
            }
            "b" => (if value.trim() == "1" { "TRUE" } else { "FALSE" }).to_owned(),
            "str" | "inlineStr" | "e" | "d" => value.to_owned(),
            _ => match value.trim().parse::<f64>() {
                Ok(number) => number::show(number, self.styles.format(style), self.from_1904),
                Err(_) => value.to_owned(),
            },
        }
    }
}

/// The strings that cells refer to by number; readings printed above Chinese characters are left out.
fn shared_strings(part: &[u8], name: &str, run: Run<'_>) -> Result<Vec<String>, ReadError> {
    let mut strings = Vec::new();
    let (mut text, mut is_text, mut is_reading) = (String::new(), false, false);
    xml::walk(part, name, run, &mut |node| {
        match node {
            Node::Open("si", _) => text.clear(),
            Node::Close("si") => strings.push(std::mem::take(&mut text)),
            Node::Open("rPh", _) => is_reading = true,
            Node::Close("rPh") => is_reading = false,
            Node::Open("t", _) => is_text = !is_reading,
            Node::Close("t") => is_text = false,
            Node::Text(piece) if is_text => text.push_str(piece),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(strings)
}

fn read_sheet(
    part: &[u8],
    name: &str,
    workbook: &Workbook,
    run: Run<'_>,
    builder: &mut Builder<'_>,
) -> Result<(), ReadError> {
    let mut rows = Rows {
        workbook,
        builder,
        hidden_columns: Vec::new(),
        cells: Vec::new(),
        is_hidden: false,
        has_hidden: false,
        column: 0,
        kind: String::new(),
        style: 0,
        value: String::new(),
        is_value: false,
        empty_columns: BTreeSet::new(),
    };
    xml::walk(part, name, run, &mut |node| rows.node(node))?;
    if rows.has_hidden {
        builder.count_hidden();
    }
    Ok(())
}

/// The walk through a sheet.
struct Rows<'w, 'b, 'a> {
    workbook: &'w Workbook,
    builder: &'b mut Builder<'a>,
    /// Columns from 0.
    hidden_columns: Vec<RangeInclusive<usize>>,
    /// The cells of the row under way, by column.
    cells: Vec<String>,
    is_hidden: bool,
    has_hidden: bool,
    column: usize,
    kind: String,
    style: usize,
    value: String,
    is_value: bool,
    /// Columns to the left of the first value so far: a table seldom begins in column A.
    empty_columns: BTreeSet<usize>,
}

impl Rows<'_, '_, '_> {
    fn node(&mut self, node: Node<'_>) -> Result<ControlFlow<()>, ReadError> {
        match node {
            Node::Open("col", attributes) => self.column_group(attributes),
            Node::Open("row", attributes) => {
                self.is_hidden = matches!(attributes.get("hidden").as_deref(), Some("1" | "true"));
                self.cells.clear();
                self.column = 0;
            }
            Node::Open("c", attributes) => self.open_cell(attributes)?,
            Node::Open("v" | "t", _) => self.is_value = true,
            Node::Close("v" | "t") => self.is_value = false,
            Node::Text(text) if self.is_value => self.value.push_str(text),
            Node::Close("c") => self.close_cell(),
            Node::Close("row") => self.close_row()?,
            Node::Close("sheetData") => return Ok(ControlFlow::Break(())),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn column_group(&mut self, attributes: &Attributes<'_>) {
        let number = |name: &str| attributes.get(name).and_then(|value| value.parse::<usize>().ok());
        if matches!(attributes.get("hidden").as_deref(), Some("1" | "true"))
            && let (Some(first), Some(last)) = (number("min"), number("max"))
            && first >= 1
        {
            self.hidden_columns.push(first - 1..=last.saturating_sub(1));
        }
    }

    fn open_cell(&mut self, attributes: &Attributes<'_>) -> Result<(), ReadError> {
        // A cell that does not say where it stands follows the one before it.
        if let Some(column) = attributes.get("r").and_then(|at| column_of(&at)) {
            self.column = column;
        }
        if self.column >= COLUMNS_MAX {
            return Err(ReadError::Corrupt {
                what: format!("a sheet has more than {COLUMNS_MAX} columns"),
            });
        }
        self.kind = attributes.get("t").unwrap_or_default();
        self.style = attributes.get("s").and_then(|s| s.parse().ok()).unwrap_or(0);
        self.value.clear();
        Ok(())
    }

    fn close_cell(&mut self) {
        let column = self.column;
        self.column += 1;
        if self.value.is_empty() {
            return;
        }
        if self.is_hidden || self.hidden_columns.iter().any(|range| range.contains(&column)) {
            self.has_hidden = true;
            return;
        }
        let shown = self.workbook.show(&self.kind, &self.value, self.style);
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.cells.len() <= column {
            self.cells.resize(column + 1, String::new());
        }
        self.cells[column] = shown;
    }

    /// Cells that are empty before the first column ever used, and hidden columns, are not shown as gaps.
    fn close_row(&mut self) -> Result<(), ReadError> {
        let Some(first) = self.cells.iter().position(|cell| !cell.is_empty()) else {
            return Ok(());
        };
        if self.empty_columns.is_empty() {
            self.empty_columns.extend(0..first);
        } else {
            self.empty_columns.retain(|column| *column < first);
        }
        let skipped = self.empty_columns.len();
        let shown: Vec<&str> = (skipped..self.cells.len())
            .filter(|column| !self.hidden_columns.iter().any(|range| range.contains(column)))
            .map(|column| self.cells[column].as_str())
            .collect();
        self.builder
            .push(BlockKind::TableRow, &shown.join(CELL_GAP), None)
    }
}

/// The column of a cell's name, from 0: "C7" is 2.
fn column_of(name: &str) -> Option<usize> {
    let letters = name.bytes().take_while(u8::is_ascii_alphabetic);
    let mut column = 0_usize;
    for letter in letters {
        column = column
            .checked_mul(26)?
            .checked_add((letter.to_ascii_uppercase() - b'A') as usize + 1)?;
    }
    column.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_in_letters() {
        assert_eq!(column_of("A1"), Some(0));
        assert_eq!(column_of("Z9"), Some(25));
        assert_eq!(column_of("AA10"), Some(26));
        assert_eq!(column_of("XFD1"), Some(16_383));
        assert_eq!(column_of("7"), None);
        assert_eq!(column_of(&"Z".repeat(40)), None);
    }

    #[test]
    fn names_that_say_nothing_are_known() {
        assert!(is_default_name("Sheet1") && is_default_name("시트 2") && !is_default_name("예산"));
    }
}
