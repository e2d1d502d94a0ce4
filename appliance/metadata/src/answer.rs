//! Which response a request gets.

use std::net::Ipv4Addr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use podzol_vocab::NetworkId;

use crate::facts::{Asker, Facts};
use crate::path::Path;
use crate::response::{Request, Response};
use crate::{ec2, nocloud, token};

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

const TOKEN_PATH: [&str; 3] = ["latest", "api", "token"];

impl Facts {
    /// The response to a request that came in on this network from this address. `now` is since any moment that stays the
    /// same, such as the router's start; only tokens depend on it.
    ///
    /// Who is no VM gets 404 whatever it asks for. Tokens are optional (EC2 calls it `HttpTokens=optional`), but one that is
    /// wrong, expired or another VM's is 401 for every path.
    pub fn answer(
        &self,
        network: NetworkId,
        from: Ipv4Addr,
        request: &Request<'_>,
        now: Duration,
    ) -> Response {
        let Some(asker) = self.asker(network, from) else { return Response::refusal(StatusCode::NOT_FOUND) };
        let path = match Path::parse(request.path) {
            Ok(path) => path,
            Err(status) => return Response::refusal(status),
        };
        let is_token = path.segments == TOKEN_PATH && !path.ends_in_slash;
        match *request.method {
            Method::PUT if is_token => self.token(asker, request.headers, now),
            Method::GET | Method::HEAD if is_token => Response::wrong_method("PUT"),
            Method::GET | Method::HEAD if !self.may_read(asker, request.headers, now) => {
                Response::refusal(StatusCode::UNAUTHORIZED)
            }
            Method::GET | Method::HEAD => {
                read(asker, &path).unwrap_or_else(|| Response::refusal(StatusCode::NOT_FOUND))
            }
            _ if is_token => Response::wrong_method("PUT"),
            _ => Response::wrong_method("GET, HEAD"),
        }
    }

    /// A new token. A proxy must not get one for somebody else, so none is given to what was forwarded.
    fn token(&self, asker: Asker<'_>, headers: &HeaderMap, now: Duration) -> Response {
        if headers.contains_key(FORWARDED) {
            return Response::refusal(StatusCode::FORBIDDEN);
        }
        let wanted = headers.get(TOKEN_TTL).and_then(|ttl| token::ttl_secs(ttl.as_bytes()));
        let Some(ttl_secs) = wanted else { return Response::refusal(StatusCode::BAD_REQUEST) };
        Response::text(self.key.sign(asker.vm.id, now, ttl_secs)).with(TOKEN_TTL, HeaderValue::from(ttl_secs))
    }

    fn may_read(&self, asker: Asker<'_>, headers: &HeaderMap, now: Duration) -> bool {
        let is_valid = |token: &HeaderValue| self.key.is_valid(token.as_bytes(), asker.vm.id, now);
        headers.get_all(TOKEN).iter().all(is_valid)
    }
}

fn read(asker: Asker<'_>, path: &Path) -> Option<Response> {
    let Some((root, rest)) = path.segments.split_first() else {
        return Some(Response::text(ec2::versions()));
    };
    match root.as_str() {
        "nocloud" => nocloud::tree(asker.vm).find(rest)?.response(path),
        version if ec2::UNDATED.contains(&version) => undated(asker, rest, path),
        version if ec2::DATED.contains(&version) => ec2::tree(asker).find(rest)?.response(path),
        _ => None,
    }
}

/// What is below `latest` or `1.0`, where CloudStack's clients ask too: keys as text, and leaves of `meta-data` also
/// without that before them (its script for keys asks for `latest/public-keys`).
fn undated(asker: Asker<'_>, rest: &[String], path: &Path) -> Option<Response> {
    let names: Vec<&str> = rest.iter().map(String::as_str).collect();
    if let (["public-keys"] | ["meta-data", "public-keys"], false) = (&names[..], path.ends_in_slash) {
        return Some(Response::text(ec2::keys_as_text(asker.vm)));
    }
    let tree = ec2::tree(asker);
    let short = || match rest {
        [leaf] => tree.find(&["meta-data".to_owned(), leaf.clone()]).filter(|node| !node.is_directory()),
        _ => None,
    };
    tree.find(rest).or_else(short)?.response(path)
}
