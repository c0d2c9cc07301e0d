//! HTML and Markdown: structure, what is left out.

use super::*;
use BlockKind::{Code, Heading, ListItem, Paragraph, TableRow};

#[test]
fn reads_html_as_people_see_it() {
    let html = "<!DOCTYPE html><html><head><title>안내 &amp; 도움</title><style>p{}</style><script>if (a < b) '<p>x</p>'</script></head>
      <body><nav><ul><li>Home</li></ul></nav><h1>설치<br>안내</h1><p>첫   줄&nbsp;입니다.<p>둘째 <b>굵은</b> 글<ul><li>하나<li>둘<ul><li>셋</ul></ul>
      <table><thead><tr><th>이름</th> <th>값</th></tr></thead><tr><td>a<td><p>1</p><p>2</p></table>
      <pre>  code\n    more</pre>text after</body></html>";
    let document = read_named("a.html", html.as_bytes()).unwrap();
    assert_eq!(document.title.as_deref(), Some("안내 & 도움"));
    let expected: [(BlockKind, &str); 10] = [
        (Heading(1), "설치\n안내"),
        (Paragraph, "첫 줄\u{A0}입니다."),
        (Paragraph, "둘째 굵은 글"),
        (ListItem, "하나"),
        (ListItem, "둘"),
        (ListItem, "셋"),
        (TableRow, "이름 | 값"),
        (TableRow, "a | 1 2"),
        (Code, "  code\n    more"),
        (Paragraph, "text after"),
    ];
    let found: Vec<(BlockKind, &str)> = document
        .blocks
        .iter()
        .map(|b| (b.kind, b.text.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn leaves_hidden_html_out_and_says_so() {
    let html = "<html><body><p>Seen.</p><p style='color:red; DISPLAY : none !important'>hidden 1<p>Seen too.
      <div><p hidden>hidden 0</div><p>Between.</p><p hidden>hidden 9<ul><li>One.</ul><div hidden><p>hidden 2<div>hidden 3</div></div><span style='font-size:0px'>hidden 4</span><!-- hidden 5 -->
      <ul><li hidden>hidden 6<ul><li>hidden 7</ul><li>Last.</ul><template><p>hidden 8</template></body></html>";
    let document = read_named("a.html", html.as_bytes()).unwrap();
    assert_eq!(
        texts(&document),
        ["Seen.", "Seen too.", "Between.", "One.", "Last."]
    );
    assert_eq!(document.warnings, ["6 hidden parts were left out"]);
}

#[test]
fn takes_the_encoding_that_html_states() {
    let html = "<html><head><meta charset=\"euc-kr\"><title>제목</title></head><body><p>값</p></body></html>";
    let (bytes, _, _) = encoding_rs::EUC_KR.encode(html);
    let document = read_named("a.html", &bytes).unwrap();
    assert_eq!(texts(&document), ["값"]);
    assert_eq!(document.title.as_deref(), Some("제목"));
}

#[test]
fn reads_markdown_with_front_matter_tables_and_code() {
    let markdown = "---\ntitle: \"문서 제목\"\ntags: [a]\n---\n# 첫 *제목*\n\n한 줄\n다음 줄 [링크](http://x) `코드`.\n\n- 하나\n- 둘\n  - 셋\n\n\
      | 이름 | 값 |\n|---|---|\n| a | 1 |\n\n```rust\nfn main() {\n    x();\n}\n```\n\n> 인용\n\n<div>html <b>part</b></div>\n<!-- note -->\n";
    let document = read_named("a.md", markdown.as_bytes()).unwrap();
    assert_eq!(document.title.as_deref(), Some("문서 제목"));
    let expected: [(BlockKind, &str); 10] = [
        (Heading(1), "첫 제목"),
        (Paragraph, "한 줄 다음 줄 링크 코드."),
        (ListItem, "하나"),
        (ListItem, "둘"),
        (ListItem, "셋"),
        (TableRow, "이름 | 값"),
        (TableRow, "a | 1"),
        (Code, "fn main() {\n    x();\n}"),
        (Paragraph, "인용"),
        (Paragraph, "html part"),
    ];
    let found: Vec<(BlockKind, &str)> = document
        .blocks
        .iter()
        .map(|b| (b.kind, b.text.as_str()))
        .collect();
    assert_eq!(found, expected);
}
