//! A file becomes text, pages and passages, ready for the catalog.
//!
//! Joins the readers, the normalisation and the passage cutter; writes nothing.

use std::path::{Path, PathBuf};

use crate::boxes::{PageWords, by_page as words_by_page};
use crate::ocr::{self, Ocr};
use crate::passage::{CutOptions, PassageSpan, cut};
use crate::read::{
    Block, BlockKind, Format, Isolation, Limits, Means, Passwords, RawDocument, ReadError, Recognised,
    WORKER_COMMAND, read_with,
};
use crate::sentence;
use crate::text::{BlockSpan, CharIndex, NormalText, normalise};
use crate::types::PageSpan;
use crate::validity::{self, Stated};

/// How documents are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadOptions {
    /// The program that reads the formats attackers like, started with [`WORKER_COMMAND`] as its only argument, so
    /// that it may die without harm; `None` reads in a thread of this process.
    pub worker_exe: Option<PathBuf>,
    /// How much of a document is read before it is refused.
    pub limits: Limits,
    /// What opens encrypted PDF files.
    pub passwords: Passwords,
    /// How documents are cut into passages.
    pub cut: CutOptions,
    /// Recognises text in pictures; `None` leaves pages without text as they are.
    pub ocr: Option<Ocr>,
}

impl ReadOptions {
    pub(crate) fn means<'a>(&'a self, isolation: &'a Isolation) -> Means<'a> {
        Means {
            isolation,
            limits: &self.limits,
            passwords: &self.passwords,
        }
    }

    pub(crate) fn isolation(&self) -> Isolation {
        match &self.worker_exe {
            Some(exe) => Isolation::Process {
                exe: exe.clone(),
                args: vec![WORKER_COMMAND.into()],
            },
            None => Isolation::Thread,
        }
    }
}

/// A document as the catalog takes it. Positions count Unicode scalar values of `text`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) title: String,
    pub(crate) format: String,
    pub(crate) n_pages: Option<u32>,
    pub(crate) text: String,
    pub(crate) n_chars: usize,
    pub(crate) pages: Vec<PageSpan>,
    /// What the text consists of: it can be cut again without its file.
    pub(crate) blocks: Vec<BlockSpan>,
    /// What blocks stand in, see [`NormalText::under`].
    pub(crate) under: Vec<Vec<String>>,
    /// Where words stand; empty where pages have no size.
    pub(crate) page_words: Vec<PageWords>,
    pub(crate) passages: Vec<PreparedPassage>,
    /// By whom they were cut, see [`CutOptions::cutter`].
    pub(crate) cutter: i64,
    /// What the document says of itself.
    pub(crate) stated: Stated,
    /// Pages without text, and pages whose text was recognised.
    pub(crate) without_text: Vec<u32>,
    pub(crate) recognised: Vec<Recognised>,
}

/// A passage with its own characters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PreparedPassage {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) page: Option<u32>,
    pub(crate) heading_path: Vec<String>,
    pub(crate) text: String,
}

/// Reads a file's bytes.
pub(crate) fn prepare(path: &Path, bytes: &[u8], options: &ReadOptions) -> Result<Prepared, ReadError> {
    let isolation = options.isolation();
    let means = options.means(&isolation);
    let document = match &options.ocr {
        Some(ocr) => ocr::read(path, bytes, means, ocr)?,
        None => read_with(path, bytes, means)?,
    };
    for warning in &document.warnings {
        tracing::warn!(path = %path.display(), warning, "not everything in a document was read");
    }
    let name = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(prepare_document(&document, name, &options.cut))
}

/// A document that is given as numbered pages of text, as a reader of PDF gives them.
pub(crate) fn prepare_pages(title: &str, pages: &[(Option<u32>, &str)]) -> Prepared {
    let blocks = pages
        .iter()
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(page, text)| Block {
            kind: BlockKind::Paragraph,
            text: (*text).to_owned(),
            page: *page,
            words: Vec::new(),
            under: Vec::new(),
        });
    let document = RawDocument {
        format: Format::Pdf,
        title: Some(title.to_owned()),
        blocks: blocks.collect(),
        n_pages: pages.last().and_then(|(page, _)| *page),
        page_sizes: Vec::new(),
        without_text: Vec::new(),
        recognised: Vec::new(),
        warnings: Vec::new(),
        properties: Vec::new(),
    };
    prepare_document(&document, String::new(), &CutOptions::default())
}

