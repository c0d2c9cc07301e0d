//! A page of a PDF file as a picture, so that a quote can be shown where it stands.
//!
//! Fonts, colours and images are the renderer's (pure Rust); how large a picture may be, and what else bounds it, is
//! decided here. Fonts that the file names without holding them are replaced by the renderer's own, which know no
//! Korean: such text stays blank in the picture, while the stored text beside it has every letter.

use std::sync::Arc;
use std::time::Duration;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings, render};

use super::{Limits, Passwords, PictureError, ReadError};

/// Narrowest picture in pixels.
const MIN_PICTURE_WIDTH: u32 = 64;
/// Widest picture in pixels.
const MAX_PICTURE_WIDTH: u32 = 2_400;
/// Most pixels of a picture: a narrow page of any height is made smaller.
const MAX_PIXELS: f64 = 8_000_000.0;
/// Largest picture: one that does not pack at all.
pub(super) const MAX_PICTURE_BYTES: u64 = 40 << 20;
/// Longest time for one picture.
const MAX_TIME: Duration = Duration::from_secs(20);
/// Address space of the drawing child.
const MEMORY_BYTES: u64 = 3 << 29;

/// The limits of drawing: a picture for somebody who waits has less than a document that is taken in.
pub(super) fn limits(limits: &Limits) -> Limits {
    Limits {
        max_time: limits.max_time.min(MAX_TIME),
        worker_memory_bytes: limits.worker_memory_bytes.min(MEMORY_BYTES),
        ..limits.clone()
    }
}

/// Draws a page as PNG.
pub(super) fn page(
    bytes: &[u8],
    number: u32,
    width: u32,
    passwords: &Passwords,
) -> Result<Vec<u8>, PictureError> {
    let pdf = open(bytes, passwords)?;
    let pages = pdf.pages();
    let page = (number as usize)
        .checked_sub(1)
        .and_then(|index| pages.get(index))
        .ok_or(PictureError::NoSuchPage {
            page: number,
            n_pages: pages.len() as u32,
        })?;
    let (x_scale, y_scale) = scales(page.render_dimensions(), width)?;
    let settings = PixmapSettings {
        x_scale,
        y_scale,
        bg_color: WHITE,
    };
    let cache = RenderCache::new();
    let picture = render(
        page,
        &cache,
        &InterpreterSettings::default(),
        &RenderSettings::default(),
        &settings,
    );
    picture.into_png().map_err(|error| {
        ReadError::Crashed {
            what: format!("the picture could not be packed: {error}"),
        }
        .into()
    })
}

fn open(bytes: &[u8], passwords: &Passwords) -> Result<Pdf, ReadError> {
    let data = Arc::new(super::pdf::from_header(bytes).to_vec());
    // Most files that are encrypted at all open without a password.
    for password in std::iter::once("").chain(passwords.iter()) {
        match Pdf::new_with_password(Arc::clone(&data), password) {
            Ok(pdf) => return Ok(pdf),
            Err(LoadPdfError::Decryption(DecryptionError::PasswordProtected)) => {}
            Err(LoadPdfError::Decryption(error)) => {
                return Err(ReadError::Corrupt {
                    what: format!("its encryption is of a kind that cannot be read ({error:?})"),
                });
            }
            Err(LoadPdfError::Invalid) => {
                return Err(ReadError::Corrupt {
                    what: "its objects make no sense".to_owned(),
                });
            }
        }
    }
    Err(ReadError::encrypted_pdf(passwords))
}

/// How many pixels a point takes across and down, so that both sides are whole numbers of pixels.
fn scales((width, height): (f32, f32), pixels: u32) -> Result<(f32, f32), ReadError> {
    let is_page = |side: f32| side.is_finite() && side >= 1.0;
    if !is_page(width) || !is_page(height) {
        return Err(ReadError::Corrupt {
            what: format!("a page has the size {width} by {height}"),
        });
    }
    let wanted = f64::from(pixels.clamp(MIN_PICTURE_WIDTH, MAX_PICTURE_WIDTH));
    let (width, height) = (f64::from(width), f64::from(height));
    let largest = (MAX_PIXELS / (width * height)).sqrt();
    let longest = f64::from(u16::MAX) / width.max(height);
    let scale = (wanted / width).min(largest).min(longest);
    // Half a pixel more than the whole number, of which the renderer takes the floor.
    let side = |points: f64| (((points * scale).round().max(1.0) + 0.5) / points) as f32;
    Ok((side(width), side(height)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_as_wide_as_asked_for() {
        let (x, y) = scales((595.0, 842.0), 1200).unwrap();
        assert_eq!(((595.0 * x) as u32, (842.0 * y) as u32), (1200, 1698));
        assert!(scales((f32::NAN, 10.0), 100).is_err());
    }

    proptest! {
        #[test]
        fn no_page_makes_a_large_picture(width in 1.0f32..1e9, height in 1.0f32..1e9, pixels: u32) {
            let (x, y) = scales((width, height), pixels).unwrap();
            let (x, y) = (f64::from(width * x), f64::from(height * y));
            prop_assert!(x >= 1.0 && y >= 1.0 && x < 65_536.0 && y < 65_536.0, "{x} {y}");
            prop_assert!(x.floor() * y.floor() <= 2.0 * MAX_PIXELS, "{x} {y}");
        }
    }
}
