//! CSV: rows of fields, whatever parts them, as rows of one table.

use super::builder::Builder;
use super::markdown::CELL_GAP;
use super::{BlockKind, Format, RawDocument, ReadError, Run, encoding, plain};

/// What may part fields, the likelier first.
const GAPS: [u8; 4] = [b',', b'\t', b';', b'|'];
/// How many rows the look at what parts fields takes in.
const SAMPLE_ROWS: usize = 50;

/// Reads CSV.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let decoded = encoding::text(bytes, None)?;
    let mut builder = Builder::new(run);
    plain::warn_of_damage(&mut builder, &decoded);
    let text = decoded.text.trim_start_matches('\u{FEFF}');
    // Excel's own first line, which names what parts the fields.
    let (stated, text) = match text.split_once('\n') {
        Some((first, rest)) if first.trim_end().len() == 5 && first.starts_with("sep=") => {
            (first.as_bytes().get(4).copied(), rest)
        }
        _ => (None, text),
    };
    let mut reader = reader(text, stated.unwrap_or_else(|| gap(text)));
    let mut record = csv::StringRecord::new();
    let mut n_fields = 0;
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                return Err(ReadError::Corrupt {
                    what: format!("its rows cannot be parted ({error})"),
                });
            }
        }
        let fields: Vec<String> = record
            .iter()
            .map(|field| field.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        n_fields = n_fields.max(fields.len());
        if fields.iter().any(|field| !field.is_empty()) {
            builder.push(BlockKind::TableRow, &fields.join(CELL_GAP), None)?;
        }
    }
    Ok(builder.finish(Format::Csv, None, None))
}

/// Whether a text that is named as one is a table: its first rows have the same number of fields, more than one.
pub(super) fn is_table(text: &str) -> bool {
    GAPS.iter().any(|gap| width(text, *gap).is_some_and(|n| n > 1))
}

fn reader(text: &str, gap: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(gap)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
}

/// What parts fields: what gives the first rows the same number of them, and the most.
fn gap(text: &str) -> u8 {
    let best = GAPS
        .iter()
        .rev()
        .max_by_key(|gap| width(text, **gap).unwrap_or(0));
    best.copied().unwrap_or(GAPS[0])
}

/// Fields of a row, if nearly all of the first rows have as many.
fn width(text: &str, gap: u8) -> Option<usize> {
    let widths: Vec<usize> = reader(text, gap)
        .records()
        .take(SAMPLE_ROWS)
        .map_while(Result::ok)
        .map(|record| record.len())
        .collect();
    let most = widths.iter().copied().max()?;
    let same = widths.iter().filter(|width| **width == most).count();
    (same * 10 >= widths.len() * 8).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parts_fields_is_found() {
        assert_eq!(gap("a,b,c\n1,2,3\n"), b',');
        assert_eq!(gap("a;b;c\n1,5;2,5;3\n"), b';');
        assert_eq!(gap("a\tb\n1,1\t2\n"), b'\t');
        assert_eq!(gap("one\ntwo\n"), b',');
        assert!(is_table("a|b\n\"x|y\"|2\n") && !is_table("only words, here\nand there\n"));
    }
}
