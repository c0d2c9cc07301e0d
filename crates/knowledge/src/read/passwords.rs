//! Passwords that open encrypted documents: tried in order, never shown, never stored.

use serde::{Deserialize, Serialize};

/// Most passwords that are tried on one document: each costs up to a tenth of a second.
const MAX_PASSWORDS: usize = 64;
/// Longest password in bytes; PDF knows none that is longer.
const MAX_PASSWORD_BYTES: usize = 127;

/// A list of passwords. Printing it for debugging prints how many there are.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passwords(Vec<String>);

impl Passwords {
    /// One password a line, white space at the ends of a line kept, empty lines left out.
    ///
    /// # Errors
    ///
    /// A sentence that says which line is at fault and does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (line, number) in text.lines().zip(1_usize..) {
            if line.len() > MAX_PASSWORD_BYTES {
                return Err(format!(
                    "line {number} is longer than {MAX_PASSWORD_BYTES} bytes, the most that a PDF password can have"
                ));
            }
            if !line.is_empty() {
                all.push(line.to_owned());
            }
        }
        if all.len() > MAX_PASSWORDS {
            return Err(format!(
                "there are {} passwords; at most {MAX_PASSWORDS} are tried on a document",
                all.len()
            ));
        }
        Ok(Self(all))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passwords", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_password_and_is_never_printed() {
        let passwords = Passwords::parse("first one\n\n 비밀 \r\n").unwrap();
        assert_eq!(passwords.iter().collect::<Vec<_>>(), ["first one", " 비밀 "]);
        assert_eq!(format!("{passwords:?}"), "2 passwords");
        let long = format!("ok\n{}", "x".repeat(MAX_PASSWORD_BYTES + 1));
        let error = Passwords::parse(&long).unwrap_err();
        assert!(error.contains("line 2") && !error.contains("xx"), "{error}");
        assert!(Passwords::parse(&"p\n".repeat(MAX_PASSWORDS + 1)).is_err());
    }
}
