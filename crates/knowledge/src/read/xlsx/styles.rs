//! Which number format each cell style of a workbook has.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::super::xml::{self, Node};
use super::super::{ReadError, Run};

/// Format codes by style number.
#[derive(Default)]
pub(super) struct Styles {
    formats: Vec<Option<String>>,
}

impl Styles {
    /// The format code of a style; `None` is "General".
    pub(super) fn format(&self, style: usize) -> Option<&str> {
        self.formats.get(style)?.as_deref()
    }
}

/// Reads the styles part.
pub(super) fn read(part: &[u8], name: &str, run: Run<'_>) -> Result<Styles, ReadError> {
    let mut own: BTreeMap<u32, String> = BTreeMap::new();
    let (mut ids, mut is_cell_styles) = (Vec::new(), false);
    xml::walk(part, name, run, &mut |node| {
        match node {
            Node::Open("numFmt", attributes) => {
                let id = attributes.get("numFmtId").and_then(|id| id.parse().ok());
                own.extend(id.zip(attributes.get("formatCode")));
            }
            Node::Open("cellXfs", _) => is_cell_styles = true,
            Node::Close("cellXfs") => is_cell_styles = false,
            Node::Open("xf", attributes) if is_cell_styles => {
                let id = attributes.get("numFmtId").and_then(|id| id.parse().ok());
                ids.push(id.unwrap_or(0_u32));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let code = |id: u32| own.get(&id).cloned().or_else(|| built_in(id).map(str::to_owned));
    Ok(Styles {
        formats: ids.into_iter().map(code).collect(),
    })
}

/// Codes that every workbook knows (ECMA-376 part 1, 18.8.30); those of the date vary with the language of the
/// program, and the international one is taken.
fn built_in(id: u32) -> Option<&'static str> {
    Some(match id {
        1 => "0",
        2 => "0.00",
        3 | 37 | 38 => "#,##0",
        4 | 39 | 40 => "#,##0.00",
        5..=8 | 41..=44 => "#,##0.##",
        9 => "0%",
        10 => "0.00%",
        14..=17 | 27..=31 | 34..=36 | 50..=58 => "yyyy-mm-dd",
        18..=21 | 32 | 33 | 45..=47 => "hh:mm:ss",
        22 => "yyyy-mm-dd hh:mm",
        _ => return None,
    })
}
