//! Looks through a parsed condition for what would only come to light at run time, or never.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};

/// How deep an expression may nest. Evaluation recurses, at some 35 KiB a level in a debug build.
pub(super) const MAX_DEPTH: usize = 20;

/// How many lists within lists a condition may run through.
const MAX_LOOPS: u32 = 2;

/// The largest compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// What a step inside a loop costs if it compiles a pattern, or joins texts or lists, beside one that does not.
const HEAVY: u64 = 100;

/// The functions a condition may call: CEL's standard library, as far as `cel` has it. The macros (`has`, `all`,
/// `exists`, `exists_one`, `filter`, `map`) are no calls any more once a condition is parsed.
pub(super) const FUNCTIONS: [&str; 25] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// The names of types, which a condition may compare with `type(…)`.
const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// The variables with a fixed set of fields.
const FIELDS: [(&str, &[&str]); 3] = [
    ("principal", &["issuer", "subject", "digest"]),
    ("membership", &["kind", "id", "role"]),
    (
        "connection",
        &[
            "cluster",
            "server_name",
            "server_version",
            "server_tags",
            "client_host",
            "client_name",
            "client_kind",
            "client_type",
            "mqtt_id",
            "user_nkey",
        ],
    ),
];

/// Which variables a condition looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) claims: bool,
    pub(crate) principal: bool,
    pub(crate) provider: bool,
    pub(crate) memberships: bool,
    pub(crate) membership: bool,
    pub(crate) connection: bool,
    pub(crate) now: bool,
}

impl Used {
    /// What either looks at.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            claims: self.claims || other.claims,
            principal: self.principal || other.principal,
            provider: self.provider || other.provider,
            memberships: self.memberships || other.memberships,
            membership: self.membership || other.membership,
            connection: self.connection || other.connection,
            now: self.now || other.now,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) used: Used,
    pub(super) loops: u32,
    pub(super) weight: u64,
    pub(super) claims: Vec<Vec<String>>,
}

/// Looks through `expression`; `membership` if there is one in its rule.
pub(super) fn inspect(expression: &IdedExpr, membership: bool) -> Result<Found, String> {
    let constant = match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => false,
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => true,
        _ => false,
    };
    if constant {
        return Err("its result is neither true nor false; compare it with something".to_owned());
    }
    let mut inspector = Inspector {
        membership,
        scope: Vec::new(),
        loops: 0,
        found: Found {
            weight: 1,
            ..Found::default()
        },
    };
    inspector.visit(expression, 0)?;
    Ok(inspector.found)
}

struct Inspector<'e> {
    membership: bool,
    /// The loop variables in force.
    scope: Vec<&'e str>,
    /// Loops around what is being visited.
    loops: u32,
    found: Found,
}

