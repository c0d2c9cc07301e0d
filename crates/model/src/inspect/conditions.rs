//! Conditions of a chat template that look at what messages say.
//!
//! The template is read by the parser of the engine that would run it. Every value carries what it may hold of a
//! message: names, attributes of any owner, parameters of macros and captured blocks are followed, without regard to
//! order and scope, until nothing new is found. Wherever such a value decides something the place is listed, so a
//! reader can see what the template makes depend on words. What is not followed counts as holding words: the list may
//! name what is harmless. Only where a condition stands is said, not what follows from it.

mod expressions;
mod holds;
mod place;
mod values;

#[cfg(test)]
mod tests;

use crate::template;

/// Conditions listed at most.
const MAX_CONDITIONS: usize = 64;

/// What a condition asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// What the words are (`'</think>' in content`).
    Words,
    /// Unknown: the template, or this part of it, is not understood.
    Unknown,
    /// Only whether content is there or of what type it is (`content is string`).
    Presence,
}

/// A condition on the content of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Line of the template, from 1.
    pub line: usize,
    /// The condition as it stands there, cut to a readable length.
    pub text: String,
    /// What it asks.
    pub kind: ConditionKind,
}

/// The conditions of a template that depend on the content of messages.
pub(super) fn on_content(source: &str) -> Vec<Condition> {
    let source = &template::without_generation_tags(source);
    let tree = match template::parse(source) {
        Ok(tree) => tree,
        Err(reason) => {
            return vec![Condition {
                line: 1,
                text: place::shown(&reason),
                kind: ConditionKind::Unknown,
            }];
        }
    };
    let mut found: Vec<_> = values::decisions(&tree).into_iter().collect();
    // Of too many the harmless ones go first: nothing can hide behind them.
    found.sort_by_key(|(_, (_, kind))| *kind);
    found.truncate(MAX_CONDITIONS);
    found.sort_unstable();
    found
        .into_iter()
        .map(|(start, (end, kind))| place::condition(source, start, end, kind))
        .collect()
}
