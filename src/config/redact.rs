//! The last line of defence for secrets in the wrong place: whatever looks like one is not repeated in an error.

/// What stands in its place.
const HIDDEN: &str = "(hidden)";

/// The length from which an unbroken run of letters and digits may be a secret.
const LONG: usize = 32;

/// `text` without what looks like a secret: nkey seeds, JWTs, PEM blocks and other long runs of mixed letters and digits. What
/// follows a line break is left out: a message is one line, a key often is not.
pub fn redact(text: &str) -> String {
    let first_line = text.lines().next().unwrap_or_default();
    if first_line.contains("-----BEGIN") {
        return format!(
            "{} {HIDDEN}",
            first_line
                .split("-----BEGIN")
                .next()
                .unwrap_or_default()
                .trim_end()
        );
    }
    let mut shown = String::new();
    let mut run = String::new();
    for c in first_line.chars() {
        if c.is_ascii_alphanumeric() {
            run.push(c);
        } else {
            shown.push_str(settle(&run));
            run.clear();
            shown.push(c);
        }
    }
    shown.push_str(settle(&run));
    shown
}

fn settle(run: &str) -> &str {
    let any = |kind: fn(&char) -> bool| run.chars().any(|c| kind(&c));
    // Public keys, which errors may well name, are in capitals too; seeds begin with S.
    let is_seed = run.len() > LONG && run.starts_with('S') && !any(char::is_ascii_lowercase);
    let is_jwt = run.len() > 10 && run.starts_with("eyJ");
    let mixed = any(char::is_ascii_lowercase) && any(char::is_ascii_uppercase) && any(char::is_ascii_digit);
    let is_token = run.len() >= LONG && mixed;
    if is_seed || is_jwt || is_token {
        HIDDEN
    } else {
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let seed = format!("SU{}", "A".repeat(56));
        let token = format!("eyJ{}.eyJ{}.c2ln", "a".repeat(10), "b".repeat(10));
        let random = "a1B2".repeat(12);
        for secret in [&seed, &token, &random] {
            let shown = redact(&format!("the file {secret} cannot be read: No such file"));
            assert!(
                !shown.contains(secret.as_str()) && shown.starts_with("the file (hidden)"),
                "{shown}"
            );
        }
        assert_eq!(redact("x -----BEGIN PRIVATE KEY-----\nabc"), "x (hidden)");
        assert_eq!(redact("x\nabc"), "x");
    }

    #[test]
    fn ordinary_words_stay() {
        let account = format!("A{}", "B".repeat(55));
        for plain in [
            "shim.nats.creds: /run/secrets/callout.creds cannot be read: No such file",
            &account,
            "",
        ] {
            assert_eq!(redact(plain), plain);
        }
    }
}
