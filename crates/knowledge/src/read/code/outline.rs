//! Where the functions, classes and modules of a program begin and end, with the comments that belong to them.
//!
//! The grammars are tree-sitter's, which make a tree of any text; what of it counts is decided here, by the names that
//! the grammars give to their nodes. Nothing but row numbers and names comes out.

use std::ops::ControlFlow;
use std::time::Instant;

use tree_sitter::{Node, ParseOptions, Parser};

use super::super::builder::one_line;
use super::languages::Grammar;

/// Longer programs are made by programs, and their trees take much memory.
const SOURCE_BYTES_MAX: usize = 8 << 20;
/// Deepest nesting of scopes that is followed.
const DEPTH_MAX: usize = 12;
/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 120;
/// More definitions than this are not told apart.
const CUTS_MAX: usize = 200_000;

/// From this row on (0-based) the text stands under these names, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) row: usize,
    pub(super) under: Vec<String>,
}

/// Why a program's structure is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is too long.
    TooLarge,
    /// It took too long.
    Late,
    /// Most of it is not written in this language; the row where that begins, 0-based.
    Foreign(usize),
}

/// What a node of the tree is for the outline.
enum Part<'a> {
    /// A definition with its name, and the node whose children may be definitions in it.
    Definition(String, Option<Node<'a>>),
    /// Nothing by itself; its children may be definitions.
    Through(Node<'a>),
    Other,
}

/// The definitions of a program, by row.
pub(super) fn outline(source: &str, grammar: Grammar, deadline: Instant) -> Result<Vec<Cut>, Unknown> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(Unknown::TooLarge);
    }
    let mut parser = Parser::new();
    // Fails for a grammar of another version of the library only: then nothing is known.
    if parser.set_language(&grammar.language()).is_err() {
        return Err(Unknown::Foreign(0));
    }
    let mut look_at_the_clock = |_: &tree_sitter::ParseState| {
        if Instant::now() > deadline {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let options = ParseOptions::new().progress_callback(&mut look_at_the_clock);
    let bytes = source.as_bytes();
    let mut read = |at: usize, _| bytes.get(at..).unwrap_or_default();
    let tree = parser
        .parse_with_options(&mut read, None, Some(options))
        .ok_or(Unknown::Late)?;
    let root = tree.root_node();
    let mut walk = Walk {
        source,
        cuts: Vec::new(),
    };
    walk.children(root, &mut Vec::new());
    match foreign(root, source.len()) {
        Some((share, row)) if share > 0.5 || walk.cuts.is_empty() => Err(Unknown::Foreign(row)),
        _ => Ok(walk.cuts),
    }
}

/// How much of a program the grammar does not know, and the first row of it; `None` if it knows everything.
fn foreign(root: Node<'_>, n_bytes: usize) -> Option<(f64, usize)> {
    if !root.has_error() {
        return None;
    }
    if root.is_error() {
        return Some((1.0, root.start_position().row));
    }
    let mut cursor = root.walk();
    let (mut bytes, mut first) = (0, None);
    for child in root.children(&mut cursor).filter(Node::is_error) {
        bytes += child.byte_range().len();
        first.get_or_insert(child.start_position().row);
    }
    Some((bytes as f64 / n_bytes.max(1) as f64, first.unwrap_or(0)))
}

struct Walk<'s> {
    source: &'s str,
    cuts: Vec<Cut>,
}

impl<'s> Walk<'s> {
    /// Adds what is defined by the children of `node`, which stand under these names.
    fn children(&mut self, node: Node<'_>, under: &mut Vec<String>) {
        if under.len() >= DEPTH_MAX {
            return;
        }
        let mut cursor = node.walk();
        // Comments that may belong to the next definition: their first and last row.
        let mut comments: Option<(usize, usize)> = None;
        // The last row on which something else stands.
        let mut taken: Option<usize> = None;
        let children: Vec<Node<'_>> = node.named_children(&mut cursor).collect();
        for child in children {
            if self.cuts.len() >= CUTS_MAX {
                return;
            }
            let (start, end) = (child.start_position().row, last_row(child));
            let is_free = taken.is_none_or(|row| row < start);
            if is_comment(child.kind()) {
                comments = match comments {
                    Some((first, last)) if last + 1 >= start => Some((first, end)),
                    _ => is_free.then_some((start, end)),
                };
                continue;
            }
            let first = match comments.take() {
                Some((first, last)) if last + 1 >= start => first,
                _ => start,
            };
            match self.part(child) {
                Part::Definition(name, body) if taken.is_none_or(|row| row < first) => {
                    under.push(name);
                    self.cut(first, under);
                    if let Some(body) = body {
                        self.children(body, under);
                    }
                    under.pop();
                    self.cut(end + 1, under);
                }
                Part::Through(inner) => self.children(inner, under),
                _ => {}
            }
            taken = Some(end);
        }
    }

    fn cut(&mut self, row: usize, under: &[String]) {
        // Of two cuts before the same row the later one says what follows.
        if self.cuts.last().is_some_and(|last| last.row == row) {
            self.cuts.pop();
        }
        self.cuts.push(Cut {
            row,
            under: under.to_vec(),
        });
    }

