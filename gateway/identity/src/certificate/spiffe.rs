//! SPIFFE ids: `spiffe://trust-domain/path` (SPIFFE-ID section 2).

/// The longest id, in bytes (section 2.3).
const MAX_BYTES: usize = 2048;

/// The longest trust domain, in bytes (section 2.1).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// The trust domain of `id`, if it is the id of a workload: a valid one that has a path (X.509-SVID section 4.1).
pub(super) fn trust_domain(id: &str) -> Option<&str> {
    if id.len() > MAX_BYTES {
        return None;
    }
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let in_segment = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let good_domain =
        !domain.is_empty() && domain.len() <= MAX_TRUST_DOMAIN_BYTES && domain.bytes().all(in_domain);
    // No segment is empty, so there is no slash at the end either; none is relative.
    let good_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_segment);
    (good_domain && path.split('/').all(good_segment)).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ids_of_workloads_have_a_trust_domain() {
        assert_eq!(
            trust_domain("spiffe://prod.example/ns/a/sa/b-1_2.3"),
            Some("prod.example")
        );
        let long = format!("spiffe://a/{}", "x".repeat(2048));
        for bad in [
            "",
            "spiffe://",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe:///a",
            "spiffe://prod.example/a/",
            "spiffe://prod.example//a",
            "spiffe://prod.example/a/../b",
            "spiffe://prod.example/./b",
            "spiffe://prod.example:80/a",
            "spiffe://user@prod.example/a",
            "spiffe://prod.example/a?x=1",
            "spiffe://prod.example/a#x",
            "spiffe://prod.example/a%2fb",
            "spiffe://Prod.example/a",
            "SPIFFE://prod.example/a",
            "https://prod.example/a",
            "spiffe://prod.example/é",
            &long,
        ] {
            assert_eq!(trust_domain(bad), None, "{bad}");
        }
    }
}
