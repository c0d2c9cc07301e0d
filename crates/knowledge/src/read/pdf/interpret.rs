//! Runs a page's content as far as text is concerned: which characters stand where, and how large.
//!
//! No painting. Text that nobody can see (off the page, of no size, on a layer that is off) is left out.

use std::collections::BTreeSet;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::super::{ReadError, Run};
use super::font::{Font, Fonts};
use super::lexer::{Lexer, Operand};
use super::{dictionary, entry, inherited, number, resolve};

/// Largest content of one page, unpacked.
const MAX_CONTENT_BYTES: usize = 256 << 20;
/// Deepest nesting of forms within forms.
const MAX_FORMS: usize = 12;
/// Deepest stack of graphics states.
const MAX_STATES: usize = 512;
/// Most operators of one page, those of its forms included.
const MAX_OPERATORS: usize = 5_000_000;
/// Most characters of one page.
const MAX_PAGE_CHARS: usize = 2_000_000;
/// How many operators go by between two looks at the clock.
const TIME_CHECK_EVERY: usize = 4096;
/// Gaps from this share of the font size on are spaces, if nothing else stands there.
pub(super) const SPACE_GAP: f64 = 0.16;
/// Gaps from this share of the font size on end a run.
const RUN_GAP: f64 = 1.0;
/// Text smaller than this share of the page's height is invisible.
const MIN_SIZE_SHARE: f64 = 1.0 / 2000.0;
/// How far letters reach above and below their base line, in font sizes; fonts differ, highlights need not.
const ASCENT: f64 = 0.84;
const DESCENT: f64 = 0.22;
/// How many runs back a doubled one (a bold face made by printing twice) may lie.
const DOUBLED_WITHIN: usize = 16;

/// What a word covers, in the coordinates of its run: single precision is far finer than any screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) x0: f32,
    pub(super) x1: f32,
    pub(super) y0: f32,
    pub(super) y1: f32,
}

impl Extent {
    /// A character on a base line.
    fn of(x0: f64, x1: f64, y: f64, size: f64) -> Self {
        Self {
            x0: x0.min(x1) as f32,
            x1: x0.max(x1) as f32,
            y0: (y - DESCENT * size) as f32,
            y1: (y + ASCENT * size) as f32,
        }
    }

    /// Both.
    pub(super) fn and(&mut self, other: Self) {
        self.x0 = self.x0.min(other.x0);
        self.x1 = self.x1.max(other.x1);
        self.y0 = self.y0.min(other.y0);
        self.y1 = self.y1.max(other.y1);
    }
}

/// Characters that follow each other on one line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextRun {
    pub(super) text: String,
    /// One for each word of the text (parted by white space).
    pub(super) words: Vec<Extent>,
    pub(super) x0: f64,
    pub(super) x1: f64,
    /// The base line; y grows upwards.
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) is_bold: bool,
    /// Quarter turns of the text against the page; coordinates are turned back already.
    pub(super) turns: u8,
}

impl TextRun {
    /// Adds characters that are not only white space; they go on with the last word unless a space parts them.
    pub(super) fn push(&mut self, text: &str, extent: Extent) {
        let is_parted = self.text.ends_with(char::is_whitespace) || text.starts_with(char::is_whitespace);
        let mut n_new = text.split_whitespace().count();
        if !is_parted && let Some(last) = self.words.last_mut() {
            last.and(extent);
            n_new -= 1;
        }
        self.words.extend(std::iter::repeat_n(extent, n_new));
        self.text.push_str(text);
    }
}

/// The text of a page.
#[derive(Default)]
pub(super) struct PageText {
    pub(super) runs: Vec<TextRun>,
    /// Width and height in points as it is shown; zero where nothing is known of the page.
    pub(super) size: (f64, f64),
    /// Whether text that cannot be seen was left out.
    pub(super) has_hidden: bool,
    /// Characters whose font does not tell what they are.
    pub(super) n_unmapped: usize,
}

/// An affine map as PDF writes it: x' = a x + c y + e, y' = b x + d y + f.
type Matrix = [f64; 6];

const IDENTITY: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

/// First `m`, then `n`.
fn then(m: &Matrix, n: &Matrix) -> Matrix {
    [
        m[0] * n[0] + m[1] * n[2],
        m[0] * n[1] + m[1] * n[3],
        m[2] * n[0] + m[3] * n[2],
        m[2] * n[1] + m[3] * n[3],
        m[4] * n[0] + m[5] * n[2] + n[4],
        m[4] * n[1] + m[5] * n[3] + n[5],
    ]
}

