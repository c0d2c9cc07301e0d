//! What each value of a template may hold of a message, and the places where such a value decides something.
//!
//! A branch that is taken or not also tells something about what it was asked; that is not followed, because the
//! branch itself is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{BitAnd, BitOr, BitOrAssign};

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Stmt, UnaryOpKind};

use super::ConditionKind;
use super::place::extent;

/// Rounds of following names; each finds at least one more, and templates are short.
const MAX_ROUNDS: usize = 32;

/// Tests that ask for presence or type.
const PRESENCE_TESTS: [&str; 12] = [
    "defined",
    "undefined",
    "none",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "number",
    "integer",
    "float",
    "boolean",
    "callable",
];
/// Filters and methods that leave a text as good as it was.
const COPYING: [&str; 15] = [
    "trim",
    "strip",
    "lstrip",
    "rstrip",
    "string",
    "safe",
    "upper",
    "lower",
    "title",
    "capitalize",
    "escape",
    "e",
    "indent",
    "default",
    "d",
];
/// Those of them whose arguments do not say what to take away.
const DEFAULTING: [&str; 3] = ["default", "d", "indent"];
/// Filters that give the same messages in another order; `sort` and `unique` compare them.
const REORDERING: [&str; 4] = ["list", "reverse", "sort", "unique"];
/// Filters and methods that put texts together and choose nothing.
const JOINING: [&str; 4] = ["format", "join", "default", "d"];
/// Methods that put their arguments into their owner.
const STORING: [&str; 5] = ["append", "extend", "insert", "update", "setdefault"];

/// Where each decision begins, where it ends, what it asks.
pub(super) type Decisions = BTreeMap<usize, (usize, ConditionKind)>;

/// What a value may hold, several at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holds(u8);

impl Holds {
    const NOTHING: Self = Self(0);
    /// A message's content as it is.
    const WORDS: Self = Self(1);
    /// A message: its content is words, its role is not.
    const MESSAGE: Self = Self(2);
    /// A list of messages.
    const MESSAGES: Self = Self(4);
    /// Attributes set one by one, such as those of a namespace.
    const ATTRIBUTES: Self = Self(8);
    /// Whether content is there, or of what type.
    const PRESENCE: Self = Self(16);
    /// Anything made from words: a part, a length, the outcome of a comparison, a container of them.
    const MADE: Self = Self(32);
    /// A macro.
    const MACRO: Self = Self(64);

    fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

impl BitOr for Holds {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Holds {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOrAssign for Holds {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

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

/// All that is known so far.
#[derive(Default)]
struct Values<'a> {
    names: BTreeMap<&'a str, Holds>,
    /// Of any owner: an object may have several names.
    attributes: BTreeMap<&'a str, Holds>,
    /// Parameters of macros, and of call blocks under the name `caller`.
    parameters: BTreeMap<&'a str, BTreeSet<Vec<&'a str>>>,
    /// What macros, call blocks and blocks print.
    printed: BTreeMap<&'a str, Holds>,
    found: Decisions,
    has_grown: bool,
}

impl<'a> Values<'a> {
    fn grow(map: &mut BTreeMap<&'a str, Holds>, name: &'a str, holds: Holds) -> bool {
        let known = map.entry(name).or_default();
        let before = *known;
        *known |= holds;
        *known != before
    }

    fn set_name(&mut self, name: &'a str, holds: Holds) {
        self.has_grown |= Self::grow(&mut self.names, name, holds);
    }

    fn set_attribute(&mut self, name: &'a str, holds: Holds) {
        self.has_grown |= Self::grow(&mut self.attributes, name, holds);
    }

    fn set_printed(&mut self, name: &'a str, holds: Holds) {
        self.has_grown |= Self::grow(&mut self.printed, name, holds);
    }

    fn all_attributes(&self) -> Holds {
        let all = self.attributes.values();
        all.fold(Holds::NOTHING, |all, one| all | *one)
    }

