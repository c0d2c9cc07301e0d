//! The tokens of a page's content: operands and operators.
//!
//! Forgiving, as every viewer is: what is no token is skipped. It never fails and always moves on.

/// Deepest nesting of arrays and dictionaries; deeper ones come out empty.
const MAX_DEPTH: usize = 16;
/// Most operands kept for one operator. Those of pages take six at most, those of character maps 300.
const MAX_OPERANDS: usize = 4096;

/// What an operator works on.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Number(f64),
    Name(Vec<u8>),
    Text(Vec<u8>),
    Array(Vec<Operand>),
    /// Keys and values one after the other.
    Dictionary(Vec<Operand>),
}

impl Operand {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// Goes through a content stream.
pub(super) struct Lexer<'c> {
    bytes: &'c [u8],
    at: usize,
}

impl<'c> Lexer<'c> {
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next operator, its operands in `operands`; `None` at the end.
    pub(super) fn next_operator(&mut self, operands: &mut Vec<Operand>) -> Option<&'c [u8]> {
        operands.clear();
        loop {
            self.skip_space();
            let byte = *self.bytes.get(self.at)?;
            if is_regular(byte) && !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.') {
                let word = self.word();
                match word {
                    b"true" | b"false" | b"null" => continue,
                    b"BI" => self.skip_image(),
                    _ => return Some(word),
                }
                operands.clear();
            } else if let Some(operand) = self.operand(0) {
                if operands.len() == MAX_OPERANDS {
                    operands.clear();
                }
                operands.push(operand);
            }
        }
    }

    /// An operand; moves on even where there is none.
    fn operand(&mut self, depth: usize) -> Option<Operand> {
        match *self.bytes.get(self.at)? {
            b'(' => Some(Operand::Text(self.literal())),
            b'<' if self.bytes.get(self.at + 1) == Some(&b'<') => {
                self.at += 2;
                Some(Operand::Dictionary(self.list(depth, b'>')))
            }
            b'<' => Some(Operand::Text(self.hex())),
            b'[' => {
                self.at += 1;
                Some(Operand::Array(self.list(depth, b']')))
            }
            b'/' => {
                self.at += 1;
                Some(Operand::Name(unescape_name(self.word())))
            }
            b'0'..=b'9' | b'+' | b'-' | b'.' => parse_number(self.word()).map(Operand::Number),
            byte if is_regular(byte) => {
                self.word();
                None
            }
            _ => {
                self.at += 1;
                None
            }
        }
    }

    fn list(&mut self, depth: usize, end: u8) -> Vec<Operand> {
        let mut list = Vec::new();
        loop {
            self.skip_space();
            match self.bytes.get(self.at) {
                None => return list,
                Some(byte) if *byte == end => {
                    // A dictionary ends in two of them.
                    self.at += if end == b'>' { 2 } else { 1 };
                    return list;
                }
                Some(_) => {
                    if depth >= MAX_DEPTH {
                        self.at += 1;
                    } else if let Some(operand) = self.operand(depth + 1) {
                        list.push(operand);
                    }
                }
            }
        }
    }

    fn skip_space(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'%' => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest
                        .iter()
                        .position(|b| matches!(b, b'\n' | b'\r'))
                        .unwrap_or(rest.len());
                }
                byte if is_space(*byte) => self.at += 1,
                _ => return,
            }
        }
    }

    fn word(&mut self) -> &'c [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|byte| !is_regular(*byte))
            .unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn literal(&mut self) -> Vec<u8> {
        self.at += 1;
        let (mut text, mut depth) = (Vec::new(), 0);
        while let Some(byte) = self.bytes.get(self.at).copied() {
            self.at += 1;
            match byte {
                b'(' => depth += 1,
                b')' if depth == 0 => break,
                b')' => depth -= 1,
                b'\\' => {
                    self.escape(&mut text);
                    continue;
                }
                _ => {}
            }
            text.push(byte);
        }
        text
    }

    fn escape(&mut self, text: &mut Vec<u8>) {
        let Some(byte) = self.bytes.get(self.at).copied() else {
            return;
        };
        self.at += 1;
        match byte {
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'0'..=b'7' => {
                let mut value = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.bytes.get(self.at).copied() else {
                        break;
                    };
                    value = value * 8 + u32::from(digit - b'0');
                    self.at += 1;
                }
                text.push((value & 0xFF) as u8);
            }
            b'\r' => {
                if self.bytes.get(self.at) == Some(&b'\n') {
                    self.at += 1;
                }
            }
            b'\n' => {}
            other => text.push(other),
        }
    }

    fn hex(&mut self) -> Vec<u8> {
        self.at += 1;
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len());
        self.at += (length + 1).min(rest.len());
        let digits: Vec<u8> = rest[..length]
            .iter()
            .filter_map(|byte| char::from(*byte).to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        // A missing last digit is zero.
        digits
            .chunks(2)
            .map(|pair| pair[0] * 16 + pair.get(1).copied().unwrap_or(0))
            .collect()
    }

    /// Skips an image within the content: its bytes are no tokens. It ends at `EI` between white space.
    fn skip_image(&mut self) {
        let rest = &self.bytes[self.at..];
        let end = rest
            .windows(4)
            .position(|w| is_space(w[0]) && w[1] == b'E' && w[2] == b'I' && is_space(w[3]));
        self.at += end.map_or(rest.len(), |end| end + 3);
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 12 | b'\r' | b' ')
}