#[derive(Clone)]
struct State {
    ctm: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    char_space: f64,
    word_space: f64,
    stretch: f64,
    leading: f64,
    rise: f64,
    mode: i64,
}

/// A place on the page, turned so that text runs to the right.
struct Place {
    x: f64,
    y: f64,
    size: f64,
    turns: u8,
    is_on_page: bool,
}

/// A character with its place.
struct Placed {
    from: Place,
    /// Where the next one would stand.
    x1: f64,
    extent: Extent,
    is_bold: bool,
}

struct Interpreter<'d, 'f, 'r> {
    document: &'d Document,
    fonts: &'f mut Fonts<'d, 'r>,
    run: Run<'r>,
    state: State,
    states: Vec<State>,
    text: Matrix,
    line: Matrix,
    width: f64,
    height: f64,
    layers_off: BTreeSet<ObjectId>,
    /// For each marked part under way, whether it is on a layer that is off.
    marks: Vec<bool>,
    n_operators: usize,
    n_chars: usize,
    has_image: bool,
    invisible: Vec<TextRun>,
    page: PageText,
}

/// Reads a page.
pub(super) fn page<'d, 'r>(
    document: &'d Document,
    id: ObjectId,
    fonts: &mut Fonts<'d, 'r>,
    run: Run<'r>,
) -> Result<PageText, ReadError> {
    let Ok(page) = document.get_dictionary(id) else {
        return Ok(PageText::default());
    };
    let (ctm, width, height) = page_space(document, page);
    let content = match document.get_page_content_with_limit(id, MAX_CONTENT_BYTES) {
        Ok(content) => content,
        Err(_) => {
            return Err(ReadError::ZipBomb {
                packed: 0,
                unpacked: MAX_CONTENT_BYTES as u64,
            });
        }
    };
    let resources = inherited(document, page, b"Resources").and_then(|resources| resources.as_dict().ok());
    let empty = Dictionary::new();
    let mut interpreter = Interpreter {
        document,
        fonts,
        run,
        state: State {
            ctm,
            font: None,
            size: 0.0,
            char_space: 0.0,
            word_space: 0.0,
            stretch: 1.0,
            leading: 0.0,
            rise: 0.0,
            mode: 0,
        },
        states: Vec::new(),
        text: IDENTITY,
        line: IDENTITY,
        width,
        height,
        layers_off: layers_off(document),
        marks: Vec::new(),
        n_operators: 0,
        n_chars: 0,
        has_image: false,
        invisible: Vec::new(),
        page: PageText {
            size: (width, height),
            ..PageText::default()
        },
    };
    interpreter.content(&content, resources.unwrap_or(&empty), 0)?;
    Ok(interpreter.end())
}

/// The map from a page's own space to one whose lower left corner is the origin, with its size.
fn page_space(document: &Document, page: &Dictionary) -> (Matrix, f64, f64) {
    let rectangle = |key: &[u8]| {
        let list = inherited(document, page, key)?.as_array().ok()?;
        let numbers: Vec<f64> = list
            .iter()
            .filter_map(|item| number(resolve(document, item)))
            .collect();
        let [a, b, c, d] = numbers[..] else {
            return None;
        };
        let (x0, y0, x1, y1) = (a.min(c), b.min(d), a.max(c), b.max(d));
        (x1 - x0 > 1.0 && y1 - y0 > 1.0).then_some([x0, y0, x1, y1])
    };
    let media = rectangle(b"MediaBox").unwrap_or([0.0, 0.0, 612.0, 792.0]);
    // What lies beyond the medium is not shown, whatever the crop box says.
    let cropped = rectangle(b"CropBox").map(|[x0, y0, x1, y1]| {
        [
            x0.max(media[0]),
            y0.max(media[1]),
            x1.min(media[2]),
            y1.min(media[3]),
        ]
    });
    let [x0, y0, x1, y1] = cropped
        .filter(|[x0, y0, x1, y1]| x1 - x0 > 1.0 && y1 - y0 > 1.0)
        .unwrap_or(media);
    let turn = inherited(document, page, b"Rotate")
        .and_then(number)
        .unwrap_or(0.0) as i64;
    let (width, height) = (x1 - x0, y1 - y0);
    match turn.rem_euclid(360) {
        90 => ([0.0, -1.0, 1.0, 0.0, -y0, x1], height, width),
        180 => ([-1.0, 0.0, 0.0, -1.0, x1, y1], width, height),
        270 => ([0.0, 1.0, -1.0, 0.0, y1, -x0], height, width),
        _ => ([1.0, 0.0, 0.0, 1.0, -x0, -y0], width, height),
    }
}