fn prepare_document(document: &RawDocument, fallback_title: String, options: &CutOptions) -> Prepared {
    let normal = normalise(document);
    let passages = cut_document(&normal, options);
    Prepared {
        title: document
            .title
            .clone()
            .filter(|title| !title.trim().is_empty())
            .unwrap_or(fallback_title),
        format: document.format.as_str().to_owned(),
        n_pages: document.n_pages,
        stated: stated(document, &normal),
        without_text: document.without_text.clone(),
        recognised: document.recognised.clone(),
        n_chars: normal.n_chars,
        pages: normal.pages,
        blocks: normal.blocks,
        under: normal.under,
        page_words: words_by_page(&normal.words, &document.page_sizes),
        text: normal.text,
        passages,
        cutter: options.cutter(),
    }
}

/// A document's passages.
pub(crate) fn cut_document(normal: &NormalText, options: &CutOptions) -> Vec<PreparedPassage> {
    let index = CharIndex::new(&normal.text);
    let passage = |span: PassageSpan| PreparedPassage {
        text: index.slice(&normal.text, span.start..span.end).to_owned(),
        start: span.start,
        end: span.end,
        page: span.page,
        heading_path: span.heading_path,
    };
    let spans = if normal.pages.is_empty() {
        cut(normal, options)
    } else {
        cut_by_page(normal, &index, options)
    };
    spans.into_iter().map(passage).collect()
}

/// What a document's properties say of it, and for what they leave open its text.
fn stated(document: &RawDocument, normal: &NormalText) -> Stated {
    let by_text = if speaks_of_itself(document.format.as_str()) {
        validity::of_text(&normal.text)
    } else {
        Stated::default()
    };
    validity::of_properties(&document.properties).or(by_text)
}

/// Whether what a text of this format states can be meant of the document: a program, rows of data and a mail speak of
/// other things.
pub(crate) fn speaks_of_itself(format: &str) -> bool {
    ![Format::Code, Format::Csv, Format::Email]
        .iter()
        .any(|other| other.as_str() == format)
}

/// Cuts each page by itself, so that a passage's page holds for every sentence that begins in it. A sentence that
/// runs over the turn of a page stays whole on the page where it begins.
fn cut_by_page(normal: &NormalText, index: &CharIndex, options: &CutOptions) -> Vec<PassageSpan> {
    let whole = cut(normal, options);
    let mut pages: Vec<(u32, Vec<BlockSpan>)> = Vec::new();
    for block in &normal.blocks {
        for (page, span) in by_page(normal, index, block) {
            match pages.last_mut() {
                Some((last, blocks)) if *last == page => blocks.push(span),
                _ => pages.push((page, vec![span])),
            }
        }
    }
    let mut spans: Vec<PassageSpan> = Vec::new();
    for (page, blocks) in pages {
        for mut span in cut_blocks(normal, index, blocks, options) {
            // Headings may stand on an earlier page: the cut of the whole document knows them.
            let containing = whole.partition_point(|passage| passage.end <= span.start);
            if let Some(passage) = whole.get(containing) {
                span.heading_path.clone_from(&passage.heading_path);
            }
            span.page = Some(page);
            span.ordinal = spans.len();
            spans.push(span);
        }
    }
    spans
}

/// The parts of a block whose sentences begin on the same page.
fn by_page(normal: &NormalText, index: &CharIndex, block: &BlockSpan) -> Vec<(u32, BlockSpan)> {
    let mut parts: Vec<(u32, BlockSpan)> = Vec::new();
    for sentence in sentence::split(index.slice(&normal.text, block.start..block.end)) {
        let (start, end) = (block.start + sentence.start, block.start + sentence.end);
        let Some(page) = normal.page_at(start) else {
            continue;
        };
        match parts.last_mut() {
            Some((last, part)) if *last == page => part.end = end,
            _ => parts.push((
                page,
                BlockSpan {
                    start,
                    end,
                    page: Some(page),
                    ..*block
                },
            )),
        }
    }
    parts
}

/// Cuts some consecutive blocks as a document of their own; the spans count in the whole text.
fn cut_blocks(
    normal: &NormalText,
    index: &CharIndex,
    mut blocks: Vec<BlockSpan>,
    options: &CutOptions,
) -> Vec<PassageSpan> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
        return Vec::new();
    };
    let (offset, end) = (first.start, last.end);
    for block in &mut blocks {
        block.start -= offset;
        block.end -= offset;
    }
    let text = index.slice(&normal.text, offset..end).to_owned();
    let part = NormalText {
        text,
        n_chars: end - offset,
        blocks,
        pages: Vec::new(),
        words: Vec::new(),
        under: normal.under.clone(),
    };
    let mut spans = cut(&part, options);
    for span in &mut spans {
        span.start += offset;
        span.end += offset;
    }
    spans
}
