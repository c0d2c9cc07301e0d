//! PPTX: the text of slides in their order, each slide a page; titles as headings, tables as rows, speakers' notes.
//!
//! Slides that are not shown, layouts and their placeholder texts are left out.

use std::ops::ControlFlow;

use super::builder::Builder;
use super::markdown::CELL_GAP;
use super::package::Package;
use super::xml::{self, Attributes, Node};
use super::{BlockKind, Format, RawDocument, ReadError, Run, Unit, office};

/// Where PowerPoint puts the list of slides, unless the package says otherwise.
const MAIN_PART: &str = "ppt/presentation.xml";
/// Placeholders that hold what stands on every slide.
const REPEATED: [&str; 4] = ["sldNum", "dt", "ftr", "hdr"];

/// Reads PPTX.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut package = Package::open(bytes)?;
    let main = office::main_part(&mut package, MAIN_PART, run)?;
    let presentation = office::required(&mut package, &main, run)?;
    let relations = office::relations(&mut package, &main, run)?;
    let mut slides = Vec::new();
    xml::walk(&presentation, &main, run, &mut |node| {
        if let Node::Open("sldId", attributes) = node
            && let Some(slide) = attributes.get_prefixed("id").and_then(|id| relations.get(&id))
        {
            slides.push(slide.target.clone());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let n_slides = u32::try_from(slides.len()).unwrap_or(u32::MAX);
    if n_slides > run.limits.max_pages {
        return Err(ReadError::TooLarge {
            what: Unit::Pages,
            found: slides.len() as u64,
            limit: u64::from(run.limits.max_pages),
        });
    }
    let title = office::title(&mut package, run)?;
    let mut builder = Builder::new(run);
    office::properties(&mut package, &mut builder, run)?;
    for (part, page) in slides.iter().zip(1..) {
        let Some(slide) = package.part(part, run)? else {
            builder.warn(format!("slide {page} is missing in the file"));
            continue;
        };
        if !read_slide(&slide, part, page, run, &mut builder)? {
            builder.count_hidden();
            continue;
        }
        let notes = office::relations(&mut package, part, run)?
            .into_values()
            .find(|relation| relation.kind == "notesSlide");
        if let Some(notes) = notes
            && let Some(part) = package.part(&notes.target, run)?
        {
            read_slide(&part, &notes.target, page, run, &mut builder)?;
        }
    }
    Ok(builder.finish(Format::Pptx, title, Some(n_slides)))
}

/// Reads a slide or its notes; false if it is not shown.
fn read_slide(
    part: &[u8],
    name: &str,
    page: u32,
    run: Run<'_>,
    builder: &mut Builder<'_>,
) -> Result<bool, ReadError> {
    let mut slide = Slide {
        builder,
        page,
        placeholder: None,
        is_bulleted: None,
        text: String::new(),
        is_text: false,
        row: None,
        is_shown: true,
    };
    xml::walk(part, name, run, &mut |node| slide.node(node))?;
    Ok(slide.is_shown)
}

struct Slide<'b, 'a> {
    builder: &'b mut Builder<'a>,
    page: u32,
    /// What the shape under way is for: "title", "body", …
    placeholder: Option<String>,
    /// Whether the paragraph under way states that it has a bullet or has none.
    is_bulleted: Option<bool>,
    text: String,
    is_text: bool,
    /// The cells of the table row under way.
    row: Option<Vec<String>>,
    is_shown: bool,
}

impl Slide<'_, '_> {
    fn node(&mut self, node: Node<'_>) -> Result<ControlFlow<()>, ReadError> {
        match node {
            Node::Open("sld", attributes) if attributes.get("show").as_deref() == Some("0") => {
                self.is_shown = false;
                return Ok(ControlFlow::Break(()));
            }
            Node::Open(name, attributes) => self.open(name, attributes),
            Node::Close(name) => self.close(name)?,
            Node::Text(text) if self.is_text => self.text.push_str(text),
            Node::Text(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) {
        match name {
            "sp" => self.placeholder = None,
            // A placeholder without a type is one for the body.
            "ph" => self.placeholder = Some(attributes.get("type").unwrap_or_else(|| "body".to_owned())),
            "p" if self.row.is_none() => self.is_bulleted = None,
            "buNone" => self.is_bulleted = Some(false),
            "buChar" | "buAutoNum" | "buBlip" => self.is_bulleted = Some(true),
            "t" => self.is_text = true,
            "br" => self.text.push('\n'),
            "tr" => self.row = Some(Vec::new()),
            "tc" => self.text.clear(),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) -> Result<(), ReadError> {
        match name {
            "t" => self.is_text = false,
            "p" if self.row.is_some() => self.text.push(' '),
            "p" => {
                let text = std::mem::take(&mut self.text);
                self.push(self.kind(), text.trim())?;
            }
            "tc" => {
                let cell = std::mem::take(&mut self.text);
                if let Some(row) = &mut self.row {
                    row.push(cell.split_whitespace().collect::<Vec<_>>().join(" "));
                }
            }
            "tr" => {
                let row = self.row.take().unwrap_or_default();
                if row.iter().any(|cell| !cell.is_empty()) {
                    self.push(BlockKind::TableRow, &row.join(CELL_GAP))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn kind(&self) -> BlockKind {
        match self.placeholder.as_deref() {
            Some("title" | "ctrTitle") => BlockKind::Heading(1),
            Some("subTitle") => BlockKind::Paragraph,
            Some("body" | "obj") if self.is_bulleted != Some(false) => BlockKind::ListItem,
            _ if self.is_bulleted == Some(true) => BlockKind::ListItem,
            _ => BlockKind::Paragraph,
        }
    }

    fn push(&mut self, kind: BlockKind, text: &str) -> Result<(), ReadError> {
        if self
            .placeholder
            .as_deref()
            .is_some_and(|kind| REPEATED.contains(&kind))
        {
            return Ok(());
        }
        self.builder.push(kind, text, Some(self.page))
    }
}