/// Layers that the document switches off from the start.
fn layers_off(document: &Document) -> BTreeSet<ObjectId> {
    let off = document
        .catalog()
        .ok()
        .and_then(|catalog| dictionary(document, catalog, b"OCProperties"))
        .and_then(|properties| dictionary(document, properties, b"D"))
        .and_then(|start| entry(document, start, b"OFF"))
        .and_then(|off| off.as_array().ok());
    off.map(|off| off.iter().filter_map(|layer| layer.as_reference().ok()).collect())
        .unwrap_or_default()
}

impl Interpreter<'_, '_, '_> {
    fn content(&mut self, content: &[u8], resources: &Dictionary, depth: usize) -> Result<(), ReadError> {
        let (mut lexer, mut operands) = (Lexer::new(content), Vec::new());
        while let Some(operator) = lexer.next_operator(&mut operands) {
            self.n_operators += 1;
            if self.n_operators.is_multiple_of(TIME_CHECK_EVERY) {
                self.run.check_time()?;
            }
            if self.n_operators > MAX_OPERATORS || self.n_chars > MAX_PAGE_CHARS {
                return Ok(());
            }
            if operator == b"Do" {
                self.form(&operands, resources, depth)?;
            } else {
                self.operator(operator, &operands, resources);
            }
        }
        Ok(())
    }

    fn operator(&mut self, operator: &[u8], operands: &[Operand], resources: &Dictionary) {
        let n = |index: usize| operands.get(index).and_then(Operand::number).unwrap_or(0.0);
        match operator {
            b"q" if self.states.len() < MAX_STATES => self.states.push(self.state.clone()),
            b"Q" => {
                if let Some(state) = self.states.pop() {
                    self.state = state;
                }
            }
            b"cm" => self.state.ctm = then(&[n(0), n(1), n(2), n(3), n(4), n(5)], &self.state.ctm),
            b"BT" => (self.text, self.line) = (IDENTITY, IDENTITY),
            b"Tf" => {
                if let Some(Operand::Name(name)) = operands.first() {
                    self.state.font = self.fonts.get(resources, name);
                }
                self.state.size = n(1);
            }
            b"Tc" => self.state.char_space = n(0),
            b"Tw" => self.state.word_space = n(0),
            b"Tz" => self.state.stretch = n(0) / 100.0,
            b"TL" => self.state.leading = n(0),
            b"Ts" => self.state.rise = n(0),
            b"Tr" => self.state.mode = n(0) as i64,
            b"Td" => self.next_line(n(0), n(1)),
            b"TD" => {
                self.state.leading = -n(1);
                self.next_line(n(0), n(1));
            }
            b"Tm" => {
                self.line = [n(0), n(1), n(2), n(3), n(4), n(5)];
                self.text = self.line;
            }
            b"T*" => self.next_line(0.0, -self.state.leading),
            b"Tj" => self.show(operands.first()),
            b"TJ" => self.show(operands.first()),
            b"'" => {
                self.next_line(0.0, -self.state.leading);
                self.show(operands.first());
            }
            b"\"" => {
                (self.state.word_space, self.state.char_space) = (n(0), n(1));
                self.next_line(0.0, -self.state.leading);
                self.show(operands.get(2));
            }
            b"BMC" => self.marks.push(false),
            b"BDC" => {
                let is_off = self.is_off(operands, resources);
                self.marks.push(is_off);
            }
            b"EMC" => {
                self.marks.pop();
            }
            b"gs" => self.graphics_state(operands, resources),
            _ => {}
        }
    }

    /// A dictionary of graphics state may set the font.
    fn graphics_state(&mut self, operands: &[Operand], resources: &Dictionary) {
        let Some(Operand::Name(name)) = operands.first() else {
            return;
        };
        let states = dictionary(self.document, resources, b"ExtGState");
        let state = states.and_then(|states| dictionary(self.document, states, name));
        let font = state.and_then(|state| entry(self.document, state, b"Font")?.as_array().ok());
        if let Some([_, size]) = font.map(Vec::as_slice) {
            // The font itself lies outside of the resources; only its size matters for the lines.
            self.state.size = number(resolve(self.document, size)).unwrap_or(self.state.size);
        }
    }

    /// Whether a marked part belongs to a layer that is off.
    fn is_off(&self, operands: &[Operand], resources: &Dictionary) -> bool {
        let [Operand::Name(tag), Operand::Name(name)] = operands else {
            return false;
        };
        let properties = dictionary(self.document, resources, b"Properties");
        let layer = properties.and_then(|properties| properties.get(name).ok());
        tag == b"OC" && layer.is_some_and(|layer| self.is_layer_off(layer))
    }

    fn is_layer_off(&self, layer: &Object) -> bool {
        if self.layers_off.is_empty() {
            return false;
        }
        if layer.as_reference().is_ok_and(|id| self.layers_off.contains(&id)) {
            return true;
        }
        // A membership of several layers is off where all of them are.
        let members = resolve(self.document, layer)
            .as_dict()
            .ok()
            .and_then(|layer| layer.get(b"OCGs").ok());
        match members.map(|members| (members, resolve(self.document, members))) {
            Some((_, Object::Array(all))) => {
                !all.is_empty()
                    && all
                        .iter()
                        .all(|one| one.as_reference().is_ok_and(|id| self.layers_off.contains(&id)))
            }
            Some((one, _)) => one.as_reference().is_ok_and(|id| self.layers_off.contains(&id)),
            None => false,
        }
    }

    fn form(&mut self, operands: &[Operand], resources: &Dictionary, depth: usize) -> Result<(), ReadError> {
        let Some(Operand::Name(name)) = operands.first() else {
            return Ok(());
        };
        let forms = dictionary(self.document, resources, b"XObject");
        let Some(Object::Stream(stream)) = forms.and_then(|forms| entry(self.document, forms, name)) else {
            return Ok(());
        };
        let dict = &stream.dict;
        if entry(self.document, dict, b"Subtype").and_then(|kind| kind.as_name().ok()) != Some(b"Form") {
            self.has_image = true;
            return Ok(());
        }
        if depth >= MAX_FORMS || dict.get(b"OC").is_ok_and(|layer| self.is_layer_off(layer)) {
            return Ok(());
        }
        let Ok(content) = stream.get_plain_content_with_limit(MAX_CONTENT_BYTES) else {
            return Ok(());
        };
        let list = entry(self.document, dict, b"Matrix").and_then(|matrix| matrix.as_array().ok());
        let numbers: Vec<f64> = list
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(number)
            .collect();
        let matrix: Matrix = numbers.try_into().unwrap_or(IDENTITY);
        let saved = (
            self.state.clone(),
            self.text,
            self.line,
            self.states.len(),
            self.marks.len(),
        );
        self.state.ctm = then(&matrix, &self.state.ctm);
        let own = dictionary(self.document, dict, b"Resources");
        let done = self.content(&content, own.unwrap_or(resources), depth + 1);
        self.states.truncate(saved.3);
        self.marks.truncate(saved.4);
        (self.state, self.text, self.line) = (saved.0, saved.1, saved.2);
        done
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.line = then(&[1.0, 0.0, 0.0, 1.0, x, y], &self.line);
        self.text = self.line;
    }

    fn show(&mut self, operand: Option<&Operand>) {
        match operand {
            Some(Operand::Text(bytes)) => self.show_text(bytes),
            Some(Operand::Array(parts)) => {
                for part in parts {
                    match part {
                        Operand::Text(bytes) => self.show_text(bytes),
                        Operand::Number(back) => {
                            let is_vertical = self.state.font.as_ref().is_some_and(|font| font.is_vertical);
                            let step = -back / 1000.0 * self.state.size;
                            if is_vertical {
                                self.step(0.0, step)
                            } else {
                                self.step(step * self.state.stretch, 0.0)
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, x: f64, y: f64) {
        self.text = then(&[1.0, 0.0, 0.0, 1.0, x, y], &self.text);
    }

    fn show_text(&mut self, bytes: &[u8]) {
        let Some(font) = self.state.font.clone() else {
            return;
        };
        font.decode(bytes, &mut |glyph, is_space| {
            let state = &self.state;
            let spacing = state.char_space + if is_space { state.word_space } else { 0.0 };
            let from = self.place();
            if font.is_vertical {
                // Each character below the other: one run of the reading order, as if it stood on a line.
                let (size, down) = (self.state.size, spacing - self.state.size);
                let half = 0.5 * from.size;
                let placed = Placed {
                    x1: from.x + from.size,
                    // The pen is above the middle of the character.
                    extent: Extent::of(
                        from.x - half,
                        from.x + half,
                        from.y - ASCENT * from.size,
                        from.size,
                    ),
                    from,
                    is_bold: font.is_bold,
                };
                self.add(glyph.text.as_deref(), &placed);
                self.step(0.0, if size == 0.0 { 0.0 } else { down });
                return;
            }
            let advance = (glyph.width * state.size + spacing) * state.stretch;
            self.step(advance, 0.0);
            let to = self.place().x;
            let placed = Placed {
                x1: to,
                extent: Extent::of(from.x, to, from.y, from.size),
                from,
                is_bold: font.is_bold,
            };
            self.add(glyph.text.as_deref(), &placed);
        });
    }

    /// Where the pen is.
    fn place(&self) -> Place {
        let state = &self.state;
        let glyph: Matrix = [state.size * state.stretch, 0.0, 0.0, state.size, 0.0, state.rise];
        let m = then(&then(&glyph, &self.text), &state.ctm);
        let (x, y) = (m[4], m[5]);
        let size = m[2].hypot(m[3]);
        let margin = size;
        let is_on_page = x > -margin
            && y > -margin
            && x < self.width + margin
            && y < self.height + margin
            && size.is_finite();
        let (right, up) = (m[0], m[1]);
        let (turns, x, y) = if right.abs() >= up.abs() {
            if right >= 0.0 { (0, x, y) } else { (2, -x, -y) }
        } else if up > 0.0 {
            (1, y, -x)
        } else {
            (3, -y, x)
        };
        Place {
            x,
            y,
            size,
            turns,
            is_on_page,
        }
    }

    fn add(&mut self, text: Option<&str>, placed: &Placed) {
        let from = &placed.from;
        let Some(text) = text else {
            self.page.n_unmapped += 1;
            return;
        };
        let is_hidden = !from.is_on_page
            || from.size < self.height * MIN_SIZE_SHARE
            || self.marks.iter().any(|is_off| *is_off);
        if is_hidden {
            self.page.has_hidden |= !text.trim().is_empty();
            return;
        }
        self.n_chars += 1;
        let runs = if self.state.mode == 3 {
            &mut self.invisible
        } else {
            &mut self.page.runs
        };
        let is_space = text.chars().all(char::is_whitespace);
        if let Some(last) = runs.last_mut()
            && last.turns == from.turns
            && (last.y - from.y).abs() < 0.12 * last.size
            && (last.size - from.size).abs() < 0.15 * last.size
        {
            let gap = from.x - last.x1;
            if gap > -0.5 * last.size && gap < RUN_GAP * last.size {
                if gap >= SPACE_GAP * last.size && !is_space && !last.text.ends_with(' ') {
                    last.text.push(' ');
                }
                if is_space {
                    last.text.push(' ');
                } else {
                    last.push(text, placed.extent);
                }
                last.x1 = placed.x1;
                return;
            }
        }
        // A run may not begin with a space: where it begins is where its first letter stands.
        if !is_space {
            let mut run = TextRun {
                text: String::new(),
                words: Vec::new(),
                x0: from.x,
                x1: placed.x1,
                y: from.y,
                size: from.size,
                is_bold: placed.is_bold,
                turns: from.turns,
            };
            run.push(text, placed.extent);
            runs.push(run);
        }
    }

    /// Invisible text is what a recogniser read in a scanned page, if the page shows a picture or nothing else.
    fn end(mut self) -> PageText {
        if self.page.runs.is_empty() || self.has_image {
            self.page.runs.append(&mut self.invisible);
        } else {
            self.page.has_hidden |= !self.invisible.is_empty();
        }
        without_doubles(&mut self.page.runs);
        self.page
    }
}

fn without_doubles(runs: &mut Vec<TextRun>) {
    let mut kept: Vec<TextRun> = Vec::with_capacity(runs.len());
    for run in runs.drain(..) {
        let near = 0.25 * run.size;
        let is_double = kept.iter().rev().take(DOUBLED_WITHIN).any(|other| {
            other.turns == run.turns
                && (other.x0 - run.x0).abs() < near
                && (other.y - run.y).abs() < near
                && other.text.trim_end() == run.text.trim_end()
        });
        if !is_double {
            kept.push(run);
        }
    }
    *runs = kept;
}