    fn part<'a>(&self, node: Node<'a>) -> Part<'a> {
        let body = || node.child_by_field_name("body");
        let scope = |name: Option<String>| match name {
            Some(name) => Part::Definition(name, body()),
            None => body().map_or(Part::Other, Part::Through),
        };
        let item = |name: Option<String>| name.map_or(Part::Other, |name| Part::Definition(name, None));
        match node.kind() {
            "function_item"
            | "macro_definition"
            | "struct_item"
            | "enum_item"
            | "union_item"
            | "function_definition"
            | "function_declaration"
            | "generator_function_declaration"
            | "method_definition"
            | "method_declaration"
            | "constructor_declaration"
            | "compact_constructor_declaration"
            | "type_alias_declaration" => item(self.name(node)),
            "impl_item" => scope(self.name_of_impl(node)),
            "trait_item"
            | "mod_item"
            | "class_definition"
            | "class_declaration"
            | "abstract_class_declaration"
            | "interface_declaration"
            | "enum_declaration"
            | "record_declaration"
            | "annotation_type_declaration"
            | "internal_module"
            | "module"
            | "namespace_definition" => scope(self.name(node)),
            "class_specifier" | "struct_specifier" | "union_specifier" | "enum_specifier" => {
                body().map_or(Part::Other, |_| scope(self.name(node)))
            }
            "type_declaration" => item(node.named_child(0).and_then(|spec| self.name(spec))),
            "type_definition" => {
                let is_made_here = node
                    .child_by_field_name("type")
                    .is_some_and(|kind| kind.child_by_field_name("body").is_some());
                if is_made_here {
                    item(self.name(node))
                } else {
                    Part::Other
                }
            }
            "lexical_declaration" | "variable_declaration" => item(self.name_of_function_value(node)),
            // What wraps a definition belongs to it: decorators, `export`, `template <…>`.
            "decorated_definition"
            | "export_statement"
            | "expression_statement"
            | "ambient_declaration"
            | "template_declaration" => self.wrapped(node),
            "preproc_if"
            | "preproc_ifdef"
            | "preproc_else"
            | "preproc_elif"
            | "declaration_list"
            | "enum_body_declarations" => Part::Through(node),
            "linkage_specification" => body().map_or(Part::Other, Part::Through),
            _ => Part::Other,
        }
    }

    /// The definition among the children of a node.
    fn wrapped<'a>(&self, node: Node<'a>) -> Part<'a> {
        let mut cursor = node.walk();
        let children: Vec<Node<'a>> = node.named_children(&mut cursor).collect();
        let mut parts = children.into_iter().filter(|child| child.kind() != node.kind());
        parts
            .find_map(|child| match self.part(child) {
                part @ Part::Definition(..) => Some(part),
                _ => None,
            })
            .unwrap_or(Part::Other)
    }

    /// What a definition is called; a function of C by what stands innermost in its declarator.
    fn name(&self, node: Node<'_>) -> Option<String> {
        if let Some(name) = node.child_by_field_name("name") {
            let name = self.text(name)?;
            let receiver = node.child_by_field_name("receiver");
            return Some(match receiver.and_then(|receiver| self.receiver(receiver)) {
                Some(of) => format!("{of}.{name}"),
                None => name,
            });
        }
        let mut inner = node.child_by_field_name("declarator")?;
        while let Some(declarator) = inner.child_by_field_name("declarator") {
            inner = declarator;
        }
        self.text(inner)
    }

    /// The type whose method a function of Go is.
    fn receiver(&self, list: Node<'_>) -> Option<String> {
        let text = self.text(list)?;
        let last = text
            .trim_matches(['(', ')'])
            .split([' ', '*'])
            .next_back()?
            .to_owned();
        let name = last.split('[').next()?.to_owned();
        (!name.is_empty()).then_some(name)
    }

    fn name_of_impl(&self, node: Node<'_>) -> Option<String> {
        let of = self.text(node.child_by_field_name("type")?)?;
        let name = match node.child_by_field_name("trait").and_then(|name| self.text(name)) {
            Some(name) => format!("{name} for {of}"),
            None => of,
        };
        Some(name)
    }

    /// The name of a constant that is a function.
    fn name_of_function_value(&self, node: Node<'_>) -> Option<String> {
        let declarator = node.named_child(0)?;
        let value = declarator.child_by_field_name("value")?;
        let is_function = matches!(
            value.kind(),
            "arrow_function" | "function_expression" | "generator_function" | "class"
        );
        if is_function { self.name(declarator) } else { None }
    }

    fn text(&self, node: Node<'_>) -> Option<String> {
        let text = one_line(self.source.get(node.byte_range())?);
        let short: String = text.chars().take(NAME_CHARS_MAX).collect();
        (!short.is_empty()).then_some(short)
    }
}

fn is_comment(kind: &str) -> bool {
    kind.ends_with("comment") || matches!(kind, "attribute_item" | "decorator")
}

/// The last row on which a node stands; some end behind their line end.
fn last_row(node: Node<'_>) -> usize {
    let (start, end) = (node.start_position(), node.end_position());
    if end.column == 0 && end.row > start.row {
        end.row - 1
    } else {
        end.row
    }
}
