//! Where words stand on a page as it is shown: from the layout's turned coordinates to whole numbers of quarter
//! points from the upper left corner.
//!
//! Every place lies within the page and covers something, whatever the document says.

use super::super::WordBox;
use super::interpret::Extent;

/// Steps of the grid in a point.
const STEPS: f64 = 4.0;

/// A page as a grid of quarter points.
pub(super) struct Sheet {
    width: u16,
    height: u16,
    /// The height before it was rounded, from which y counts down.
    top: f64,
}

impl Sheet {
    /// A page of this width and height in points. One that the grid cannot hold has no places.
    pub(super) fn new((width, height): (f64, f64)) -> Self {
        let steps = |points: f64| (points * STEPS).ceil();
        let fits = |steps: f64| (1.0..=f64::from(u16::MAX)).contains(&steps);
        if !fits(steps(width)) || !fits(steps(height)) {
            return Self {
                width: 0,
                height: 0,
                top: 0.0,
            };
        }
        Self {
            width: steps(width) as u16,
            height: steps(height) as u16,
            top: height,
        }
    }

    /// Its size in quarter points; zero where it has no places.
    pub(super) fn size(&self) -> [u16; 2] {
        [self.width, self.height]
    }

    /// The places of words of a line whose text is turned so often against the page.
    pub(super) fn places(&self, words: &[Extent], turns: u8) -> impl Iterator<Item = WordBox> {
        words.iter().map(move |word| self.place(*word, turns))
    }

    fn place(&self, word: Extent, turns: u8) -> WordBox {
        if self.width == 0 {
            return WordBox::default();
        }
        let [x0, x1, y0, y1] = [word.x0, word.x1, word.y0, word.y1].map(f64::from);
        // The interpreter turned the page so that the text runs to the right; this turns it back.
        let (left, right, bottom, top) = match turns % 4 {
            0 => (x0, x1, y0, y1),
            1 => (-y1, -y0, x0, x1),
            2 => (-x1, -x0, -y1, -y0),
            _ => (y0, y1, -x1, -x0),
        };
        let (x, width) = within(left, right, self.width);
        let (y, height) = within(self.top - top, self.top - bottom, self.height);
        WordBox { x, y, width, height }
    }
}

/// A stretch as start and length on a grid of `size` steps, neither empty nor beyond it.
fn within(from: f64, to: f64, size: u16) -> (u16, u16) {
    // Conversions of floating-point numbers stop at the ends of the range; what is no number is zero.
    let start = ((from * STEPS).floor() as u16).min(size - 1);
    let end = ((to * STEPS).ceil() as u16).clamp(start + 1, size);
    (start, end - start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turned_text_covers_what_it_covers_on_the_page() {
        let sheet = Sheet::new((100.0, 200.0));
        let word = |x0, x1, y0, y1| Extent { x0, x1, y0, y1 };
        let expected = WordBox::from([40, 600, 80, 40]);
        // The same rectangle of the page, x 10..30 and y 40..50 from below, as text of each turn has it.
        let turned = [
            word(10.0, 30.0, 40.0, 50.0),
            word(40.0, 50.0, -30.0, -10.0),
            word(-30.0, -10.0, -50.0, -40.0),
            word(-50.0, -40.0, 10.0, 30.0),
        ];
        for (word, turns) in turned.into_iter().zip(0..) {
            assert_eq!(sheet.place(word, turns), expected, "turned {turns} times");
        }
    }

    proptest! {
        #[test]
        fn every_place_lies_within_its_page(
            size in (0.0f64..20_000.0, 0.0f64..20_000.0), word in prop::array::uniform4(-1e9f32..1e9), turns in 0u8..8
        ) {
            let sheet = Sheet::new(size);
            let [x0, x1, y0, y1] = word;
            let place = sheet.place(Extent { x0, x1, y0, y1 }, turns);
            let [width, height] = sheet.size().map(u32::from);
            prop_assert!(u32::from(place.x) + u32::from(place.width) <= width);
            prop_assert!(u32::from(place.y) + u32::from(place.height) <= height);
            prop_assert_eq!(width > 0, place.width > 0 && place.height > 0);
        }
    }
}
