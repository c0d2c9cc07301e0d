//! Programs of each language: what their pieces stand in, and that every line stays where it was.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Limits, read_document};
use super::*;

/// The pieces of a program: what each stands in, and its first line that is not blank.
fn pieces(name: &str, source: &str) -> Vec<String> {
    let document = read_document(Path::new(name), source.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(document.warnings, Vec::<String>::new());
    let normal = crate::text::normalise(&document);
    assert_eq!(
        normal.text.trim_end(),
        source.replace('\t', "    ").trim_end(),
        "{name}"
    );
    let piece = |block: &crate::read::Block| {
        let first = block
            .text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        format!("{}: {}", block.under.join(" > "), first.trim())
    };
    document.blocks.iter().map(piece).collect()
}

#[test]
fn extensions_can_be_searched() {
    assert!(EXTENSIONS.is_sorted());
    assert!(is_name("rs") && is_name("bash") && is_name("zig") && !is_name("txt"));
    for extension in [
        "c", "h", "cpp", "go", "java", "js", "mjs", "py", "rs", "ts", "tsx",
    ] {
        assert!(
            is_name(extension) && Grammar::of(extension).is_some(),
            "{extension}"
        );
    }
}

#[test]
fn every_grammar_fits_the_library() {
    use Grammar::*;
    for grammar in [C, Cpp, Go, Java, JavaScript, Python, Rust, TypeScript, Tsx] {
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(
            outline::outline("", grammar, deadline),
            Ok(Vec::new()),
            "{grammar:?}"
        );
    }
}

#[test]
fn rust() {
    let source = "//! Crate.\n\nuse std::fmt;\n\n/// A point.\n#[derive(Debug)]\nstruct Point {\n    x: i32,\n}\n\n\
        impl fmt::Display for Point {\n    /// Shows it.\n    fn fmt(&self) {\n        {}\n    }\n\n    fn other() {}\n}\n\
        mod inner {\n    pub fn deep() {}\n}\n// the end\n";
    assert_eq!(
        pieces("a.rs", source),
        [
            ": //! Crate.",
            ": use std::fmt;",
            "Point: /// A point.",
            "fmt::Display for Point: impl fmt::Display for Point {",
            "fmt::Display for Point > fmt: /// Shows it.",
            "fmt::Display for Point > other: fn other() {}",
            "inner: mod inner {",
            "inner > deep: pub fn deep() {}",
            ": // the end",
        ]
    );
}

#[test]
fn python() {
    let source = "import os\n\nclass Store(Base):\n    \"\"\"Keeps.\"\"\"\n\n    # opens it\n    @property\n    def open(self):\n        \
        return 1\n\n    async def close(self):\n        pass\n\nx = 1  # not of the next\ndef main():\n    pass\n";
    assert_eq!(
        pieces("a.py", source),
        [
            ": import os",
            "Store: class Store(Base):",
            "Store > open: # opens it",
            "Store > close: async def close(self):",
            ": x = 1  # not of the next",
            "main: def main():",
        ]
    );
}

#[test]
fn javascript_and_typescript() {
    let source = "/** Adds. */\nexport function add(a, b) {\n  return a + b;\n}\n\nconst twice = (x) => {\n  return 2 * x;\n};\n\
        export default class Box extends Other {\n  constructor() {\n    super();\n  }\n\n  get size() { return 1; }\n}\n";
    assert_eq!(
        pieces("a.js", source),
        [
            "add: /** Adds. */",
            "twice: const twice = (x) => {",
            "Box: export default class Box extends Other {",
            "Box > constructor: constructor() {",
            "Box > size: get size() { return 1; }",
        ]
    );
    let source = "namespace Shapes {\n  export interface Round {\n    r: number;\n  }\n}\n\nabstract class A<T> {\n  f(x: T): void {\n  }\n}\n";
    assert_eq!(
        pieces("a.ts", source),
        [
            "Shapes: namespace Shapes {",
            "Shapes > Round: export interface Round {",
            "A: abstract class A<T> {",
            "A > f: f(x: T): void {",
        ]
    );
    assert_eq!(
        pieces("a.tsx", "function App() {\n  return <p>x</p>;\n}\n"),
        ["App: function App() {"]
    );
}

#[test]
fn java() {
    let source = "package a.b;\n\n/**\n * Keeps.\n */\n@Entity\npublic class Store {\n    private int n;\n\n    public Store() {\n    }\n\n    \
        /** Opens. */\n    @Override\n    public void open() {\n    }\n\n    enum Kind { A, B }\n}\n";
    assert_eq!(
        pieces("Store.java", source),
        [
            ": package a.b;",
            "Store: /**",
            "Store > Store: public Store() {",
            "Store > open: /** Opens. */",
            "Store > Kind: enum Kind { A, B }",
        ]
    );
}

#[test]
fn c_and_cpp() {
    let source = "#include <stdio.h>\n\nstruct point {\n  int x;\n};\n\ntypedef struct { int y; } other_t;\n\n/* Adds. */\nstatic int *\nadd(int a)\n{\n  return 0;\n}\n";
    assert_eq!(
        pieces("a.c", source),
        [
            ": #include <stdio.h>",
            "point: struct point {",
            "other_t: typedef struct { int y; } other_t;",
            "add: /* Adds. */",
        ]
    );
    let source = "#ifndef A_H\n#define A_H\nnamespace house {\n// A box.\ntemplate <typename T>\nclass Box {\n public:\n  int size() const {\n    return 1;\n  }\n};\n\
        int Box<int>::other() {\n  return 2;\n}\n}  // namespace house\n#endif\n";
    assert_eq!(
        pieces("a.h", source),
        [
            ": #ifndef A_H",
            "house: namespace house {",
            "house > Box: // A box.",
            "house > Box > size: int size() const {",
            "house > Box<int>::other: int Box<int>::other() {",
            "house: }  // namespace house",
            ": #endif",
        ]
    );
}

#[test]
fn go() {
    let source = "package a\n\n// Store keeps.\ntype Store struct {\n\tn int\n}\n\n// Open opens.\nfunc (s *Store) Open() error {\n\treturn nil\n}\n\nfunc main() {\n}\n";
    assert_eq!(
        pieces("a.go", source),
        [
            ": package a",
            "Store: // Store keeps.",
            "Store.Open: // Open opens.",
            "main: func main() {",
        ]
    );
}

#[test]
fn passages_end_where_functions_do_and_say_what_they_stand_in() {
    let body = "        total = total + first * second  # one more line of work\n".repeat(14);
    let method = |name: &str| format!("    def {name}(self):\n{body}\n");
    let source = format!("class Ledger:\n{}{}", method("debit"), method("credit"));
    let document = read_document(Path::new("a.py"), source.as_bytes(), &Limits::default()).unwrap();
    let normal = crate::text::normalise(&document);
    let passages = crate::passage::cut(&normal, &crate::passage::CutOptions::default());
    let index = crate::text::CharIndex::new(&normal.text);
    for passage in &passages {
        let text = index.slice(&normal.text, passage.start..passage.end);
        assert!(!(text.contains("debit") && text.contains("credit")), "{text}");
    }
    let last = passages.last().unwrap();
    assert_eq!(last.heading_path, ["Ledger", "credit"]);
    assert_eq!(passages[0].heading_path[0], "Ledger");
}

#[test]
fn what_is_no_program_is_cut_at_blank_lines_and_named() {
    let source = "이것은 파이썬이 아니다 (((\n\n그리고 {{{ 이것도 ]]] 아니다\n\n!!! ??? <<<>>>\n";
    let document = read_document(Path::new("a.py"), source.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(document.blocks.len(), 3);
    assert!(
        document.warnings[0].starts_with("not read as Python: from line 1 on"),
        "{:?}",
        document.warnings
    );
    assert!(document.blocks.iter().all(|block| block.under.is_empty()));
}

#[test]
fn a_grammar_that_takes_too_long_is_given_up() {
    let source = "fn a() {}\n".repeat(20_000);
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    assert_eq!(outline::outline(&source, Grammar::Rust, past), Err(Unknown::Late));
    let long = " ".repeat(9 << 20);
    assert_eq!(
        outline::outline(&long, Grammar::Rust, Instant::now() + GRAMMAR_TIME),
        Err(Unknown::TooLarge)
    );
}

#[test]
fn deep_nesting_ends_somewhere() {
    let deep = format!("{}x{}", "mod a {\n".repeat(3_000), "}\n".repeat(3_000));
    let document = read_document(Path::new("a.rs"), deep.as_bytes(), &Limits::default()).unwrap();
    assert!(document.blocks.iter().all(|block| block.under.len() <= 12));
    let calls = format!("fn a() {{ {}{} }}\n", "f(".repeat(20_000), ")".repeat(20_000));
    read_document(Path::new("a.rs"), calls.as_bytes(), &Limits::default()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_line_stays_where_it_stands(
        lines in prop::collection::vec(prop::sample::select(vec![
            "fn a() {", "}", "", "    x();", "/// doc", "impl X {", "class A:", "    def b(self):", "  }", "{", "#[x]", "가나다",
            "struct S;", "int f() {", "};", ")", "// c",
        ]), 1..30),
        extension in prop::sample::select(vec!["rs", "py", "js", "ts", "java", "c", "cpp", "go", "sh"]),
    ) {
        let source = format!("{}\n", lines.join("\n"));
        prop_assume!(lines.iter().any(|line| !line.trim().is_empty()));
        let name = format!("a.{extension}");
        let document = read_document(Path::new(&name), source.as_bytes(), &Limits::default()).unwrap();
        let normal = crate::text::normalise(&document);
        prop_assert_eq!(normal.text.trim_end(), source.trim_end());
    }
}