fn is_regular(byte: u8) -> bool {
    !is_space(byte)
        && !matches!(
            byte,
            b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%'
        )
}

fn unescape_name(word: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let hex = |n: usize| word.get(at + n).and_then(|byte| char::from(*byte).to_digit(16));
        match (word[at], hex(1), hex(2)) {
            (b'#', Some(high), Some(low)) => {
                name.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                name.push(byte);
                at += 1;
            }
        }
    }
    name
}

/// A number as PDF programs write them, `--5` and `1.2.3` among them.
fn parse_number(word: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(word).ok()?;
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let digits = text.trim_start_matches(['-', '+']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let mut parts = digits[..end].splitn(3, '.');
    let whole = parts.next().unwrap_or_default();
    let number = format!("{whole}.{}", parts.next().unwrap_or_default());
    number
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(content: &[u8]) -> Vec<(Vec<Operand>, Vec<u8>)> {
        let (mut lexer, mut operands, mut all) = (Lexer::new(content), Vec::new(), Vec::new());
        while let Some(operator) = lexer.next_operator(&mut operands) {
            all.push((operands.clone(), operator.to_vec()));
        }
        all
    }

    #[test]
    fn reads_operands_and_operators() {
        let all = operators(b"BT /F#31 12.5 Tf [(a\\(b\\051)-250<4142 4>] TJ % note\n(x\\\ny\\101)' ET");
        let names: Vec<&[u8]> = all.iter().map(|(_, operator)| operator.as_slice()).collect();
        assert_eq!(names, [&b"BT"[..], b"Tf", b"TJ", b"'", b"ET"]);
        assert_eq!(all[1].0, [Operand::Name(b"F1".to_vec()), Operand::Number(12.5)]);
        let text = |t: &[u8]| Operand::Text(t.to_vec());
        assert_eq!(
            all[2].0,
            [Operand::Array(vec![
                text(b"a(b)"),
                Operand::Number(-250.0),
                text(b"AB@")
            ])]
        );
        assert_eq!(all[3].0, [text(b"xyA")]);
    }

    #[test]
    fn skips_images_within_the_content() {
        let all = operators(b"q BI /W 1 ID \x00(EI)\xff\nEI Q 1 w");
        assert_eq!(all.len(), 3);
        assert_eq!(all[2].0, [Operand::Number(1.0)]);
    }

    #[test]
    fn ends_on_any_bytes() {
        let mut rng = stdx::rng::Rng::new(7);
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..300)
                .map(|_| b"([<>)]/%{}\\ 1.-BIDEI\0a"[rng.below(22) as usize])
                .collect();
            operators(&bytes);
        }
    }
}
