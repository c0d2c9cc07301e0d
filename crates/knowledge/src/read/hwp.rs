//! HWP 5 (Hangul 2002 to today): paragraphs, headings by outline level, tables as rows, notes, pages as Hangul last laid
//! them out.
//!
//! Written after Hancom's published description of the format, revision 1.3. Headers, footers, comments and pictures
//! are left out. Not HWP 3, and not what is locked by a password or by certificates.

use std::io::{Cursor, Read};

use cfb::CompoundFile;

use super::hangul::{Shapes, Writer};
use super::{Format, RATIO_FREE_BYTES, RawDocument, ReadError, Run};

mod distribution;
mod records;
mod section;
mod summary;

use records::{Record, records};

/// First bytes of the header stream.
const SIGNATURE: &[u8] = b"HWP Document File";
/// How much is unpacked between two looks at limits and clock.
const STEP_BYTES: usize = 64 << 10;
/// More sections than this are not looked for.
const SECTIONS_MAX: usize = 10_000;

const TAG_PARA_SHAPE: u16 = 0x19;
const TAG_STYLE: u16 = 0x1A;

/// The bits of the header that matter here.
#[derive(Clone, Copy)]
struct Header {
    is_compressed: bool,
    is_distribution: bool,
}

/// Reads HWP 5.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut file = File::open(bytes, run)?;
    let header = file.header()?;
    let info = file.stream("/DocInfo")?.ok_or_else(|| ReadError::Corrupt {
        what: "it has no stream `DocInfo`".to_owned(),
    })?;
    let info = file.unpacked(&info, header.is_compressed)?;
    let shapes = shapes(&info, run)?;
    let title = match file.stream("/\u{5}HwpSummaryInformation")? {
        Some(stream) => summary::title(&stream),
        None => None,
    };
    let mut writer = Writer::new(run);
    for n in 0..SECTIONS_MAX {
        let Some(bytes) = file.section(n, header)? else {
            break;
        };
        writer.begin_section();
        section::read(&records(&bytes, run)?, &shapes, &mut writer, run)?;
    }
    writer.finish(Format::Hwp, title)
}

fn corrupt(what: impl Into<String>) -> ReadError {
    ReadError::Corrupt { what: what.into() }
}

/// The compound file, and how much has been unpacked from it.
struct File<'a> {
    compound: CompoundFile<Cursor<&'a [u8]>>,
    run: Run<'a>,
    unpacked: u64,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8], run: Run<'a>) -> Result<Self, ReadError> {
        let compound = CompoundFile::open(Cursor::new(bytes))
            .map_err(|error| corrupt(format!("its container is broken ({error})")))?;
        Ok(Self {
            compound,
            run,
            unpacked: 0,
        })
    }

    /// A stream as it is stored; `None` if there is none of this name.
    fn stream(&mut self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        if !self.compound.is_stream(name) {
            return Ok(None);
        }
        let broken = |error: std::io::Error| corrupt(format!("its stream `{name}` is broken ({error})"));
        let stream = self.compound.open_stream(name).map_err(broken)?;
        let mut bytes = Vec::new();
        stream
            .take(self.run.limits.max_file_bytes)
            .read_to_end(&mut bytes)
            .map_err(broken)?;
        Ok(Some(bytes))
    }

    fn header(&mut self) -> Result<Header, ReadError> {
        let stream = self.stream("/FileHeader")?.unwrap_or_default();
        let flags = stream
            .get(36..40)
            .filter(|_| stream.starts_with(SIGNATURE))
            .ok_or_else(|| corrupt("its header is not one of HWP 5"))?;
        let has = |bit: u32| flags[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
        // Bits 1: password, 4: digital rights, 8: encrypted with certificates.
        if has(1) || has(4) || has(8) {
            return Err(ReadError::Encrypted);
        }
        Ok(Header {
            is_compressed: has(0),
            is_distribution: has(2),
        })
    }

    /// The records of section `n`, unpacked; `None` after the last one.
    fn section(&mut self, n: usize, header: Header) -> Result<Option<Vec<u8>>, ReadError> {
        if header.is_distribution {
            let Some(stream) = self.stream(&format!("/ViewText/Section{n}"))? else {
                return Ok(None);
            };
            let plain = distribution::decrypt(&stream)
                .ok_or_else(|| corrupt(format!("section {n} for distribution cannot be opened")))?;
            return self.unpacked(&plain, header.is_compressed).map(Some);
        }
        match self.stream(&format!("/BodyText/Section{n}"))? {
            Some(stream) => self.unpacked(&stream, header.is_compressed).map(Some),
            None => Ok(None),
        }
    }

    /// Inflates a stream, within the limits.
    fn unpacked(&mut self, packed: &[u8], is_compressed: bool) -> Result<Vec<u8>, ReadError> {
        if !is_compressed {
            return Ok(packed.to_vec());
        }
        let mut inflater = flate2::read::DeflateDecoder::new(packed);
        let (mut bytes, mut step) = (Vec::new(), vec![0; STEP_BYTES]);
        loop {
            self.run.check_time()?;
            let n = match inflater.read(&mut step) {
                Ok(n) => n,
                // Some programs leave the end out; the records tell whether anything is missing.
                Err(_) if !bytes.is_empty() => 0,
                Err(error) => return Err(corrupt(format!("a stream cannot be unpacked ({error})"))),
            };
            if n == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&step[..n]);
            self.unpacked += n as u64;
            let (size, limits) = (bytes.len() as u64, self.run.limits);
            let is_steep =
                size > RATIO_FREE_BYTES && size / (packed.len() as u64).max(1) > limits.max_unpack_ratio;
            if is_steep || self.unpacked > limits.max_unpacked_bytes {
                return Err(ReadError::ZipBomb {
                    packed: packed.len() as u64,
                    unpacked: size.max(self.unpacked),
                });
            }
        }
    }
}

/// Which paragraph shapes and styles are headings or lists; both are numbered in the order they come.
fn shapes(info: &[u8], run: Run<'_>) -> Result<Shapes, ReadError> {
    let mut shapes = Shapes::default();
    let (mut n_shapes, mut n_styles) = (0, 0);
    for record in &records(info, run)? {
        match record.tag {
            TAG_PARA_SHAPE => {
                let bits = record.u32(0).unwrap_or(0);
                let heading = ["", "OUTLINE", "NUMBER", "BULLET"][(bits >> 23 & 3) as usize];
                shapes.set(n_shapes, heading, bits >> 25 & 7);
                n_shapes += 1;
            }
            TAG_STYLE => {
                if let Some((name, shape)) = style(record) {
                    shapes.add_style(n_styles, &name, shape);
                }
                n_styles += 1;
            }
            _ => {}
        }
    }
    Ok(shapes)
}

/// A style's local name and paragraph shape.
fn style(record: &Record<'_>) -> Option<(String, u32)> {
    let (name, at) = record.text(0)?;
    let (_, at) = record.text(at)?;
    // Kind, next style, language.
    let shape = record.u16(at + 4)?;
    Some((name, u32::from(shape)))
}
