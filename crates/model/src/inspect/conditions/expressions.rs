//! What expressions of a template may hold of a message, by what they are made of.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, UnaryOpKind};

use super::ConditionKind;
use super::holds::Holds;
use super::place::extent;
use super::values::Values;

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

impl<'a> Values<'a> {
    /// Follows an expression; returns what its value may hold.
    pub(super) fn expression(&mut self, expr: &Expr<'a>) -> Holds {
        match expr {
            Expr::Var(var) => self.names.get(var.id).copied().unwrap_or_default(),
            Expr::Const(_) => Holds::NOTHING,
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.choice(bound);
                }
                let holds = self.expression(&slice.expr);
                let text = holds & (Holds::WORDS | Holds::MESSAGE);
                self.made(text) | holds.without(text)
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

    pub(super) fn filter_chain(&mut self, filter: &Expr<'a>, subject: Holds) -> Holds {
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

    pub(super) fn call(&mut self, call: &ast::Call<'a>) -> Holds {
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
        if let Some(printed) = self.printed.get(name).copied() {
            self.pass(name, args, &each);
            return printed;
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

    /// Gives arguments to the macro `name`.
    fn pass(&mut self, name: &'a str, args: &[CallArg<'a>], each: &[Holds]) {
        let mut has_list = false;
        for (i, (arg, holds)) in args.iter().zip(each).enumerate() {
            has_list |= matches!(arg, CallArg::PosSplat(_));
            match arg {
                CallArg::Kwarg(parameter, _) => self.set_name(parameter, *holds),
                CallArg::Pos(_) if !has_list => self.give(name, Some(i), *holds),
                _ => {
                    let part = self.part(*holds, None);
                    self.give(name, None, *holds | part);
                }
            }
        }
    }

    /// A call of what may be a macro of any name.
    fn any_macro(&mut self, callee: Holds, arguments: Holds) -> Holds {
        if !callee.any(Holds::MACRO) {
            return Holds::NOTHING;
        }
        let part = self.part(arguments, None);
        self.give_to_any(arguments | part);
        self.all_printed
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
                self.bind(&get.expr, stored);
            }
            name if !JOINING.contains(&name) => {
                let asked = self.made(arguments);
                self.decides_call(get, call, asked);
            }
            _ => {}
        }
        // The attributes of a loop or namespace are not what its methods look at.
        let holds = owner.without(Holds::ATTRIBUTES) | arguments;
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