    /// What can be made from a value by means that are not looked into.
    fn made(&self, from: Holds) -> Holds {
        let direct = Holds::WORDS | Holds::MESSAGE | Holds::MESSAGES | Holds::MADE;
        let hidden = from.any(Holds::ATTRIBUTES) && self.all_attributes().any(direct);
        let made = if from.any(direct) || hidden {
            Holds::MADE
        } else {
            Holds::NOTHING
        };
        made | from & (Holds::PRESENCE | Holds::MACRO)
    }

    /// As a text: content stays what it is.
    fn copied(&self, holds: Holds) -> Holds {
        holds & Holds::WORDS | self.made(holds & Holds(!Holds::WORDS.0))
    }

    /// Whether there is anything: of content that is a question of presence, of a message none at all.
    fn truth(holds: Holds) -> Holds {
        let presence = if holds.any(Holds::WORDS) {
            Holds::PRESENCE
        } else {
            Holds::NOTHING
        };
        presence | holds & (Holds::MADE | Holds::PRESENCE)
    }

    /// An attribute or item; `None` for one whose name is only known when the template runs.
    fn part(&self, of: Holds, name: Option<&str>) -> Holds {
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
                    holds |= self.all_attributes();
                }
            }
        }
        holds
    }

    /// Lists a place instead of those within it that say no more.
    fn list(&mut self, at: (usize, usize), kind: ConditionKind) {
        let (start, end) = at;
        let within = self.found.range(start..=end);
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
    fn decides(&mut self, expr: &Expr<'_>, holds: Holds) {
        if holds.any(Holds::MADE) {
            self.list(extent(expr), ConditionKind::Words);
        } else if holds.any(Holds::PRESENCE) {
            self.list(extent(expr), ConditionKind::Presence);
        }
    }

    fn condition(&mut self, expr: &Expr<'a>) {
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
                self.set_name(macro_.name, Holds::MACRO);
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
        let names = |args: &[Expr<'a>]| -> Vec<&'a str> {
            let name = |arg: &Expr<'a>| match arg {
                Expr::Var(var) => Some(var.id),
                _ => None,
            };
            args.iter().filter_map(name).collect()
        };
        let parameters = names(&macro_.args);
        // Defaults belong to the last parameters.
        let with_defaults = macro_.args.iter().rev().zip(macro_.defaults.iter().rev());
        for (target, default) in with_defaults {
            self.assign(target, default);
        }
        self.has_grown |= self.parameters.entry(macro_.name).or_default().insert(parameters);
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

    fn bind(&mut self, target: &Expr<'a>, holds: Holds) {
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

    /// Follows an expression; returns what its value may hold.
    fn expression(&mut self, expr: &Expr<'a>) -> Holds {
        match expr {
            Expr::Var(var) => self.names.get(var.id).copied().unwrap_or_default(),
            Expr::Const(_) => Holds::NOTHING,
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.choice(bound);
                }
                let holds = self.expression(&slice.expr);
                let text = holds & (Holds::WORDS | Holds::MESSAGE);
                self.made(text) | holds & Holds(!text.0)
            }
            Expr::UnaryOp(op) => {
                let holds = self.expression(&op.expr);
                match op.op {
                    UnaryOpKind::Not => Self::truth(holds),
                    UnaryOpKind::Neg => self.made(holds),
                }
            }
            Expr::BinOp(op) => self.operation(op),
            Expr::Compare(compare) => {
                let first = self.expression(&compare.expr);
                let others = compare.ops.iter();
                let all = others.fold(first, |all, op| all | self.expression(&op.expr));
                self.made(all)
            }
            Expr::IfExpr(choice) => {
                self.condition(&choice.test_expr);
                let first = self.expression(&choice.true_expr);
                let other = choice.false_expr.as_ref();
                first | other.map_or(Holds::NOTHING, |other| self.expression(other))
            }
            Expr::Filter(filter) => {
                let subject = filter.expr.as_ref();
                let holds = subject.map_or(Holds::NOTHING, |subject| self.expression(subject));
                self.filter(expr, filter, holds)
            }
            Expr::Test(test) => {
                let subject = self.expression(&test.expr);
                let (_, arguments) = self.arguments(&test.args);
                if PRESENCE_TESTS.contains(&test.name) {
                    Self::truth(subject)
                } else {
                    self.made(subject | arguments)
                }
            }
            Expr::GetAttr(get) => {
                let of = self.expression(&get.expr);
                self.part(of, Some(get.name))
            }
            Expr::GetItem(get) => {
                self.choice(&get.subscript_expr);
                let of = self.expression(&get.expr);
                let name = get.subscript_expr.as_const();
                self.part(of, name.as_ref().and_then(|name| name.as_str()))
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.container(&list.items),
            Expr::Tuple(tuple) => self.container(&tuple.items),
            Expr::Map(map) => {
                let all = self.all(&map.keys) | self.all(&map.values);
                self.made(all)
            }
        }
    }

    fn all(&mut self, exprs: &[Expr<'a>]) -> Holds {
        let mut holds = Holds::NOTHING;
        for expr in exprs {
            holds |= self.expression(expr);
        }
        holds
    }

    fn container(&mut self, items: &[Expr<'a>]) -> Holds {
        let all = self.all(items);
        if all == Holds::MESSAGE {
            Holds::MESSAGES
        } else {
            self.made(all)
        }
    }

    /// An expression that chooses among others by its value.
    fn choice(&mut self, expr: &Expr<'a>) -> Holds {
        let holds = self.expression(expr);
        let made = self.made(holds);
        self.decides(expr, made);
        holds
    }

    fn operation(&mut self, op: &ast::BinOp<'a>) -> Holds {
        let is_nothing = |expr: &Expr<'_>| {
            let value = expr.as_const();
            value.is_some_and(|value| value.is_none() || value.as_str() == Some(""))
        };
        let left = self.expression(&op.left);
        let right = self.expression(&op.right);
        match op.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                // `content or ''` prints one or the other.
                self.decides(&op.left, Self::truth(left));
                left | right
            }
            BinOpKind::Add | BinOpKind::Concat => left | right,
            BinOpKind::Eq | BinOpKind::Ne if is_nothing(&op.left) || is_nothing(&op.right) => {
                Self::truth(left | right)
            }
            BinOpKind::In if right == Holds::MESSAGE && !self.made(left).any(Holds::MADE) => {
                let name = op.left.as_const();
                match name.as_ref().and_then(|name| name.as_str()) {
                    Some("content") => Holds::PRESENCE,
                    _ => Holds::NOTHING,
                }
            }
            BinOpKind::Mul => {
                for (side, holds) in [(&op.left, left), (&op.right, right)] {
                    // A text as often as something is true.
                    let made = self.made(holds);
                    self.decides(side, made);
                }
                self.made(left | right)
            }
            _ => self.made(left | right),
        }
    }

    /// What each argument holds, and what all do. Each is looked at once: arguments nest.
    fn arguments(&mut self, args: &[CallArg<'a>]) -> (Vec<Holds>, Holds) {
        let each: Vec<Holds> = args.iter().map(|arg| self.expression(value_of(arg))).collect();
        let all = each.iter().fold(Holds::NOTHING, |all, one| all | *one);
        (each, all)
    }

    fn filter_chain(&mut self, filter: &Expr<'a>, subject: Holds) -> Holds {
        let Expr::Filter(inner) = filter else {
            return self.made(subject);
        };
        let holds = match &inner.expr {
            Some(before) => self.filter_chain(before, subject),
            None => subject,
        };
        self.filter(filter, inner, holds)
    }

    fn filter(&mut self, expr: &Expr<'a>, filter: &ast::Filter<'a>, subject: Holds) -> Holds {
        let (_, arguments) = self.arguments(&filter.args);
        let first = filter.args.first().map(value_of);
        match filter.name {
            "length" | "count" if !subject.any(Holds::WORDS | Holds::MADE) => Holds::NOTHING,
            "first" | "last" | "random" => self.part(subject, None),
            "attr" => {
                let name = first.and_then(Expr::as_const);
                self.part(subject, name.as_ref().and_then(|name| name.as_str()))
            }
            "map" if attribute(&filter.args, 0, true).is_some() => {
                let element = self.part(subject, None);
                let part = self.by_attribute(element, attribute(&filter.args, 0, true));
                self.made(part)
            }
            "selectattr" | "rejectattr" => {
                let element = self.part(subject, None);
                let part = self.by_attribute(element, attribute(&filter.args, 0, false));
                let asked = self.made(part | arguments);
                self.decides(expr, asked);
                subject
            }
            "select" | "reject" if !filter.args.is_empty() || subject.any(Holds::WORDS | Holds::MADE) => {
                let asked = self.made(subject | arguments);
                self.decides(expr, asked);
                subject
            }
            "select" | "reject" => subject,
            name if REORDERING.contains(&name) && !subject.any(Holds::WORDS | Holds::MADE) => {
                let is_by_attribute = attribute(&filter.args, usize::MAX, true).is_some();
                if is_by_attribute || matches!(name, "sort" | "unique") {
                    let element = self.part(subject, None);
                    let by = attribute(&filter.args, usize::MAX, true);
                    let part = by.map_or(element, |by| self.by_attribute(element, Some(by)));
                    let asked = self.made(part | arguments);
                    self.decides(expr, asked);
                }
                subject
            }
            name => {
                if name == "replace" {
                    let asked = self.made(subject | arguments);
                    self.decides(expr, asked);
                } else if !JOINING.contains(&name) {
                    let asked = self.made(arguments);
                    self.decides(expr, asked);
                }
                self.changed(name, filter.args.is_empty(), subject | arguments)
            }
        }
    }

    /// What a filter or method that is not looked into returns.
    fn changed(&self, name: &str, is_without_arguments: bool, holds: Holds) -> Holds {
        let is_copy = COPYING.contains(&name) && (is_without_arguments || DEFAULTING.contains(&name));
        if is_copy {
            self.copied(holds)
        } else {
            self.made(holds)
        }
    }

    /// The part that a filter names in its arguments, `message.content` for instance.
    fn by_attribute(&self, element: Holds, name: Option<&Expr<'a>>) -> Holds {
        let name = name.and_then(Expr::as_const);
        match name.as_ref().and_then(|name| name.as_str()) {
            Some(path) => path
                .split('.')
                .fold(element, |of, name| self.part(of, Some(name))),
            None => self.part(element, None),
        }
    }

    fn call(&mut self, call: &ast::Call<'a>) -> Holds {
        match &call.expr {
            Expr::Var(var) => self.function(var.id, &call.args),
            Expr::GetAttr(get) => {
                if matches!(&get.expr, Expr::Var(var) if var.id == "self") {
                    return self.printed.get(get.name).copied().unwrap_or_default();
                }
                self.method(get, call)
            }
            callee => {
                let callee = self.expression(callee);
                let (_, arguments) = self.arguments(&call.args);
                self.any_macro(callee, arguments) | self.made(callee | arguments)
            }
        }
    }

    fn function(&mut self, name: &'a str, args: &[CallArg<'a>]) -> Holds {
        let (each, arguments) = self.arguments(args);
        if let Some(all) = self.parameters.get(name).cloned() {
            for parameters in &all {
                self.pass(parameters, args, &each);
            }
            return self.printed.get(name).copied().unwrap_or_default();
        }
        match name {
            "namespace" => {
                let mut holds = Holds::ATTRIBUTES;
                for (arg, value) in args.iter().zip(each) {
                    match arg {
                        CallArg::Kwarg(name, _) => self.set_attribute(name, value),
                        _ => holds |= self.made(value),
                    }
                }
                holds
            }
            // Prints all there is, messages included.
            "debug" => Holds::MADE,
            _ => {
                let callee = self.names.get(name).copied().unwrap_or_default();
                self.any_macro(callee, arguments) | self.made(callee | arguments)
            }
        }
    }

    /// Gives arguments to the parameters of one macro.
    fn pass(&mut self, parameters: &[&'a str], args: &[CallArg<'a>], each: &[Holds]) {
        let mut has_list = false;
        for (i, (arg, holds)) in args.iter().zip(each).enumerate() {
            has_list |= matches!(arg, CallArg::PosSplat(_));
            match arg {
                CallArg::Kwarg(name, _) => self.set_name(name, *holds),
                CallArg::Pos(_) if !has_list => {
                    if let Some(name) = parameters.get(i) {
                        self.set_name(name, *holds);
                    }
                }
                // A list of arguments, or behind one: it may be any parameter.
                _ => {
                    let part = *holds | self.part(*holds, None);
                    parameters.iter().for_each(|name| self.set_name(name, part));
                }
            }
        }
    }

    /// A call of a macro whose name is not known: it may be any.
    fn any_macro(&mut self, callee: Holds, arguments: Holds) -> Holds {
        if !callee.any(Holds::MACRO) {
            return Holds::NOTHING;
        }
        let all: Vec<&'a str> = self.parameters.values().flatten().flatten().copied().collect();
        all.into_iter().for_each(|name| self.set_name(name, arguments));
        self.printed.values().fold(Holds::NOTHING, |all, one| all | *one)
    }

    fn method(&mut self, get: &ast::GetAttr<'a>, call: &ast::Call<'a>) -> Holds {
        let owner = self.expression(&get.expr);
        let (_, arguments) = self.arguments(&call.args);
        let callee = self.attributes.get(get.name).copied().unwrap_or_default();
        let returned = self.any_macro(owner | callee, arguments);
        let first = call.args.first().map(value_of);
        match get.name {
            "get" => {
                let asked = self.made(arguments);
                self.decides_call(get, call, asked);
                let name = first.and_then(Expr::as_const);
                return self.part(owner, name.as_ref().and_then(|name| name.as_str())) | arguments | asked;
            }
            "replace" => {
                let asked = self.made(owner | arguments);
                self.decides_call(get, call, asked);
            }
            name if STORING.contains(&name) => {
                let stored = self.made(arguments);
                if let Expr::Var(var) = &get.expr {
                    self.set_name(var.id, stored);
                }
            }
            name if !JOINING.contains(&name) => {
                let asked = self.made(arguments);
                self.decides_call(get, call, asked);
            }
            _ => {}
        }
        // The attributes of a loop or namespace are not what its methods look at.
        let holds = owner & Holds(!Holds::ATTRIBUTES.0) | arguments;
        returned | self.changed(get.name, call.args.is_empty(), holds)
    }

    fn decides_call(&mut self, get: &ast::GetAttr<'a>, call: &ast::Call<'a>, asked: Holds) {
        let (start, end) = extent(&get.expr);
        let end = call.args.last().map_or(end, |arg| extent(value_of(arg)).1);
        if asked.any(Holds::MADE) {
            self.list((start, end), ConditionKind::Words);
        }
    }
}

fn value_of<'e, 'a>(arg: &'e CallArg<'a>) -> &'e Expr<'a> {
    match arg {
        CallArg::Pos(value)
        | CallArg::Kwarg(_, value)
        | CallArg::PosSplat(value)
        | CallArg::KwargSplat(value) => value,
    }
}

/// The argument `attribute`, by its name or else at a position.
fn attribute<'e, 'a>(args: &'e [CallArg<'a>], at: usize, named_only: bool) -> Option<&'e Expr<'a>> {
    let named = args.iter().find_map(|arg| match arg {
        CallArg::Kwarg("attribute", value) => Some(value),
        _ => None,
    });
    named.or_else(|| {
        if named_only {
            None
        } else {
            args.get(at).map(value_of)
        }
    })
}
