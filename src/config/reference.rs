//! References in configuration values: `${NAME}` for the environment, `${file:PATH}` for a file's content.
//!
//! They may stand anywhere in a text; `$${` is a plain `${`. A file's trailing line end is left out. Paths are relative
//! to the configuration file.

use std::path::Path;

use serde_json::Value;
use zeroize::Zeroize;

use super::problem::Problem;

/// Where environment variables are looked up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces all references in `value`, which stands at `key`.
///
/// # Errors
/// The first reference that leads nowhere.
pub fn resolve(
    value: &mut Value,
    key: &str,
    base: &Path,
    environment: Environment<'_>,
) -> Result<(), Problem> {
    match value {
        Value::String(text) if text.contains("${") => {
            let resolved = expand(text, base, environment).map_err(|problem| Problem::new(key, problem))?;
            *text = resolved;
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter_mut().enumerate() {
                resolve(entry, &format!("{key}[{index}]"), base, environment)?;
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                resolve(field, &key, base, environment)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Overwrites all texts in `value`: some of them were secrets.
pub fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(entries) => entries.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        _ => {}
    }
}

fn expand(text: &str, base: &Path, environment: Environment<'_>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let (reference, after) = after
            .split_once('}')
            .ok_or("a reference is not closed: write ${NAME} or ${file:PATH}, or $${ for ${")?;
        let mut found = look_up(reference, base, environment)?;
        expanded.push_str(&found);
        found.zeroize();
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn look_up(reference: &str, base: &Path, environment: Environment<'_>) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let path = base.join(path);
        let mut content = std::fs::read_to_string(&path)
            .map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?;
        let trimmed = content.trim_end_matches(['\r', '\n']).len();
        content.truncate(trimmed);
        return Ok(content);
    }
    let is_name = reference.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !reference.is_empty();
    if !is_name {
        return Err("a reference is ${NAME}, an environment variable, or ${file:PATH}".to_owned());
    }
    environment(reference).ok_or_else(|| {
        format!("the environment variable {reference} is not set: set it, or write the value here")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "SEED").then(|| "SU-value".to_owned())
    }

    fn resolved(mut value: Value, base: &Path) -> Result<Value, String> {
        resolve(&mut value, "", base, &environment).map_err(|problem| problem.to_string())?;
        Ok(value)
    }

    #[test]
    fn references_are_replaced_wherever_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("seed"), "from file\n").unwrap();
        let value = json!({ "a": ["x-${SEED}-y", { "b": "${file:seed}" }], "c": "$${SEED}", "d": 1 });
        assert_eq!(
            resolved(value, dir.path()).unwrap(),
            json!({ "a": ["x-SU-value-y", { "b": "from file" }], "c": "${SEED}", "d": 1 })
        );
    }

    #[test]
    fn what_leads_nowhere_names_its_key() {
        for (bad, key) in [
            (json!({ "a": { "b": "${NOT_SET}" } }), "a.b"),
            (json!({ "a": ["${file:none}"] }), "a[0]"),
            (json!({ "a": "${SEED" }), "a"),
            (json!({ "a": "${}" }), "a"),
            (json!({ "a": "${SEED:-default}" }), "a"),
        ] {
            let error = resolved(bad, Path::new("/nonexistent")).unwrap_err();
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        }
    }
}
