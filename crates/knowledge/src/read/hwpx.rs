//! HWPX (OWPML, KS X 6101): paragraphs, headings by outline level, tables as rows, notes, pages as Hangul last laid
//! them out.
//!
//! Deleted text, comments, headers and footers are left out. Files that no program has laid out have no pages.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::hangul::{CONTROL_UNITS, Shapes, Writer};
use super::package::Package;
use super::xml::{self, Attributes, Node};
use super::{Format, RawDocument, ReadError, Run, office};

/// Lists the parts and their order.
const CONTENT: &str = "Contents/content.hpf";
const HEADER: &str = "Contents/header.xml";
/// Where parts that are encrypted are listed.
const MANIFEST: &str = "META-INF/manifest.xml";

/// No page is larger, in 1/7200 inch; larger numbers are damage.
const MEASURE_MAX: i64 = 1 << 40;

/// Elements left out with all they hold: what stands on every page, comments, the form of pages and fields.
const LEFT_OUT: [&str; 9] = [
    "header",
    "footer",
    "hiddenComment",
    "masterPage",
    "secPr",
    "parameters",
    "dutmal",
    "metaTag",
    "shapeComment",
];

/// Reads HWPX.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut package = Package::open(bytes)?;
    if let Some(manifest) = package.part(MANIFEST, run)?
        && super::sniff::find(&manifest, b"encryption-data").is_some()
    {
        return Err(ReadError::Encrypted);
    }
    let (sections, title) = match package.part(CONTENT, run)? {
        Some(part) => (
            sections(&part, run)?,
            office::text_of(&part, CONTENT, "title", run)?,
        ),
        None => (Vec::new(), None),
    };
    let sections = if sections.is_empty() {
        usual_sections(&package)
    } else {
        sections
    };
    let shapes = match package.part(HEADER, run)? {
        Some(part) => shapes(&part, run)?,
        None => Shapes::default(),
    };
    let mut writer = Writer::new(run);
    for section in &sections {
        let part = office::required(&mut package, section, run)?;
        writer.begin_section();
        let mut body = Body {
            writer: &mut writer,
            shapes: &shapes,
            skip_depth: 0,
            is_text: false,
            is_script: false,
            page_height: 0,
        };
        xml::walk(&part, section, run, &mut |node| body.node(node))?;
    }
    writer.finish(Format::Hwpx, title)
}

