//! Where an expression stands in a template, and its text for a reader.

use minijinja::machinery::ast::{Expr, UnaryOpKind};

use super::{Condition, ConditionKind};

/// Characters of a condition shown.
const MAX_SHOWN: usize = 160;

/// Where an expression begins and ends, in bytes. The parser's own beginnings are those of the last operator.
pub(super) fn extent(expr: &Expr<'_>) -> (usize, usize) {
    let span = expr.span();
    let mut first = expr;
    loop {
        first = match first {
            Expr::BinOp(op) => &op.left,
            Expr::Compare(compare) => &compare.expr,
            // Also `is not` and `not in`; a `not` in front is found in the text.
            Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => &op.expr,
            Expr::IfExpr(choice) => &choice.true_expr,
            Expr::Test(test) => &test.expr,
            Expr::GetAttr(get) => &get.expr,
            Expr::GetItem(get) => &get.expr,
            Expr::Slice(slice) => &slice.expr,
            Expr::Call(call) => &call.expr,
            Expr::Filter(filter) => match &filter.expr {
                Some(subject) => subject,
                None => break,
            },
            _ => break,
        };
    }
    (first.span().start_offset as usize, span.end_offset as usize)
}

/// The condition at a place, with a `not` and the brackets in front of it.
pub(super) fn condition(source: &str, start: usize, end: usize, kind: ConditionKind) -> Condition {
    if end == 0 {
        let text = "more names follow from each other than are followed";
        return Condition {
            line: 1,
            text: text.to_owned(),
            kind,
        };
    }
    let mut start = start;
    loop {
        let text = source.get(start..end).unwrap_or_default();
        let before = source.get(..start).unwrap_or_default();
        let is_open = text.matches(')').count() > text.matches('(').count();
        let trimmed = before.trim_end();
        if let Some(rest) = trimmed.strip_suffix('(').filter(|_| is_open) {
            start = rest.len();
        } else if let Some(rest) = trimmed
            .strip_suffix("not")
            .filter(|rest| rest.ends_with([' ', '(']))
        {
            start = rest.len();
        } else {
            return Condition {
                line: 1 + before.matches('\n').count(),
                text: shown(text),
                kind,
            };
        }
    }
}

/// In one line, cut to a readable length.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SHOWN).collect()
}
