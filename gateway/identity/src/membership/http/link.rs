//! The `Link` header (RFC 8288), as far as it says where a list goes on.
//!
//! Read strictly: a header that cannot be read may be the one that says so.

use reqwest::header::{HeaderMap, LINK};

/// The target of the link with `rel="next"`, as it stands in the header; `None` if there is no such link.
///
/// # Errors
/// If a header cannot be read, or there are two such links.
pub(super) fn next(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut next = None;
    for header in headers.get_all(LINK) {
        let text = header.to_str().map_err(|_| "a `Link` header is not ASCII")?;
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (target, relations, after) = link(rest).ok_or("a `Link` header cannot be read")?;
            let is_next = relations
                .split(' ')
                .any(|relation| relation.eq_ignore_ascii_case("next"));
            if is_next
                && next
                    .replace(target.to_owned())
                    .is_some_and(|other| other != target)
            {
                return Err("the `Link` header names two next pages");
            }
            rest = after;
        }
    }
    Ok(next)
}

/// One link: its target, its relations, and what comes after it.
fn link(text: &str) -> Option<(&str, String, &str)> {
    let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let mut relations = None;
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(',') {
            // Empty elements are to be passed over (RFC 9110 section 5.6.1).
            let after = after.trim_start_matches([',', ' ', '\t']);
            return Some((target, relations.unwrap_or_default(), after));
        }
        if rest.is_empty() {
            return Some((target, relations.unwrap_or_default(), rest));
        }
        let (name, value, after) = parameter(rest.strip_prefix(';')?.trim_start())?;
        // The first one counts (section 3.3).
        if name.eq_ignore_ascii_case("rel") && relations.is_none() {
            relations = Some(value);
        }
        rest = after;
    }
}

/// One parameter: its name, its value without quotes, and what comes after it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let Some(value) = rest.strip_prefix('=') else {
        return Some((name.trim(), String::new(), rest));
    };
    let value = value.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find([';', ',']).unwrap_or(value.len());
        let (value, rest) = value.split_at_checked(end)?;
        return Some((name.trim(), value.trim().to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name.trim(), value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        next(&headers)
    }

    #[test]
    fn the_next_page_is_found_among_other_links() {
        for values in [
            &["</p?page=2>; rel=\"next\""][..],
            &["</p?page=2>;rel=next"],
            &["</p?page=2>; REL=NEXT"],
            &["</p?page=2>; title=\"a, b; \\\"c\\\"\"; rel=\"prefetch next\""],
            &["</p?page=9>; rel=\"last\", </p?page=2>; rel=\"next\" , </p>; rel=\"first\""],
            &["</p?page=9>; rel=\"last\"", "</p?page=2>; rel=\"next\""],
            &["</p?page=2>; rel=next; rel=last, </p?page=2>; rel=next"],
            &["</p?page=9>; rel=last,, </p?page=2>; crossorigin; rel=next"],
        ] {
            assert_eq!(of(values), Ok(Some("/p?page=2".to_owned())), "{values:?}");
        }
    }

    #[test]
    fn no_next_page_is_the_end() {
        for values in [
            &[][..],
            &[""],
            &["</p>; rel=\"last\""],
            &["</p>"],
            &["</p>; rel=\"nextish\""],
            &["</p>; rel=last; rel=next"],
        ] {
            assert_eq!(of(values), Ok(None), "{values:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_the_end() {
        for values in [
            &["next"][..],
            &["/p; rel=next"],
            &["</p; rel=next"],
            &["</p> rel=next"],
            &["</p>; rel=\"next"],
            &["</p>; rel=\"last\" next"],
            &["</p?page=2>; rel=next, </p?page=3>; rel=next"],
            &["</p>; rel=last", "</p"],
        ] {
            assert!(of(values).is_err(), "{values:?}");
        }
    }
}