/// The sections in reading order.
fn sections(part: &[u8], run: Run<'_>) -> Result<Vec<String>, ReadError> {
    let mut items: BTreeMap<String, String> = BTreeMap::new();
    let mut order = Vec::new();
    xml::walk(part, CONTENT, run, &mut |node| {
        match node {
            Node::Open("item", attributes) => {
                let item = attributes.get("id").zip(attributes.get("href"));
                items.extend(item.filter(|(_, target)| target.contains("section")));
            }
            Node::Open("itemref", attributes) => order.extend(attributes.get("idref")),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    // Targets are paths from the root of the package, and in some files from the folder of the list.
    let path = |target: &String| {
        if target.starts_with("Contents/") {
            target.clone()
        } else {
            office::resolve("Contents", target)
        }
    };
    Ok(order.iter().filter_map(|id| items.get(id)).map(path).collect())
}

fn usual_sections(package: &Package<'_>) -> Vec<String> {
    (0..)
        .map(|n| format!("Contents/section{n}.xml"))
        .take_while(|part| package.has(part))
        .collect()
}

/// Which paragraph shapes and styles are headings or lists.
fn shapes(part: &[u8], run: Run<'_>) -> Result<Shapes, ReadError> {
    let mut shapes = Shapes::default();
    let mut current: Option<u32> = None;
    let number = |attributes: &Attributes<'_>, name: &str| -> Option<u32> {
        attributes.get(name).and_then(|value| value.parse().ok())
    };
    xml::walk(part, HEADER, run, &mut |node| {
        match node {
            Node::Open("paraPr", attributes) => current = number(attributes, "id"),
            Node::Close("paraPr") => current = None,
            Node::Open("heading", attributes) => {
                if let Some(id) = current {
                    let level = number(attributes, "level").unwrap_or(0);
                    shapes.set(id, attributes.get("type").as_deref().unwrap_or_default(), level);
                }
            }
            Node::Open("style", attributes) => {
                if let (Some(id), Some(shape)) = (number(attributes, "id"), number(attributes, "paraPrIDRef"))
                {
                    let name = attributes.get("name").unwrap_or_default();
                    shapes.add_style(id, &name, shape);
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(shapes)
}

struct Body<'w, 's, 'a> {
    writer: &'w mut Writer<'a>,
    shapes: &'s Shapes,
    skip_depth: usize,
    is_text: bool,
    is_script: bool,
    page_height: i64,
}

impl Body<'_, '_, '_> {
    fn node(&mut self, node: Node<'_>) -> Result<ControlFlow<()>, ReadError> {
        match node {
            Node::Open(name, attributes) if self.skip_depth > 0 => {
                self.skip_depth += 1;
                self.page_shape(name, attributes);
            }
            Node::Open(name, _) if LEFT_OUT.contains(&name) => {
                self.skip_depth += 1;
                self.writer.add_control(CONTROL_UNITS, "");
            }
            Node::Close(_) if self.skip_depth > 0 => self.skip_depth -= 1,
            Node::Open(name, attributes) => self.open(name, attributes)?,
            Node::Close(name) => self.close(name)?,
            Node::Text(text) if (self.is_text || self.is_script) && self.skip_depth == 0 => {
                self.writer.add(text);
            }
            Node::Text(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The height of a page's body stands among what is otherwise left out.
    fn page_shape(&mut self, name: &str, attributes: &Attributes<'_>) {
        let number = |name: &str| -> i64 {
            let value = attributes.get(name).and_then(|value| value.parse().ok());
            value.unwrap_or(0).clamp(0, MEASURE_MAX)
        };
        match name {
            "pagePr" => self.page_height = number("height"),
            "margin" if self.page_height > 0 => {
                let edges = number("top") + number("bottom") + number("header") + number("footer");
                self.writer.set_body_height(self.page_height - edges);
                self.page_height = 0;
            }
            _ => {}
        }
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), ReadError> {
        let number = |name: &str| attributes.get(name).and_then(|value| value.parse::<u32>().ok());
        let measure = |name: &str| -> Option<i64> {
            let value = attributes.get(name).and_then(|value| value.parse::<i64>().ok());
            value.map(|value| value.clamp(-MEASURE_MAX, MEASURE_MAX))
        };
        match name {
            "p" => {
                let kind = self.shapes.kind(number("paraPrIDRef"), number("styleIDRef"));
                self.writer.open_paragraph(kind)?;
                if attributes.get("pageBreak").as_deref() == Some("1") {
                    self.writer.begin_page();
                }
            }
            "t" => self.is_text = true,
            "script" => self.is_script = true,
            "tab" if self.is_text => self.writer.add_control(CONTROL_UNITS, "\t"),
            "lineBreak" => self.writer.add("\n"),
            "nbSpace" | "fwSpace" => self.writer.add(" "),
            "hyphen" => self.writer.add("-"),
            "footNote" | "endNote" | "equation" | "pic" | "rect" | "fieldBegin" | "fieldEnd" | "autoNum"
            | "newNum" | "bookmark" | "pageNum" | "colPr" => self.writer.add_control(CONTROL_UNITS, ""),
            "lineseg" => {
                if let Some(top) = measure("vertpos") {
                    let left = measure("horzpos").unwrap_or(0);
                    self.writer
                        .add_line(top, left, number("textpos").unwrap_or(0) as usize);
                }
            }
            "tbl" => {
                self.writer.add_control(CONTROL_UNITS, "");
                self.writer.open_table()?;
            }
            "sz" => self.writer.set_table_height(measure("height").unwrap_or(0)),
            "tr" => self.writer.open_row(),
            "tc" => self.writer.open_cell(),
            "cellAddr" => {
                if let Some((row, column)) = number("rowAddr").zip(number("colAddr")) {
                    self.writer.place_cell(row, column);
                }
            }
            "cellSz" => self.writer.set_cell_height(measure("height").unwrap_or(0)),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str) -> Result<(), ReadError> {
        match name {
            "t" => self.is_text = false,
            "script" => self.is_script = false,
            "p" => self.writer.close_paragraph()?,
            "tbl" => self.writer.close_table()?,
            _ => {}
        }
        Ok(())
    }
}
