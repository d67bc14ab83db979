//! Who may connect: a bearer token, and which web pages.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::origin;

/// How browsers, which cannot set headers on websockets, bring the token: as a subprotocol.
pub const TOKEN_PROTOCOL: &str = "bearer.";

/// The rules of one server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whoever connects must have it.
    pub token: Option<String>,
    /// Origins (`https://speech.example.org`, as [`origin::normalized`] has them) whose pages may
    /// connect besides our own; `*` is all of them.
    pub origins: Vec<String>,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Token,
    Origin,
}

impl Access {
    /// Checks a request.
    ///
    /// # Errors
    /// When the token is wrong, or the request is a foreign page's.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        self.check_origin(headers)?;
        let Some(token) = &self.token else { return Ok(()) };
        let is_it = |found: &str| equal(found.as_bytes(), token.as_bytes());
        let from_header = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
            let (scheme, value) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| value.trim())
        });
        let from_protocol = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|value| value.trim().strip_prefix(TOKEN_PROTOCOL));
        let from_query =
            uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("token="));
        if from_header.chain(from_protocol).chain(from_query).any(is_it) {
            Ok(())
        } else {
            Err(Refusal::Token)
        }
    }

    /// The origin of a request that comes from a page of another host which may read our answers.
    pub fn foreign_page<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        headers.get(header::ORIGIN).filter(|origin| origin.to_str().is_ok_and(|origin| self.allows(origin)))
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|o| o == "*" || o.trim_end_matches('/') == origin)
    }

    /// Browsers name the page's origin. Our own page's host is the one that the request was sent
    /// to; that it is an address or `localhost` makes sure that no foreign name was pointed at
    /// us (DNS rebinding). Other programs send no origin.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().map_err(|_| Refusal::Origin)?;
            let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
            // The port that goes without saying may be said in one and not in the other.
            let ours = origin.split_once("://").is_some_and(|(scheme, page)| {
                let sent_to = origin::normalized(&format!("{scheme}://{host}"));
                !page.is_empty()
                    && is_address(host)
                    && sent_to.is_ok()
                    && sent_to == origin::normalized(origin)
            });
            if !ours && !self.allows(origin) {
                return Err(Refusal::Origin);
            }
        }
        Ok(())
    }
}

/// Whether a host (with or without port) is an IP address or `localhost`.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// Compares in a time that tells nothing but the length.
fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0, |d, (x, y)| std::hint::black_box(d | (x ^ y)));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, headers: &[(header::HeaderName, &str)], uri: &str) -> Result<(), Refusal> {
        let headers = headers.iter().map(|(k, v)| (k.clone(), v.parse().expect("a header"))).collect();
        access.check(&headers, &uri.parse().expect("a URI"))
    }

    #[test]
    fn the_token_comes_by_header_subprotocol_or_query() {
        let access = Access { token: Some("secret".into()), origins: Vec::new() };
        assert_eq!(check(&access, &[], "/"), Err(Refusal::Token));
        assert_eq!(check(&access, &[(header::AUTHORIZATION, "Bearer secreT")], "/"), Err(Refusal::Token));
        assert_eq!(check(&access, &[(header::AUTHORIZATION, "bearer secret")], "/"), Ok(()));
        assert_eq!(
            check(&access, &[(header::SEC_WEBSOCKET_PROTOCOL, "hearken, bearer.secret")], "/"),
            Ok(())
        );
        assert_eq!(check(&access, &[], "/?a=b&token=secret"), Ok(()));
        assert_eq!(check(&access, &[], "/?token=secret2"), Err(Refusal::Token));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let page = |host: &str, origin: &str, origins: &[&str]| {
            let access = Access { token: None, origins: origins.iter().map(|o| o.to_string()).collect() };
            check(&access, &[(header::HOST, host), (header::ORIGIN, origin)], "/")
        };
        assert_eq!(page("127.0.0.1:2700", "http://127.0.0.1:2700", &[]), Ok(()));
        assert_eq!(page("localhost:2700", "http://localhost:2700", &[]), Ok(()));
        assert_eq!(page("[::1]:2700", "http://[::1]:2700", &[]), Ok(()));
        assert_eq!(page("localhost:80", "http://localhost", &[]), Ok(()));
        assert_eq!(page("127.0.0.1:443", "https://127.0.0.1", &[]), Ok(()));
        assert_eq!(page("127.0.0.1:443", "http://127.0.0.1", &[]), Err(Refusal::Origin));
        assert_eq!(page("127.0.0.1:2700", "http://127.0.0.1:8000", &[]), Err(Refusal::Origin));
        assert_eq!(page("127.0.0.1:2700", "https://evil.example", &[]), Err(Refusal::Origin));
        assert_eq!(page("127.0.0.1:2700", "null", &[]), Err(Refusal::Origin));
        assert_eq!(
            page("evil.example:2700", "http://evil.example:2700", &[]),
            Err(Refusal::Origin),
            "rebinding"
        );
        let own = "https://speech.example.org";
        assert_eq!(page("speech.example.org", own, &[own]), Ok(()));
        assert_eq!(page("127.0.0.1:2700", "https://any.example", &["*"]), Ok(()));
    }
}
