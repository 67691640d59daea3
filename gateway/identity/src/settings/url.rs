//! Which URLs a provider may be reached at: https, or plain http where nobody can listen in.

use std::net::IpAddr;

use ::url::{Host, Url};

/// Reads a URL out of a setting or a discovery document.
///
/// # Errors
/// What is wrong with it, in words that do not repeat it (a query may hold a key).
pub(crate) fn parse(text: &str, allow_http: bool) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("not a URL ({error}); write it in full, with https://"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http || is_loopback(&url) => {}
        "http" => {
            return Err(
                "plain http to another host could be read and changed on the way: use https, or set `allow_http: true` \
                 if the network is trusted"
                    .to_owned(),
            );
        }
        _ => return Err("only https (and http on loopback) is spoken: use an https URL".to_owned()),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password, which would end up in logs: remove them".to_owned());
    }
    if url.fragment().is_some() {
        return Err("it has a fragment (#…), which no server ever sees: remove it".to_owned());
    }
    Ok(url)
}

/// Whether `url` stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// The URL as it may stand in a log: without its query.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_unless_allowed() {
        for good in [
            "https://login.example.com",
            "http://127.0.0.1:8080/x",
            "http://[::1]/",
            "http://localhost:1",
        ] {
            assert!(parse(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://login.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "login.example.com",
            "https://user:pw@login.example.com",
            "https://login.example.com/#x",
            "",
        ] {
            assert!(parse(bad, false).is_err(), "{bad}");
        }
        assert!(parse("http://login.example.com", true).is_ok());
        assert!(parse("ftp://login.example.com", true).is_err());
    }

    #[test]
    fn a_shown_url_has_no_query() {
        let url = parse("https://a.example/jwks?key=hidden", false).unwrap();
        assert_eq!(shown(&url), "https://a.example/jwks");
    }
}
