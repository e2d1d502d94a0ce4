//! The page and its assets, which are in this program: `build.rs` puts `viewer/dist` there.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use podzol_console_proxy_api::Origin;

use super::answer::{Answer, pieces, whole};
use super::fault::Fault;

include!(concat!(env!("OUT_DIR"), "/viewer.rs"));

/// What stands in the document where a nonce is to be.
const PLACE: &str = "__PODZOL_NONCE__";

/// The document. Browsers may connect to this host, and to where pages resume.
pub(crate) fn document(host: &str, resume: &[Origin]) -> Answer {
    let nonce = crate::cookie::random::<16>();
    let mut answer = pieces("text/html; charset=utf-8", with_nonce(DOCUMENT, &nonce));
    if let Ok(policy) = HeaderValue::try_from(policy(&nonce, host, resume)) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

/// The document in pieces, of which only the nonces are memory of its own.
fn with_nonce(document: &'static str, nonce: &str) -> impl Iterator<Item = Bytes> {
    let nonce = Bytes::copy_from_slice(nonce.as_bytes());
    let parts = document.split(PLACE).enumerate();
    parts.flat_map(move |(number, part)| {
        let before = if number > 0 { nonce.clone() } else { Bytes::new() };
        [before, Bytes::from_static(part.as_bytes())]
    })
}

/// An asset. Its name changes with its contents.
pub(crate) fn asset(name: &str) -> Result<Answer, Fault> {
    let found = ASSETS.iter().find(|(known, _)| *known == name);
    let (name, bytes) = found.ok_or(Fault::NotFound)?;
    let mut answer = whole(kind(name), *bytes);
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(header::CACHE_CONTROL, forever);
    Ok(answer)
}

fn policy(nonce: &str, host: &str, resume: &[Origin]) -> String {
    // A host of any other form never gets here, and must not end up in a header.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let socket =
        if !host.is_empty() && host.bytes().all(is_host) { format!(" wss://{host}") } else { String::new() };
    let resume: String = resume.iter().map(|origin| format!(" {origin}")).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' blob: data:; \
         font-src 'self'; worker-src 'self' blob:; connect-src 'self'{socket}{resume}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_host_and_where_pages_resume_and_nothing_that_a_request_makes_up() {
        let origins = ["https://cloud.example:8443".parse().unwrap()];
        let good = policy("n", "1-2-3-4.console.example:8443", &origins);
        assert!(
            good.contains(
                "connect-src 'self' wss://1-2-3-4.console.example:8443 https://cloud.example:8443;"
            )
        );
        assert!(!policy("n", "x; script-src *", &origins).contains("script-src *"));
    }

    #[test]
    fn a_nonce_stands_wherever_there_is_a_place_for_it() {
        let text = |document| with_nonce(document, "abc").flatten().map(char::from).collect::<String>();
        assert_eq!(text("<a n=__PODZOL_NONCE__ m=__PODZOL_NONCE__>"), "<a n=abc m=abc>");
        assert_eq!(text("<a>"), "<a>");
    }

    #[test]
    fn an_asset_that_is_not_there_is_not_found() {
        assert_eq!(asset("../Cargo.toml").unwrap_err().code(), "not_found");
    }
}
