//! Access control: the bearer token, the origin of web pages, and the host name of the request.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use subtle::ConstantTimeEq;

use super::origin;

/// Prefixes of the websocket subprotocols that carry the token, for browsers, which cannot set headers:
/// hearken's own, and OpenAI's.
const TOKEN_PROTOCOLS: [&str; 2] = ["bearer.", "openai-insecure-api-key."];

/// The access rules of one server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The token that every client must send; `None` if none is required.
    pub token: Option<String>,
    /// Origins (`https://speech.example.org`, in the form of [`origin::normalized`]) whose pages may
    /// connect in addition to the server's own, and whose host names are accepted in `Host`; `*` is any
    /// origin.
    pub origins: Vec<String>,
}

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// The request comes from a page whose origin is not allowed.
    Origin,
    /// The host name of the request is not one of the server's, as in an attack by DNS rebinding.
    Host,
}

impl Access {
    /// Checks the headers and the URI of a request.
    ///
    /// # Errors
    /// The reason for which the request must be refused.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        self.check_origin(headers)?;
        let Some(token) = &self.token else { return self.check_host(headers) };
        // In constant time, so that response times reveal nothing about the token.
        let is_it = |found: &str| bool::from(found.as_bytes().ct_eq(token.as_bytes()));
        let from_header = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
            let (scheme, value) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| value.trim())
        });
        let from_protocol = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|value| TOKEN_PROTOCOLS.iter().find_map(|prefix| value.trim().strip_prefix(prefix)));
        let from_query =
            uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("token="));
        if from_header.chain(from_protocol).chain(from_query).any(is_it) {
            Ok(())
        } else {
            Err(Refusal::Token)
        }
    }

    /// The `Origin` of a request if it is an allowed one, for CORS headers in the response.
    pub fn foreign_page<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        headers.get(header::ORIGIN).filter(|origin| origin.to_str().is_ok_and(|origin| self.allows(origin)))
    }

    /// Checks `Host` against DNS rebinding: the owner of a page can make the page's own name resolve to
    /// this server, and the browser then sees a request to the page's own host and sends no `Origin`. So
    /// the name must be local, or that of an allowed origin. A page does not have the token: if one is
    /// required, this check is not needed.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_allowed = |host: &str| {
            let name = name_of(host);
            let is_named =
                |origin: &String| origin.split_once("://").is_some_and(|(_, o)| name_of(o) == name);
            is_local_name(host) || self.origins.iter().any(|o| o == "*" || is_named(o))
        };
        let mut hosts = headers.get_all(header::HOST).iter();
        let all = hosts.all(|host| host.to_str().is_ok_and(is_allowed));
        if all { Ok(()) } else { Err(Refusal::Host) }
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|o| o == "*" || o.trim_end_matches('/') == origin)
    }

    /// Checks `Origin`, which browsers send and other programs do not. The origin of the server's own page
    /// equals the host of the request; that this host must be local excludes DNS rebinding.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().map_err(|_| Refusal::Origin)?;
            let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
            // Either may include or omit the default port of the scheme: compare normalized forms.
            let ours = origin.split_once("://").is_some_and(|(scheme, page)| {
                let sent_to = origin::normalized(&format!("{scheme}://{host}"));
                !page.is_empty()
                    && is_local_name(host)
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

/// The name or address in a `Host` header, without the port and in lower case.
fn name_of(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Domains that do not exist in the public DNS.
const LOCAL_DOMAINS: [&str; 5] = [".localhost", ".local", ".internal", ".home.arpa", ".lan"];

/// Whether a host (with or without port) is an IP address or a name that cannot be registered publicly: a
/// single label, or a name in a local domain.
fn is_local_name(host: &str) -> bool {
    let name = name_of(host);
    let is_local = !name.contains('.') || LOCAL_DOMAINS.iter().any(|domain| name.ends_with(domain));
    is_local || name.parse::<std::net::IpAddr>().is_ok()
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
        let openai = "realtime, openai-insecure-api-key.secret";
        assert_eq!(check(&access, &[(header::SEC_WEBSOCKET_PROTOCOL, openai)], "/"), Ok(()));
        assert_eq!(check(&access, &[], "/?a=b&token=secret"), Ok(()));
        assert_eq!(check(&access, &[], "/?token=secret2"), Err(Refusal::Token));
    }

    #[test]
    fn without_a_token_the_host_is_local_or_allowed() {
        let host = |host: &str, origins: &[&str], token: Option<&str>| {
            let origins = origins.iter().map(|o| o.to_string()).collect();
            let access = Access { token: token.map(String::from), origins };
            check(&access, &[(header::HOST, host)], "/metrics?token=secret")
        };
        for local in ["127.0.0.1:2700", "localhost", "[::1]:2700", "[fe80::1]", "192.168.1.5:2700"] {
            assert_eq!(host(local, &[], None), Ok(()), "{local}");
        }
        for local in ["hearken:2700", "SPEECHBOX", "speechbox.local:2700", "localhost.", "a.localhost"] {
            assert_eq!(host(local, &[], None), Ok(()), "{local}");
        }
        for foreign in
            ["evil.example:2700", "evil.example.:2700", "127.0.0.1.evil.example", "local.evil.example"]
        {
            assert_eq!(host(foreign, &[], None), Err(Refusal::Host), "{foreign}");
        }
        let own = "https://speech.example.org";
        assert_eq!(host("speech.example.org:2700", &[own], None), Ok(()));
        assert_eq!(host("other.example.org", &[own], None), Err(Refusal::Host));
        assert_eq!(host("any.example", &["*"], None), Ok(()));
        assert_eq!(host("any.example", &[], Some("secret")), Ok(()), "a page does not have the token");
        assert_eq!(check(&Access::default(), &[], "/"), Ok(()), "HTTP/1.0");
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
