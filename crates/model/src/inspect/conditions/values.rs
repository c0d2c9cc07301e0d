//! What the names of a template may hold of a message, and the places where such a value decides something.
//!
//! A branch that is taken or not also tells something about what it was asked; that is not followed, because the
//! branch itself is listed.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{self, Expr, Stmt};

use super::ConditionKind;
use super::holds::Holds;
use super::place::extent;

/// Rounds of following names; each finds at least one more, and templates are short.
const MAX_ROUNDS: usize = 32;

/// Where each decision begins, where it ends, what it asks.
pub(super) type Decisions = BTreeMap<usize, (usize, ConditionKind)>;

/// Follows all values of a template and lists what they decide.
pub(super) fn decisions(tree: &Stmt<'_>) -> Decisions {
    let mut values = Values::default();
    values.names.insert("messages", Holds::MESSAGES);
    values.names.insert("message", Holds::MESSAGE);
    values.names.insert("content", Holds::WORDS);
    values.names.insert("loop", Holds::ATTRIBUTES);
    values.names.insert("self", Holds::ATTRIBUTES);
    for _ in 0..MAX_ROUNDS {
        values.has_grown = false;
        values.found.clear();
        values.statement(tree);
        if !values.has_grown {
            return values.found;
        }
    }
    // No expression stands at the very beginning: this is about the whole.
    values.found.insert(0, (0, ConditionKind::Unknown));
    values.found
}

/// What is given to a macro by all its calls.
#[derive(Default)]
pub(super) struct Given {
    /// By position.
    pub(super) each: Vec<Holds>,
    /// In lists of arguments, and behind them: to any parameter.
    pub(super) any: Holds,
}

/// All that is known so far.
#[derive(Default)]
pub(super) struct Values<'a> {
    pub(super) names: BTreeMap<&'a str, Holds>,
    /// Of any owner: an object may have several names.
    pub(super) attributes: BTreeMap<&'a str, Holds>,
    all_attributes: Holds,
    /// By the names of functions; call blocks are `caller`.
    given: BTreeMap<&'a str, Given>,
    /// To macros that were called by another name than their own.
    given_to_any: Holds,
    /// What macros, call blocks and blocks print.
    pub(super) printed: BTreeMap<&'a str, Holds>,
    pub(super) all_printed: Holds,
    found: Decisions,
    has_grown: bool,
}

impl<'a> Values<'a> {
    /// Adds to what is known.
    fn grow(known: &mut Holds, has_grown: &mut bool, holds: Holds) {
        *has_grown |= *known | holds != *known;
        *known |= holds;
    }

    pub(super) fn set_name(&mut self, name: &'a str, holds: Holds) {
        Self::grow(self.names.entry(name).or_default(), &mut self.has_grown, holds);
    }

    pub(super) fn set_attribute(&mut self, name: &'a str, holds: Holds) {
        Self::grow(
            self.attributes.entry(name).or_default(),
            &mut self.has_grown,
            holds,
        );
        self.all_attributes |= holds;
    }

    fn set_printed(&mut self, name: &'a str, holds: Holds) {
        Self::grow(self.printed.entry(name).or_default(), &mut self.has_grown, holds);
        self.all_printed |= holds;
    }

    /// Gives an argument to the macro `name`; `None` as position is any.
    pub(super) fn give(&mut self, name: &'a str, at: Option<usize>, holds: Holds) {
        let given = self.given.entry(name).or_default();
        let known = match at {
            None => &mut given.any,
            Some(at) => {
                if given.each.len() <= at {
                    given.each.resize(at + 1, Holds::NOTHING);
                }
                &mut given.each[at]
            }
        };
        Self::grow(known, &mut self.has_grown, holds);
    }

    /// Gives an argument to a macro whose name is not known.
    pub(super) fn give_to_any(&mut self, holds: Holds) {
        Self::grow(&mut self.given_to_any, &mut self.has_grown, holds);
    }

    /// What can be made from a value by means that are not looked into.
    pub(super) fn made(&self, from: Holds) -> Holds {
        let direct = Holds::WORDS | Holds::MESSAGE | Holds::MESSAGES | Holds::MADE;
        let hidden = from.any(Holds::ATTRIBUTES) && self.all_attributes.any(direct);
        let made = if from.any(direct) || hidden {
            Holds::MADE
        } else {
            Holds::NOTHING
        };
        made | from & (Holds::PRESENCE | Holds::MACRO)
    }

    /// As a text: content stays what it is.
    pub(super) fn copied(&self, holds: Holds) -> Holds {
        holds & Holds::WORDS | self.made(holds.without(Holds::WORDS))
    }

    /// Whether there is anything: of content that is a question of presence, of a message none at all.
    pub(super) fn truth(holds: Holds) -> Holds {
        let presence = if holds.any(Holds::WORDS) {
            Holds::PRESENCE
        } else {
            Holds::NOTHING
        };
        presence | holds & (Holds::MADE | Holds::PRESENCE)
    }

    /// An attribute or item; `None` for one whose name is only known when the template runs.
    pub(super) fn part(&self, of: Holds, name: Option<&str>) -> Holds {
        let mut holds = of & Holds::MACRO;
        if of.any(Holds::WORDS | Holds::MADE) {
            holds |= Holds::MADE;
        }
        match name {
            Some("content") => holds |= Holds::WORDS,
            Some(name) => holds |= self.attributes.get(name).copied().unwrap_or_default(),
            None => {
                if of.any(Holds::MESSAGE) {
                    holds |= Holds::MADE;
                }
                if of.any(Holds::MESSAGES) {
                    holds |= Holds::MESSAGE;
                }
                if of.any(Holds::ATTRIBUTES) {
                    holds |= self.all_attributes;
                }
            }
        }
        holds
    }

