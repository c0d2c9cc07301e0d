//! Where words stand on the page: whatever is turned, cropped, in columns or in Korean, the places cover the ink.

use super::made::{HELVETICA, lines, pdf_pages, pdf_pages_with, stream};
use super::*;
use crate::boxes::{PageMarks, by_page};
use crate::text::{NormalText, normalise};

/// A document with its places checked against its text.
fn placed(bytes: &[u8]) -> (RawDocument, NormalText) {
    let document = read_named("a.pdf", bytes).unwrap();
    let normal = normalise(&document);
    let chars: Vec<char> = normal.text.chars().collect();
    let mut is_placed = vec![false; chars.len()];
    for word in &normal.words {
        assert!(word.start < word.end && word.end <= chars.len());
        for (at, c) in chars.iter().enumerate().take(word.end).skip(word.start) {
            assert!(!c.is_whitespace() && !is_placed[at], "{word:?}");
            is_placed[at] = true;
        }
        let [width, height] = document.page_sizes[word.page as usize - 1].map(u32::from);
        let place = word.place;
        assert!(place.width > 0 && place.height > 0, "{word:?}");
        assert!(
            u32::from(place.x) + u32::from(place.width) <= width,
            "{word:?} on {width}"
        );
        assert!(
            u32::from(place.y) + u32::from(place.height) <= height,
            "{word:?} on {height}"
        );
    }
    // All but white space and the bars between cells.
    let words: String = normal.words.iter().flat_map(|w| &chars[w.start..w.end]).collect();
    let shown: String = chars
        .iter()
        .filter(|c| !c.is_whitespace() && **c != '|')
        .collect();
    assert_eq!(words, shown);
    (document, normal)
}

fn marks(document: &RawDocument, normal: &NormalText, words: &str) -> PageMarks {
    let before = normal.text.split(words).next().unwrap().chars().count();
    assert!(normal.text.contains(words), "{words} in {}", normal.text);
    let span = before..before + words.chars().count();
    let page = normal.page_at(before).unwrap();
    let pages = by_page(&normal.words, &document.page_sizes);
    pages[page as usize - 1].marks(&span)
}

/// A picture as darkness: rows of pixels, 0 for white.
struct Picture {
    width: usize,
    height: usize,
    dark: Vec<bool>,
}

impl Picture {
    fn of(bytes: &[u8], page: u32) -> Self {
        let (limits, passwords) = (Limits::default(), Passwords::default());
        let means = Means {
            isolation: &Isolation::Thread,
            limits: &limits,
            passwords: &passwords,
        };
        let png = draw_page(bytes, (page, 600), means).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let n_channels = info.color_type.samples();
        Self {
            width: info.width as usize,
            height: info.height as usize,
            dark: pixels.chunks(n_channels).map(|pixel| pixel[0] < 128).collect(),
        }
    }

    /// Dark pixels within the marks, and all.
    fn ink(&self, marks: &PageMarks) -> (usize, usize) {
        let scale = self.width as f32 / marks.width;
        assert!(
            (self.height as f32 / marks.height - scale).abs() < 0.02 * scale,
            "the picture has the shape of the page"
        );
        let is_marked = |x: usize, y: usize| {
            marks.lines.iter().any(|line| {
                let (x, y) = ((x as f32 + 0.5) / scale, (y as f32 + 0.5) / scale);
                (line.x..line.x + line.width).contains(&x) && (line.y..line.y + line.height).contains(&y)
            })
        };
        let dark = (0..self.dark.len()).filter(|at| self.dark[*at]);
        let all: Vec<bool> = dark
            .map(|at| is_marked(at % self.width, at / self.width))
            .collect();
        (all.iter().filter(|inside| **inside).count(), all.len())
    }
}

/// Checks that the marks of a page's only words cover all ink of its picture, and little else.
fn covers_the_ink(bytes: &[u8], words: &str) {
    let (document, normal) = placed(bytes);
    let marks = marks(&document, &normal, words);
    let (inside, all) = Picture::of(bytes, 1).ink(&marks);
    assert!(all > 50, "there is ink");
    assert!(
        inside * 100 >= all * 97,
        "{inside} of {all} dark pixels are marked"
    );
    let area: f32 = marks.lines.iter().map(|line| line.width * line.height).sum();
    assert!(
        area < 0.2 * marks.width * marks.height,
        "the marks are no larger than the words"
    );
}

#[test]
fn marks_cover_the_ink_of_pages_turned_and_cropped_in_every_way() {
    let crops = ["", "/MediaBox [50 40 450 640] /CropBox [-20 100 420 900]"];
    for crop in crops {
        for turn in [0, 90, 180, 270, -90, 450] {
            let content = lines(24, 420, &["Marked words"]);
            let fonts = [HELVETICA.to_owned()];
            let bytes = pdf_pages_with(&format!("/Rotate {turn} {crop}"), &[content], &fonts, &[], "");
            covers_the_ink(&bytes, "Marked words");
        }
    }
}

