//! The text of generated HTML: tags dropped, entities resolved, white space as one space.
//!
//! For the packages' own pages, which are regular. The program's reader is another matter.

/// The text between tags; blocks end in a line break.
pub(super) fn text(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out += &entities(&rest[..at]);
        let tag = &rest[at + 1..];
        let end = tag.find('>').map_or(tag.len(), |end| end + 1);
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        if BLOCKS.contains(&name.as_str()) {
            out.push('\u{0}');
        }
        rest = &tag[end..];
    }
    out += &entities(rest);
    let squeeze = |block: &str| block.split_whitespace().collect::<Vec<_>>().join(" ");
    let blocks = out.split('\u{0}').map(squeeze).filter(|block| !block.is_empty());
    blocks.collect::<Vec<_>>().join("\n")
}

const BLOCKS: [&str; 15] = [
    "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "tr", "td", "th", "pre", "h1", "h2", "h3",
];

/// What stands between `open` and `close`, if both are there.
pub(super) fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let start = text.find(open)? + open.len();
    let end = text[start..].find(close)?;
    Some(&text[start..start + end])
}

pub(super) fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out += &rest[..at];
        let entity = &rest[at + 1..];
        let end = entity.find(';').filter(|end| *end < 10);
        let resolved = end.and_then(|end| Some((resolve(&entity[..end])?, end)));
        match resolved {
            Some((c, end)) => {
                out.push(c);
                rest = &entity[end + 1..];
            }
            None => {
                out.push('&');
                rest = entity;
            }
        }
    }
    out + rest
}

fn resolve(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_blocks_end_lines() {
        let html = "<p>A &amp; B,\n <em>c</em>&#8217;s</p><ul><li>x &lt; y</li></ul> R&D";
        assert_eq!(text(html), "A & B, c\u{2019}s\nx < y\nR&D");
    }
}