    /// Lists a place instead of those within it that say no more.
    pub(super) fn list(&mut self, at: (usize, usize), kind: ConditionKind) {
        let (start, end) = at;
        let within = self.found.range(start..end.max(start + 1));
        let known: Vec<_> = within.map(|(start, (_, kind))| (*start, *kind)).collect();
        let mut is_known = false;
        for (inner, known) in known {
            if known >= kind {
                self.found.remove(&inner);
            } else {
                is_known |= inner == start;
            }
        }
        if !is_known {
            self.found.insert(start, (end, kind));
        }
    }

    /// Lists an expression that decides something, by what its value holds.
    pub(super) fn decides(&mut self, expr: &Expr<'_>, holds: Holds) {
        if holds.any(Holds::MADE) {
            self.list(extent(expr), ConditionKind::Words);
        } else if holds.any(Holds::PRESENCE) {
            self.list(extent(expr), ConditionKind::Presence);
        }
    }

    pub(super) fn condition(&mut self, expr: &Expr<'a>) {
        let holds = self.expression(expr);
        self.decides(expr, Self::truth(holds));
    }

    /// Follows statements; returns what they print.
    fn statements(&mut self, all: &[Stmt<'a>]) -> Holds {
        let mut printed = Holds::NOTHING;
        for one in all {
            printed |= self.statement(one);
        }
        printed
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Holds {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => {
                let holds = self.expression(&emit.expr);
                self.copied(holds)
            }
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Holds::NOTHING,
            Stmt::ForLoop(each) => self.for_loop(each),
            Stmt::IfCond(choice) => {
                self.condition(&choice.expr);
                self.statements(&choice.true_body) | self.statements(&choice.false_body)
            }
            Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    self.assign(target, value);
                }
                self.statements(&with.body)
            }
            Stmt::Set(set) => {
                self.assign(&set.target, &set.expr);
                Holds::NOTHING
            }
            Stmt::SetBlock(set) => {
                let printed = self.statements(&set.body);
                let holds = set
                    .filter
                    .as_ref()
                    .map_or(printed, |filter| self.filter_chain(filter, printed));
                self.bind(&set.target, holds);
                Holds::NOTHING
            }
            Stmt::FilterBlock(block) => {
                let printed = self.statements(&block.body);
                self.filter_chain(&block.filter, printed)
            }
            Stmt::AutoEscape(block) => {
                self.expression(&block.enabled);
                self.statements(&block.body)
            }
            Stmt::Do(call) => {
                self.call(&call.call);
                Holds::NOTHING
            }
            Stmt::Block(block) => {
                let printed = self.statements(&block.body);
                self.set_printed(block.name, printed);
                printed
            }
            Stmt::Macro(macro_) => {
                self.macro_(macro_);
                Holds::NOTHING
            }
            Stmt::CallBlock(block) => {
                self.macro_(&block.macro_decl);
                let holds = self.call(&block.call);
                self.copied(holds)
            }
            // Other templates are not here to be read.
            Stmt::Include(include) => self.not_understood(&include.name),
            Stmt::Import(import) => self.not_understood(&import.expr),
            Stmt::FromImport(import) => self.not_understood(&import.expr),
            Stmt::Extends(extends) => self.not_understood(&extends.name),
        }
    }

    fn not_understood(&mut self, expr: &Expr<'a>) -> Holds {
        self.list(extent(expr), ConditionKind::Unknown);
        Holds::MADE
    }

    fn for_loop(&mut self, each: &ast::ForLoop<'a>) -> Holds {
        let over = self.expression(&each.iter);
        // How often it runs depends on words.
        if over.any(Holds::WORDS | Holds::MADE) {
            self.list(extent(&each.iter), ConditionKind::Words);
        }
        if each.recursive {
            self.list(extent(&each.iter), ConditionKind::Unknown);
        }
        let element = self.part(over, None);
        self.bind(&each.target, element);
        self.set_attribute("previtem", element);
        self.set_attribute("nextitem", element);
        if let Some(filter) = &each.filter_expr {
            self.condition(filter);
        }
        self.statements(&each.body) | self.statements(&each.else_body)
    }

    fn macro_(&mut self, macro_: &ast::Macro<'a>) {
        self.set_name(macro_.name, Holds::MACRO);
        // Defaults belong to the last parameters.
        let with_defaults = macro_.args.iter().rev().zip(macro_.defaults.iter().rev());
        for (target, default) in with_defaults {
            self.assign(target, default);
        }
        let given = self.given.remove(macro_.name).unwrap_or_default();
        for (at, target) in macro_.args.iter().enumerate() {
            let own = given.each.get(at).copied().unwrap_or_default();
            self.bind(target, own | given.any | self.given_to_any);
        }
        self.given.insert(macro_.name, given);
        let printed = self.statements(&macro_.body);
        self.set_printed(macro_.name, printed);
    }

    fn assign(&mut self, target: &Expr<'a>, value: &Expr<'a>) {
        if let (Expr::List(targets), Expr::Tuple(values)) = (target, value)
            && targets.items.len() == values.items.len()
        {
            for (target, value) in targets.items.iter().zip(&values.items) {
                self.assign(target, value);
            }
            return;
        }
        let holds = self.expression(value);
        self.bind(target, holds);
    }

    pub(super) fn bind(&mut self, target: &Expr<'a>, holds: Holds) {
        match target {
            Expr::Var(var) => self.set_name(var.id, holds),
            Expr::GetAttr(get) => self.set_attribute(get.name, holds),
            Expr::List(list) => {
                let part = self.part(holds, None);
                list.items.iter().for_each(|item| self.bind(item, part));
            }
            _ => {}
        }
    }
}
