//! Finding a claim by the name a setting gives it.

use serde_json::{Map, Value};

/// The claim at `path`: the claim of exactly that name, or else the one reached by going down one object at every
/// dot (`realm_access.roles`).
///
/// The whole name comes first because namespaced claims have dots of their own (`https://example.com/roles`). A JSON
/// `null` is the same as no claim.
pub(crate) fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let found = claims.get(path).or_else(|| walk(claims, path));
    found.filter(|value| !value.is_null())
}

fn walk<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut steps = path.split('.');
    let mut value = claims.get(steps.next()?)?;
    for step in steps {
        value = value.as_object()?.get(step)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_found_by_its_whole_name_or_by_its_path() {
        let claims = json!({
            "a": {"b": {"c": 1}, "n": null},
            "https://example.com/roles": ["x"],
            "a.b": 2,
        });
        let claims = claims.as_object().unwrap();
        assert_eq!(find(claims, "a.b.c"), Some(&json!(1)));
        assert_eq!(find(claims, "a.b"), Some(&json!(2)));
        assert_eq!(find(claims, "https://example.com/roles"), Some(&json!(["x"])));
        assert_eq!(find(claims, "a.n"), None);
        assert_eq!(find(claims, "a.b.c.d"), None);
        assert_eq!(find(claims, ""), None);
    }
}
