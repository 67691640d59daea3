//! Conditions: a rule's `when`, in CEL (Common Expression Language, cel-spec), compiled once.
//!
//! Compiling checks more than the grammar: every variable, field and function must exist, patterns of `matches` must be
//! literals that compile, nesting is bounded. Whatever a condition then meets at run time (a claim that is not there, a
//! value of another type) is an error, never a "false": what an error means is decided where rules are evaluated.
//! Optional values (`?.`) are not part of it: they would turn errors into values silently; `has(…)` says the same aloud.

mod inspect;
mod variables;

use std::sync::Arc;

use cel::{Context, Env, ExecutionError, Program, Value};

use crate::facts::Facts;

pub(crate) use inspect::Used;
pub(crate) use variables::{bind, bind_membership, widest};

/// The longest condition, in bytes.
const MAX_CONDITION_BYTES: usize = 2048;

/// The stack conditions are parsed on. Measured: the ANTLR parser under `cel` takes up to 70 KiB a level of
/// parentheses in a debug build, and lets 96 levels through; an ordinary thread has 2 MiB.
const PARSER_STACK_BYTES: usize = 256 << 20;

/// A compiled condition.
#[derive(Debug)]
pub(crate) struct Condition {
    program: Program,
    /// Which facts it looks at.
    pub(crate) used: Used,
    /// How often it runs through lists within lists.
    loops: u32,
    /// What one step costs beside an ordinary one.
    weight: u64,
    /// The claims it names, for telling which of them is not there.
    claims: Vec<Vec<String>>,
}

/// A condition that was neither true nor false. Says what went wrong, never with which value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConditionError(String);

/// A condition as it stands in a document.
pub(crate) struct Written {
    pub(crate) text: String,
    /// Whether its rule is repeated for memberships.
    pub(crate) membership: bool,
}

/// What conditions can call.
pub(crate) fn environment() -> Env {
    Env::stdlib().with_optional_support(false)
}

/// Compiles conditions, each by itself.
pub(crate) fn compile(written: Vec<Written>) -> Vec<Result<Condition, String>> {
    let count = written.len();
    if count == 0 {
        return Vec::new();
    }
    let all = move || {
        let environment = environment();
        written.iter().map(|w| compile_one(&environment, w)).collect()
    };
    let compiled = std::thread::Builder::new()
        .name("policy-compiler".to_owned())
        .stack_size(PARSER_STACK_BYTES)
        .spawn(all)
        .ok()
        .and_then(|thread| thread.join().ok());
    compiled.unwrap_or_else(|| {
        let problem =
            "the condition could not be compiled: its compiler's thread could not be started, or ended";
        (0..count).map(|_| Err(problem.to_owned())).collect()
    })
}

fn compile_one(environment: &Env, written: &Written) -> Result<Condition, String> {
    if written.text.len() > MAX_CONDITION_BYTES {
        return Err(format!(
            "a condition must not be longer than {MAX_CONDITION_BYTES} bytes; make several rules of it"
        ));
    }
    let program = environment.compile(&written.text).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || "it is not CEL".to_owned(),
            |e| format!("it is not CEL: line {}, column {}: {}", e.pos.0, e.pos.1, e.msg),
        )
    })?;
    let found = inspect::inspect(program.expression(), written.membership)?;
    Ok(Condition {
        program,
        used: found.used,
        loops: found.loops,
        weight: found.weight,
        claims: found.claims,
    })
}

impl Condition {
    /// The steps it may take at most when the longest list among the facts has `widest` elements.
    pub(crate) fn cost(&self, widest: u64) -> u64 {
        widest
            .max(8)
            .saturating_pow(self.loops)
            .saturating_mul(self.weight)
    }

    /// Whether it runs through lists at all.
    pub(crate) fn loops(&self) -> bool {
        self.loops > 0
    }

    /// Whether it is true.
    pub(crate) fn holds(&self, context: &Context<'_, '_>, facts: &Facts<'_>) -> Result<bool, ConditionError> {
        match self.program.execute(context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(ConditionError("its result is neither true nor false".to_owned())),
            Err(error) => Err(ConditionError(self.explain(&error, facts))),
        }
    }

    /// `error` in words, without the values it holds.
    fn explain(&self, error: &ExecutionError, facts: &Facts<'_>) -> String {
        match error {
            ExecutionError::NoSuchKey(_) => match self.absent_claim(facts) {
                Some(path) => {
                    let path = path.join(".");
                    format!("claims.{path} is not there; ask with has(claims.{path}) first")
                }
                None => "something it looks up is not there; ask with has(…) first".to_owned(),
            },
            // Holds the names of a function and of types.
            ExecutionError::NoSuchOverload(overload) => {
                format!("a value has another type than it must have: {overload}")
            }
            ExecutionError::FunctionError { function, .. } => {
                format!("the function {function} does not take the value it got")
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "it divides by zero".to_owned()
            }
            ExecutionError::Overflow(..) => "a number grows too large".to_owned(),
            ExecutionError::IndexOutOfBounds(_) => "a list has fewer elements than it asks for".to_owned(),
            _ => "a value has another type than it must have".to_owned(),
        }
    }

    fn absent_claim(&self, facts: &Facts<'_>) -> Option<&[String]> {
        let absent = |path: &&Vec<String>| {
            let mut names = path.iter();
            let first = names.next().and_then(|name| facts.identity.claims.get(name));
            names
                .fold(first, |value, name| value.and_then(|v| v.get(name)))
                .is_none()
        };
        self.claims.iter().find(absent).map(Vec::as_slice)
    }
}

/// A context that conditions run in, without variables yet.
pub(crate) fn context(environment: &Arc<Env>) -> Context<'static, 'static> {
    Context::with_env(Arc::clone(environment))
}

#[cfg(test)]
mod tests;
