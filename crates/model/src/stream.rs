//! Text out of a growing sequence of tokens: never half a character, never a piece of a stop text.
//!
//! [`Utf8Stream`] turns bytes into characters as they complete; [`StopTexts`] holds back what may still become a
//! stop text. What comes out doesn't depend on where the borders between the pieces lie.

/// Joins bytes to characters; invalid bytes become U+FFFD, an incomplete character waits for its rest.
#[derive(Debug, Clone, Default)]
pub struct Utf8Stream {
    /// The start of a character: at most three bytes.
    incomplete: Vec<u8>,
}

impl Utf8Stream {
    /// Takes the bytes of one token and returns the characters that are now complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.incomplete.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.incomplete.len());
        let mut rest = self.incomplete.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(n_invalid) = error.error_len() else {
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[n_invalid..];
                }
            }
        }
        let n_done = self.incomplete.len() - rest.len();
        self.incomplete.drain(..n_done);
        text
    }
}

/// What [`StopTexts::push`] lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Text that is certainly not part of a stop text.
    pub text: String,
    /// Whether a stop text is complete; nothing after it is of interest.
    pub stopped: bool,
}

/// Watches for texts that end a generation.
///
/// The stop text that is complete first wins (the longest of those that end at the same place), and the output
/// ends before it.
#[derive(Debug, Clone)]
pub struct StopTexts {
    stops: Vec<String>,
    held: String,
}

impl StopTexts {
    /// Watches for `stops`; empty ones are left out.
    pub fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            held: String::new(),
        }
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, text: &str) -> Passed {
        self.held.push_str(text);
        if let Some(start) = self.first_stop() {
            let text = self.held[..start].to_owned();
            self.held.clear();
            return Passed { text, stopped: true };
        }
        let keep_from = self.held.len() - self.n_possible();
        let rest = self.held.split_off(keep_from);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// The end of the text: what was held back is no stop text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop text begins that is complete first.
    fn first_stop(&self) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        found.min().map(|(_, start)| start)
    }

    /// Bytes at the end of the held text that may be the beginning of a stop text.
    fn n_possible(&self) -> usize {
        let held = self.held.as_bytes();
        let longest = |stop: &String| {
            (1..stop.len().min(held.len() + 1))
                .rev()
                .find(|&n| stop.is_char_boundary(n) && held.ends_with(&stop.as_bytes()[..n]))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stops(texts: &[&str]) -> StopTexts {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        StopTexts::new(&texts)
    }

    fn run(stops: &mut StopTexts, pieces: &[String]) -> (String, bool) {
        let mut out = String::new();
        for piece in pieces {
            let passed = stops.push(piece);
            out.push_str(&passed.text);
            if passed.stopped {
                return (out, true);
            }
        }
        out.push_str(&stops.finish());
        (out, false)
    }

    #[test]
    fn characters_wait_for_their_last_byte() {
        let mut stream = Utf8Stream::default();
        let bytes = "한글".as_bytes();
        assert_eq!(stream.push(&bytes[..2]), "");
        assert_eq!(stream.push(&bytes[2..4]), "한");
        assert_eq!(stream.push(&bytes[4..]), "글");
    }

    #[test]
    fn invalid_bytes_become_replacement_characters() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xFFb"), "a\u{FFFD}b");
        assert_eq!(stream.push(&[0xED]), "");
        assert_eq!(stream.push(b"x"), "\u{FFFD}x");
    }

    #[test]
    fn a_stop_text_is_found_across_borders_and_left_out() {
        let mut watched = stops(&["\n\nUser:"]);
        assert_eq!(watched.push("Yes.\n").text, "Yes.");
        assert_eq!(watched.push("\nUse").text, "");
        let end = watched.push("r: more");
        assert_eq!((end.text.as_str(), end.stopped), ("", true));
    }

    #[test]
    fn what_was_held_back_comes_out_when_it_is_no_stop_text() {
        let mut watched = stops(&["STOP"]);
        assert_eq!(watched.push("a ST").text, "a ");
        assert_eq!(watched.push("AR").text, "STAR");
        assert_eq!(watched.push("S").text, "");
        assert_eq!(watched.finish(), "S");
    }

    #[test]
    fn empty_stop_texts_never_stop() {
        let mut watched = stops(&[""]);
        assert_eq!(
            watched.push("abc"),
            Passed {
                text: "abc".into(),
                stopped: false
            }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn borders_between_pieces_change_nothing(
            pieces in prop::collection::vec("[ab가]{0,3}", 0..12),
            texts in prop::collection::vec("[ab가]{1,4}", 1..4),
        ) {
            let whole: String = pieces.concat();
            let mut one = StopTexts::new(&texts);
            let mut many = StopTexts::new(&texts);
            let expected = run(&mut one, std::slice::from_ref(&whole));
            prop_assert_eq!(run(&mut many, &pieces), expected.clone());
            if expected.1 {
                prop_assert!(texts.iter().any(|t| whole[expected.0.len()..].starts_with(t.as_str())));
            } else {
                prop_assert_eq!(expected.0, whole);
            }
        }

        #[test]
        fn bytes_in_any_pieces_give_the_same_characters(text: String, size in 1usize..5) {
            let mut stream = Utf8Stream::default();
            let out: String = text.as_bytes().chunks(size).map(|piece| stream.push(piece)).collect();
            prop_assert_eq!(out, text);
        }
    }
}