#[test]
fn marks_cover_the_ink_of_turned_and_scaled_text() {
    for matrix in ["1 0 0 1", "0 1 -1 0", "-1 0 0 -1", "0 -1 1 0", "1.5 0 0 2"] {
        let content = format!("BT /F1 20 Tf {matrix} 300 400 Tm (Turned) Tj ( words) Tj ET");
        let bytes = pdf_pages(&[content.into_bytes()], &[HELVETICA.to_owned()], &[], "");
        covers_the_ink(&bytes, "Turned words");
    }
}

#[test]
fn a_quote_in_two_columns_is_marked_in_its_column_alone() {
    let mut content = Vec::new();
    for (column, x) in [("left", 60), ("right", 330)] {
        content.extend(b"BT /F1 10 Tf 12 TL ".iter());
        content.extend(format!("{x} 700 Td\n").bytes());
        for row in 0..12 {
            let line = format!("The {column} column says in line {row} what it says.");
            content.extend(format!("({line}) Tj T*\n").bytes());
        }
        content.extend(b"ET\n".iter());
    }
    let bytes = pdf_pages(&[content], &[HELVETICA.to_owned()], &[], "");
    let (document, normal) = placed(&bytes);
    let text = "in line 3 what it says. The right column says in line 4 what";
    let found = marks(&document, &normal, text);
    assert_eq!(found.lines.len(), 2, "{found:?}");
    assert!(found.lines.iter().all(|line| line.x > 325.0), "{found:?}");
    let left = marks(&document, &normal, "left column says in line 3");
    assert!(
        left.lines.iter().all(|line| line.x + line.width < 325.0),
        "{left:?}"
    );
}

#[test]
fn the_cells_of_a_row_are_marked_each_by_itself() {
    let mut content = Vec::new();
    for (row, y) in [("Paper", 700), ("Ink", 686), ("Glue", 672)] {
        content.extend(format!("BT /F1 10 Tf 72 {y} Td ({row}) Tj 200 0 Td (1 200) Tj ET\n").bytes());
    }
    let bytes = pdf_pages(&[content], &[HELVETICA.to_owned()], &[], "");
    let (document, normal) = placed(&bytes);
    let row = marks(&document, &normal, "Ink | 1 200");
    let lefts: Vec<f32> = row.lines.iter().map(|line| line.x).collect();
    assert_eq!(lefts, [72.0, 272.0]);
}

#[test]
fn korean_words_have_the_width_of_their_letters() {
    let map = b"begincodespacerange <0000> <FFFF> endcodespacerange 1 beginbfrange <0001> <0005> [<ACC4> <C57D> <C11C> \
        <0020> <AC11>] endbfrange";
    let font = "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /ToUnicode 6 0 R \
                /DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /DW 1000 >>] >>";
    let content = b"BT /F1 10 Tf 72 700 Td <00010002000300040005> Tj ET".to_vec();
    let bytes = pdf_pages(&[content], &[font.to_owned()], &[stream("", map)], "");
    let (document, normal) = placed(&bytes);
    let line = |words| marks(&document, &normal, words).lines[0];
    assert_eq!((line("계약서").x, line("계약서").width), (72.0, 30.0));
    assert_eq!((line("갑").x, line("갑").width), (112.0, 10.0));
    // A letter within a word has its share of it.
    assert_eq!((line("약").x, line("약").width), (82.0, 10.0));
}

#[test]
fn a_word_beyond_the_edge_is_marked_up_to_the_edge() {
    let content = b"BT /F1 20 Tf 560 700 Td (Overhanging) Tj ET BT /F1 20 Tf -8 400 Td (Under) Tj ET";
    placed(&pdf_pages(&[content.to_vec()], &[HELVETICA.to_owned()], &[], ""));
}

#[test]
fn a_page_too_large_to_measure_has_text_without_places() {
    let content = lines(900, 19_000, &["Huge"]);
    let fonts = [HELVETICA.to_owned()];
    let bytes = pdf_pages_with("/MediaBox [0 0 20000 20000]", &[content], &fonts, &[], "");
    let document = read_named("a.pdf", &bytes).unwrap();
    let normal = normalise(&document);
    assert_eq!((normal.text.as_str(), normal.words.len()), ("Huge", 0));
    assert_eq!(document.page_sizes, [[0, 0]]);
    let picture = Picture::of(&bytes, 1);
    assert!(picture.width * picture.height <= 16_000_000);
}

#[test]
fn there_is_no_picture_of_a_page_that_is_not_there() {
    let bytes = pdf_pages(&[lines(10, 700, &["One."])], &[HELVETICA.to_owned()], &[], "");
    let (limits, passwords) = (Limits::default(), Passwords::default());
    let means = Means {
        isolation: &Isolation::Thread,
        limits: &limits,
        passwords: &passwords,
    };
    for page in [0, 2, u32::MAX] {
        let error = draw_page(&bytes, (page, 600), means).unwrap_err();
        assert_eq!(error, PictureError::NoSuchPage { page, n_pages: 1 });
    }
    let error = draw_page(b"%PDF-1.5 nothing", (1, 600), means).unwrap_err();
    assert!(
        matches!(error, PictureError::Read(ReadError::Corrupt { .. })),
        "{error}"
    );
}
