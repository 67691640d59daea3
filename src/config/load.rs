//! From the file and the environment to [`Config`].

use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use super::Config;
use super::problem::Problem;
use super::reference::{self, Environment};

/// Variables that begin like this override the file: `NATSGATE__SHIM__CLUSTER=eu-1` is `shim.cluster`.
const PREFIX: &str = "NATSGATE__";

/// The separator of keys in a variable's name.
const SEPARATOR: &str = "__";

/// A configuration and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The directory relative paths in it start from.
    pub base: PathBuf,
}

/// Reads the file at `path`, with `variables` (names and values of the environment) over it.
///
/// # Errors
/// The first [`Problem`].
pub fn load(path: &Path, variables: &[(String, String)]) -> Result<Loaded, Problem> {
    let (mut value, base) = document(path, variables)?;
    let look_up = |name: &str| look_up(variables, name);
    let config = read(&mut value, &base, &look_up);
    reference::wipe(&mut value);
    Ok(Loaded {
        config: config?,
        base,
    })
}

/// The document at `path` with `variables` over it, its references not resolved, and the directory paths in it start from.
///
/// # Errors
/// The first [`Problem`].
pub fn document(path: &Path, variables: &[(String, String)]) -> Result<(Value, PathBuf), Problem> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| Problem::new(path.display().to_string(), format!("cannot be read: {error}")))?;
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut value = yaml(&text).map_err(|error| Problem::new(path.display().to_string(), error))?;
    for (name, text) in variables {
        check_name(name)?;
        if let Some(key) = name.strip_prefix(PREFIX) {
            overlay(&mut value, name, &key.to_lowercase(), text)?;
        }
    }
    Ok((value, base))
}

/// The value of the variable `name`.
pub fn look_up(variables: &[(String, String)], name: &str) -> Option<String> {
    variables
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, text)| text.clone())
}

/// Refuses the name of a variable that looks like an override and would be ignored.
fn check_name(name: &str) -> Result<(), Problem> {
    let capitals = name.to_ascii_uppercase();
    let ours = capitals.starts_with("NATSGATE_") && capitals.contains(SEPARATOR);
    if ours && !(name.starts_with(PREFIX) && name == capitals) {
        return Err(Problem::new(
            name,
            "looks like an override, which is written in capitals and begins with NATSGATE__",
        ));
    }
    Ok(())
}

/// Reads a YAML text.
///
/// # Errors
/// What is wrong with it and where, in one line.
pub fn yaml(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        format!(
            "is not YAML: {}",
            error.without_snippet().to_string().replace('\n', " ")
        )
    })
}

/// Reads `value`, a whole document, as a `T`; an error names the key and repeats no value.
///
/// # Errors
/// [`Problem`].
pub fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let key = match error.path().to_string().as_str() {
            "." => "the file".to_owned(),
            path => path.to_owned(),
        };
        Problem::new(key, without_values(&error.inner().to_string()))
    })
}

fn read(value: &mut Value, base: &Path, environment: Environment<'_>) -> Result<Config, Problem> {
    reference::resolve(value, "", base, environment)?;
    typed(value)
}

/// serde's words without the value they quote: it may be a secret at the wrong key.
fn without_values(message: &str) -> String {
    for quoting in ["invalid type: ", "invalid value: ", "unknown variant "] {
        if message.starts_with(quoting)
            && let Some((_, expected)) = message.rsplit_once(", expected ")
        {
            return format!("expected {expected}");
        }
    }
    message.to_owned()
}

/// Puts `text` at `key` (`shim__cluster`), making the objects on the way.
fn overlay(value: &mut Value, name: &str, key: &str, text: &str) -> Result<(), Problem> {
    let mut at = value;
    for part in key.split(SEPARATOR) {
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Value::Object(fields) = at else {
            return Err(Problem::new(
                name,
                "leads into a value that is not an object: only keys of objects can be overridden",
            ));
        };
        at = fields.entry(part).or_insert(Value::Null);
    }
    *at = Value::String(text.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("natsgate.yaml");
        std::fs::write(&file, yaml).unwrap();
        let variables: Vec<_> = variables
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        load(&file, &variables)
            .map(|loaded| loaded.config)
            .map_err(|problem| problem.to_string())
    }

    const SHIM: &str = "shim:\n  cluster: one\n  nats: {servers: ['nats://a'], user: u, password: '${PW}'}\n  \
                        config_mode: {issuer_seed: '${PW}'}\n  accounts: [{name: APP}]\n";

    #[test]
    fn the_environment_overrides_the_file() {
        let config = loaded(
            SHIM,
            &[
                ("PW", "secret"),
                ("NATSGATE__SHIM__CLUSTER", "two"),
                ("NATSGATE__SHIM__MAX_IN_FLIGHT", "7"),
                ("NATSGATE__SHIM__NATS__SERVERS", "nats://b,nats://c"),
                ("NATSGATE__LOG__LEVEL", "debug"),
            ],
        )
        .unwrap();
        let shim = config.shim.unwrap();
        assert_eq!(shim.cluster, "two");
        assert_eq!(shim.max_in_flight, 7);
        assert_eq!(shim.nats.servers, ["nats://b", "nats://c"]);
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (yaml, variables, start) in [
            (
                "shim:\n  clutser: x\n",
                &[][..],
                "shim.clutser: unknown field `clutser`",
            ),
            ("shmi: {}\n", &[], "shmi: unknown field `shmi`"),
            (
                SHIM,
                &[],
                "shim.config_mode.issuer_seed: the environment variable PW is not set",
            ),
            (
                SHIM,
                &[("PW", "x"), ("NATSGATE__SHIM__MAX_IN_FLIGHT", "SUHIDDEN")],
                "shim.max_in_flight: expected a whole",
            ),
            (
                SHIM,
                &[("PW", "x"), ("NATSGATE__SHIM__ACCOUNTS__NAME", "x")],
                "NATSGATE__SHIM__ACCOUNTS__NAME: leads",
            ),
            (
                SHIM,
                &[("PW", "x"), ("NATSGATE__SHIM__MAX_SESSION", "SUHIDDEN")],
                "shim.max_session: expected",
            ),
            (
                SHIM,
                &[("PW", "x"), ("NATSGATE__shim__cluster", "x")],
                "NATSGATE__shim__cluster: looks like an override",
            ),
            (
                SHIM,
                &[("PW", "x"), ("NATSGATE_SHIM__CLUSTER", "x")],
                "NATSGATE_SHIM__CLUSTER: looks like an override",
            ),
        ] {
            let error = loaded(yaml, variables).unwrap_err();
            assert!(error.starts_with(start), "{error}");
            assert!(!error.contains("HIDDEN") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_yaml_says_where() {
        let error = loaded("shim: [\n", &[]).unwrap_err();
        assert!(error.contains("is not YAML") && error.contains("line"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
