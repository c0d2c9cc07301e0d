//! Zip packages: what kind of document they hold, and their parts, unpacked within limits.
//!
//! Archives inside of archives are never opened.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::{Format, RATIO_FREE_BYTES, ReadError, Run};

/// How much is unpacked between two looks at limits and clock.
const STEP_BYTES: usize = 64 << 10;
/// Most entries of a package; Word writes some hundred, with every picture an own one.
const MAX_ENTRIES: usize = 100_000;
/// The part that every Office Open XML package has.
const CONTENT_TYPES: &str = "[Content_Types].xml";

/// A zip archive, and how much has been unpacked from it.
pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    unpacked: u64,
}

impl<'a> Package<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| corrupt(&error))?;
        if archive.len() > MAX_ENTRIES {
            return Err(ReadError::Corrupt {
                what: "its archive has too many parts".to_owned(),
            });
        }
        Ok(Self { archive, unpacked: 0 })
    }

    /// Whether the package has this part.
    pub(super) fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(name).is_some()
    }

    /// Whether any part lies in this folder.
    fn has_folder(&self, folder: &str) -> bool {
        self.archive
            .file_names_raw()
            .any(|name| name.starts_with(folder.as_bytes()))
    }

    /// What the part `mimetype` says; empty if there is none.
    fn media_type(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Ok(file) = self.archive.by_name("mimetype") {
            // What cannot be read is no media type.
            let _ = file.take(MEDIA_TYPE_BYTES).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Unpacks a part; `None` if the package has none of this name.
    pub(super) fn part(&mut self, name: &str, run: Run<'_>) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(index) = self.archive.index_for_name(name) else {
            return Ok(None);
        };
        let mut file = self.archive.by_index(index).map_err(|error| corrupt(&error))?;
        if file.encrypted() {
            return Err(ReadError::Encrypted);
        }
        let packed = file.compressed_size();
        let mut bytes = Vec::new();
        let mut step = vec![0; STEP_BYTES];
        loop {
            run.check_time()?;
            let n = file.read(&mut step).map_err(|error| ReadError::Corrupt {
                what: format!("its part `{name}` cannot be unpacked ({error})"),
            })?;
            if n == 0 {
                return Ok(Some(bytes));
            }
            bytes.extend_from_slice(&step[..n]);
            self.unpacked += n as u64;
            let unpacked = bytes.len() as u64;
            let is_steep =
                unpacked > RATIO_FREE_BYTES && unpacked / packed.max(1) > run.limits.max_unpack_ratio;
            if is_steep || self.unpacked > run.limits.max_unpacked_bytes {
                return Err(ReadError::ZipBomb {
                    packed,
                    unpacked: unpacked.max(self.unpacked),
                });
            }
        }
    }
}

fn corrupt(error: &ZipError) -> ReadError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => ReadError::Encrypted,
        other => ReadError::Corrupt {
            what: format!("its zip archive is broken ({other})"),
        },
    }
}

/// The first bytes of the media type that some packages state; longer ones are none that is known.
const MEDIA_TYPE_BYTES: u64 = 128;

/// The format of a zip file by its contents.
pub(super) fn format_of(bytes: &[u8]) -> Result<Format, ReadError> {
    let mut package = Package::open(bytes)?;
    if package.has("xl/workbook.bin") {
        return Err(ReadError::UnknownFormat {
            what: "a binary spreadsheet (XLSB)".to_owned(),
        });
    }
    if package.has(CONTENT_TYPES) {
        for (folder, format) in [
            ("word/", Format::Docx),
            ("xl/", Format::Xlsx),
            ("ppt/", Format::Pptx),
        ] {
            if package.has_folder(folder) {
                return Ok(format);
            }
        }
    }
    if package.has("Contents/content.hpf") || package.has("Contents/section0.xml") {
        return Ok(Format::Hwpx);
    }
    let media_type = package.media_type();
    let format = match media_type.as_str() {
        "application/epub+zip" => Some(Format::Epub),
        "application/hwp+zip" => Some(Format::Hwpx),
        kind => kind
            .strip_prefix("application/vnd.oasis.opendocument.")
            .and_then(|kind| match kind.trim_end_matches("-template") {
                "text" => Some(Format::Odt),
                "spreadsheet" => Some(Format::Ods),
                "presentation" => Some(Format::Odp),
                _ => None,
            }),
    };
    if let Some(format) = format {
        return Ok(format);
    }
    if package.has("META-INF/container.xml") {
        return Ok(Format::Epub);
    }
    Err(ReadError::UnknownFormat {
        what: "a ZIP archive".to_owned(),
    })
}
