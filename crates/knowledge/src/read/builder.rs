//! Where readers put what they find: blocks within the limits, without characters made to deceive.
//!
//! Not the normaliser: spacing and composition of characters are decided later, once for all formats.

use super::{Block, BlockKind, Format, RawDocument, ReadError, Run, Unit, WordBox};

/// How many pushes go by between two looks at the clock.
const TIME_CHECK_EVERY: usize = 256;

/// Properties that are kept, and bytes of a name or a value.
const PROPERTIES_MAX: usize = 64;
const PROPERTY_BYTES_MAX: usize = 1_000;

/// Collects a document.
pub(super) struct Builder<'a> {
    run: Run<'a>,
    blocks: Vec<Block>,
    page_sizes: Vec<[u16; 2]>,
    without_text: Vec<u32>,
    warnings: Vec<String>,
    invisible: usize,
    hidden: usize,
    text_bytes: usize,
    properties: Vec<(String, String)>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(run: Run<'a>) -> Self {
        Self {
            run,
            blocks: Vec::new(),
            page_sizes: Vec::new(),
            without_text: Vec::new(),
            warnings: Vec::new(),
            invisible: 0,
            hidden: 0,
            text_bytes: 0,
            properties: Vec::new(),
        }
    }

    /// Notes a property; too many or too long ones are left out.
    pub(super) fn property(&mut self, name: &str, value: &str) {
        let fits = name.len() <= PROPERTY_BYTES_MAX && value.len() <= PROPERTY_BYTES_MAX;
        if fits && self.properties.len() < PROPERTIES_MAX {
            let (name, value) = (self.visible(name), self.visible(value));
            self.properties.push((name, value));
        }
    }

    /// Adds a block; one without visible text is left out.
    pub(super) fn push(&mut self, kind: BlockKind, text: &str, page: Option<u32>) -> Result<(), ReadError> {
        self.push_placed(kind, text, page, Vec::new())
    }

    /// Adds lines of a program that stand in this module, class or function.
    pub(super) fn push_under(&mut self, text: String, under: Vec<String>) -> Result<(), ReadError> {
        let n_blocks = self.blocks.len();
        self.push(BlockKind::Code, &text, None)?;
        if let Some(block) = self.blocks.get_mut(n_blocks) {
            block.under = under;
        }
        Ok(())
    }

    /// Adds a block whose words have these places on its page.
    pub(super) fn push_placed(
        &mut self,
        kind: BlockKind,
        text: &str,
        page: Option<u32>,
        mut words: Vec<WordBox>,
    ) -> Result<(), ReadError> {
        if self.blocks.len().is_multiple_of(TIME_CHECK_EVERY) {
            self.run.check_time()?;
        }
        let n_invisible = self.invisible;
        let shown = self.visible(text);
        if shown.trim().is_empty() {
            return Ok(());
        }
        if !words.is_empty() && self.invisible > n_invisible {
            // A word of nothing but invisible characters is gone, and its place with it.
            let mut stays = text
                .split_whitespace()
                .map(|word| !word.chars().all(is_invisible));
            words.retain(|_| stays.next().unwrap_or(false));
        }
        let text = shown;
        let limits = self.run.limits;
        if self.blocks.len() >= limits.max_blocks {
            let limit = limits.max_blocks as u64;
            return Err(ReadError::TooLarge {
                what: Unit::Blocks,
                found: limit + 1,
                limit,
            });
        }
        self.text_bytes += text.len();
        if self.text_bytes > limits.max_text_bytes {
            let (found, limit) = (self.text_bytes as u64, limits.max_text_bytes as u64);
            return Err(ReadError::TooLarge {
                what: Unit::TextBytes,
                found,
                limit,
            });
        }
        self.blocks.push(Block {
            kind,
            text,
            page,
            words,
            under: Vec::new(),
        });
        Ok(())
    }

    /// Notes the size of the next page.
    pub(super) fn push_page_size(&mut self, size: [u16; 2]) {
        self.page_sizes.push(size);
    }

    /// Notes pages on which there is no text.
    pub(super) fn note_without_text(&mut self, pages: &[u32]) {
        self.without_text.extend_from_slice(pages);
    }

    /// Notes something that was left out.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Notes a part that the document hides from people and that was therefore left out.
    pub(super) fn count_hidden(&mut self) {
        self.hidden += 1;
    }

    /// Takes back the page numbers of a document that turned out to have none.
    pub(super) fn forget_pages(&mut self) {
        for block in &mut self.blocks {
            block.page = None;
        }
    }

    /// The text without characters that nobody sees, which carry instructions past human readers.
    pub(super) fn visible(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if is_invisible(c) {
                self.invisible += 1;
            } else {
                out.push(c);
            }
        }
        out
    }

    /// The document. A title that it does not state is its first top heading.
    pub(super) fn finish(
        mut self,
        format: Format,
        title: Option<String>,
        n_pages: Option<u32>,
    ) -> RawDocument {
        let stated = title
            .map(|title| self.visible(&title))
            .map(|title| one_line(&title));
        let heading = || {
            let top = self
                .blocks
                .iter()
                .find(|block| block.kind == BlockKind::Heading(1))?;
            Some(one_line(&top.text))
        };
        let title = stated.filter(|title| !title.is_empty()).or_else(heading);
        if self.invisible > 0 {
            let n = self.invisible;
            self.warnings
                .push(format!("{n} invisible characters were left out"));
        }
        if self.hidden > 0 {
            let n = self.hidden;
            self.warnings.push(format!("{n} hidden parts were left out"));
        }
        RawDocument {
            format,
            title,
            blocks: self.blocks,
            n_pages,
            page_sizes: self.page_sizes,
            without_text: self.without_text,
            recognised: Vec::new(),
            warnings: self.warnings,
            properties: self.properties,
        }
    }
}

/// White space folded to single spaces.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters without a shape: zero-width, direction controls, tags, fillers.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}