impl<'e> Inspector<'e> {
    fn visit(&mut self, expression: &'e IdedExpr, depth: usize) -> Result<(), String> {
        if depth >= MAX_DEPTH {
            return Err(format!(
                "it nests deeper than {MAX_DEPTH} levels; make several rules of it"
            ));
        }
        let depth = depth.saturating_add(1);
        match &expression.expr {
            Expr::Unspecified => Err("it has an empty part".to_owned()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.visit(e, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth)?;
                    self.visit(&entry.value, depth)
                }
                EntryExpr::StructField(_) => Err("it has a malformed map".to_owned()),
            }),
            Expr::Struct(_) => Err("there are no messages to build here".to_owned()),
        }
    }

    fn variable(&mut self, name: &'e str) -> Result<(), String> {
        if self.scope.contains(&name) {
            return Ok(());
        }
        let used = &mut self.found.used;
        match name.trim_start_matches('.') {
            "claims" => used.claims = true,
            "principal" => used.principal = true,
            "provider" => used.provider = true,
            "memberships" => used.memberships = true,
            "connection" => used.connection = true,
            "now" => used.now = true,
            "membership" if self.membership => used.membership = true,
            "membership" => {
                return Err(
                    "there is no membership here: give the rule `for_each: {membership: {kind: …}}`, or use memberships"
                        .to_owned(),
                );
            }
            name if TYPES.contains(&name) => {}
            _ => {
                return Err(format!(
                    "there is no variable {name}; there are claims, principal, provider, memberships, membership, \
                     connection and now"
                ));
            }
        }
        Ok(())
    }

    /// `operand.field`, as deep as it goes without recursion: `a.b.c` is evaluated in one go.
    fn select(&mut self, select: &'e SelectExpr, depth: usize) -> Result<(), String> {
        let mut fields = vec![select.field.as_str()];
        let mut operand = &*select.operand;
        while let Expr::Select(inner) = &operand.expr {
            fields.push(&inner.field);
            operand = &inner.operand;
        }
        fields.reverse();
        let Expr::Ident(name) = &operand.expr else {
            return self.visit(operand, depth.saturating_add(fields.len()));
        };
        self.variable(name)?;
        if self.scope.contains(&name.as_str()) {
            return Ok(());
        }
        let name = name.trim_start_matches('.');
        if name == "claims" {
            self.found
                .claims
                .push(fields.iter().map(|&f| f.to_owned()).collect());
        }
        let known = FIELDS.iter().find(|(variable, _)| *variable == name);
        match (known, fields.first()) {
            (Some((_, known)), Some(field)) if !known.contains(field) => Err(format!(
                "{name} has no field {field}; it has {}",
                known.join(", ")
            )),
            _ => Ok(()),
        }
    }

    fn call(&mut self, call: &'e CallExpr, depth: usize) -> Result<(), String> {
        let name = call.func_name.as_str();
        // Operators have names that no function can have: `_&&_`, `@in`.
        let operator = name.chars().any(|c| !c.is_ascii_alphanumeric() && c != '_');
        if matches!(name, operators::OPT_INDEX | operators::OPT_SELECT) {
            return Err("optional values are not supported; ask with has(…) first".to_owned());
        }
        if !operator && !FUNCTIONS.contains(&name) {
            return Err(format!(
                "there is no function {name}, or it takes other arguments"
            ));
        }
        if name == "matches" {
            pattern(call)?;
            self.heavy();
        }
        if name == operators::ADD && !accumulates(call) {
            self.heavy();
        }
        if name == operators::IN
            && self.loops > 0
            && !matches!(call.args.get(1).map(|a| &a.expr), Some(Expr::List(_)))
        {
            // Looks through a list of the facts, once a step.
            self.found.loops = self.found.loops.max(self.loops.saturating_add(1));
        }
        if let Some(target) = &call.target {
            self.visit(target, depth)?;
        }
        call.args.iter().try_for_each(|arg| self.visit(arg, depth))
    }

    fn heavy(&mut self) {
        if self.loops > 0 {
            self.found.weight = HEAVY;
        }
    }

    fn comprehension(&mut self, loop_: &'e ComprehensionExpr, depth: usize) -> Result<(), String> {
        self.visit(&loop_.iter_range, depth)?;
        self.visit(&loop_.accu_init, depth)?;
        let outside = self.scope.len();
        self.scope.push(&loop_.accu_var);
        self.scope.push(&loop_.iter_var);
        self.scope.extend(loop_.iter_var2.as_deref());
        self.loops = self.loops.saturating_add(1);
        if self.loops > MAX_LOOPS {
            return Err(format!(
                "it runs through lists within lists more than {MAX_LOOPS} deep"
            ));
        }
        self.found.loops = self.found.loops.max(self.loops);
        self.visit(&loop_.loop_cond, depth)?;
        self.visit(&loop_.loop_step, depth)?;
        self.loops = self.loops.saturating_sub(1);
        self.visit(&loop_.result, depth)?;
        self.scope.truncate(outside);
        Ok(())
    }
}

/// Whether `call` is a macro's own `@result + …`, which `cel` does in place (no name in a document begins with `@`).
fn accumulates(call: &CallExpr) -> bool {
    matches!(call.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'))
}

/// Checks the pattern of a `matches`: written out, so that it cannot come from a claim, and one that compiles.
fn pattern(call: &CallExpr) -> Result<(), String> {
    let arg = if call.target.is_some() {
        call.args.first()
    } else {
        call.args.get(1)
    };
    let Some(Expr::Literal(LiteralValue::String(pattern))) = arg.map(|a| &a.expr) else {
        return Err("the pattern of matches must be written out: matches('^[a-z]+$')".to_owned());
    };
    regex::RegexBuilder::new(pattern.inner())
        .size_limit(MAX_PATTERN_BYTES)
        .build()
        .map(|_| ())
        .map_err(|cause| format!("the pattern of matches cannot be used: {cause}"))
}
