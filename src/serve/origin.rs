//! Origins of web pages (RFC 6454): scheme, host and port, as browsers write them.

/// Normalizes an origin to the form that browsers send: lower case, without the default port of the
/// scheme. `*` (any origin) and `null` (pages without an origin) are returned unchanged.
///
/// # Errors
/// A message that says what was expected, when `text` is not an origin.
pub fn normalized(text: &str) -> Result<String, String> {
    if text == "*" || text == "null" {
        return Ok(text.into());
    }
    let expected =
        |what: &str| format!("expected {what}, as in https://speech.example.org or http://192.168.1.5:8080");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| expected("scheme://host[:port]"))?;
    let good = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(good) {
        return Err(expected("a scheme before ://"));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(expected("only scheme, host and port"));
    }
    let (host, port) =
        split(authority).ok_or_else(|| expected("a port from 1 to 65535 after the host's colon"))?;
    let in_brackets = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    if !is_host {
        return Err(expected("a host's name (in ASCII: xn--…) or address"));
    }
    let scheme = scheme.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    Ok(match port.filter(|port| Some(*port) != default_port(&scheme)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// Splits host and port; an IPv6 address must be in brackets.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_brackets..].split_once(':') {
        None => Some((authority, None)),
        Some((before, port)) => {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some((&authority[..after_brackets + before.len()], Some(port)))
        }
    }
}

/// The default port of a scheme.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_become_what_browsers_send() {
        for (text, expected) in [
            ("https://Speech.Example.ORG", "https://speech.example.org"),
            ("https://speech.example.org/", "https://speech.example.org"),
            ("https://speech.example.org:443", "https://speech.example.org"),
            ("http://speech.example.org:443", "http://speech.example.org:443"),
            ("HTTP://localhost:80", "http://localhost"),
            ("http://[::1]:2700", "http://[::1]:2700"),
            ("http://[::1]:80", "http://[::1]"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("null", "null"),
            ("*", "*"),
        ] {
            assert_eq!(normalized(text).as_deref(), Ok(expected));
        }
        for text in [
            "",
            "speech.example.org",
            "://speech.example.org",
            "https://",
            "https:///",
            "https://speech.example.org/page",
            "https://me@speech.example.org",
            "https://speech.example.org:0",
            "https://speech.example.org:https",
            "https://speech example.org",
            "https://*.example.org",
            "https://[::1",
            "https://sprächen.example",
            "Null",
        ] {
            assert!(normalized(text).is_err(), "{text}");
        }
    }
}
