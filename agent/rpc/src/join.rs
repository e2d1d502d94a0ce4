//! How a server gets its identity: with a one-time token, once.
//!
//! The token names the server, carries a secret, and pins the authority by fingerprint. So the server knows that it
//! speaks to its own management service before it shows the secret, and the operator carries one string and no file.
//! The key is made on the server and never leaves it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use podzol_vocab::{Invalid, Secret, Sha256};
use serde::{Deserialize, Serialize};

use crate::client::{AddressBook, CallError, Client};
use crate::endpoint::Endpoint;
use crate::identity::{Identity, IdentityError, new_key_and_request};
use crate::peer::PeerId;
use crate::tls;

/// A one-time token: who the server will be, a secret of 32 bytes, and the authority's fingerprint. Its text is
/// `podzol-join.<identity>.<secret>.<fingerprint>` in URL-safe base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The identity that the server gets.
    pub peer: PeerId,
    /// The secret by which the management service knows the token.
    pub secret: Secret<[u8; 32]>,
    /// SHA-256 of the authority's certificate.
    pub authority: Sha256,
}

impl JoinToken {
    /// The token's text, to be shown once to the operator.
    pub fn reveal(&self) -> Secret<String> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Secret::new(format!(
            "podzol-join.{}.{}.{}",
            encode(self.peer.to_string().as_bytes()),
            encode(self.secret.expose()),
            self.authority
        ))
    }
}

impl FromStr for JoinToken {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = || Invalid::new("must be a join token, whole, as the management service printed it");
        let parts: Vec<&str> = text.trim().split('.').collect();
        let ["podzol-join", peer, secret, authority] = parts[..] else { return Err(rule()) };
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| rule());
        let peer = String::from_utf8(decode(peer)?).map_err(|_| rule())?;
        let secret: [u8; 32] = decode(secret)?.try_into().map_err(|_| rule())?;
        Ok(Self { peer: peer.parse()?, secret: Secret::new(secret), authority: authority.parse()? })
    }
}

/// Asks the management service for a certificate; needs no certificate itself.
#[derive(Debug)]
pub struct Join;

/// The request for a certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token, as the operator got it.
    pub token: Secret<String>,
    /// A certificate signing request (PEM, RFC 2986) for the server's new key.
    pub certificate_request: String,
}

/// The certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The server's certificate (PEM).
    pub certificate_pem: String,
    /// The authority's certificate (PEM).
    pub ca_pem: String,
}

impl Endpoint for Join {
    const METHOD: Method = Method::POST;
    const ROUTE: &'static str = "/v1/join";
    type Path = ();
    type Request = JoinRequest;
    type Answer = JoinAnswer;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// Why a server could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A key could not be made or used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The management service did not give a certificate.
    #[error("cannot get a certificate from the management service at {address}")]
    Call {
        /// Where it was looked for.
        address: String,
        /// What went wrong.
        source: CallError,
    },
}

/// How often the management service is asked while no answer comes. It gives the same key the same answer.
const ATTEMPTS: u32 = 4;

/// How long an answer may take, and how long to wait before asking again.
const DEADLINE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);

/// Joins: makes a key, gets a certificate for it from the management service at `address` (`host:port`).
///
/// # Errors
/// When the management service refuses the token, is not reached, or is not of the authority that the token names.
pub async fn join(address: &str, token: &JoinToken) -> Result<Identity, JoinError> {
    let (key_pem, certificate_request) = new_key_and_request()?;
    let book = AddressBook::default();
    book.set(PeerId::Management, address);
    let client = Client::pinned(tls::pinned_client_config(token.authority)?, book);
    let request = JoinRequest { token: token.reveal(), certificate_request };
    let mut attempt = 1;
    let answer = loop {
        match client.call::<Join>(PeerId::Management, &(), &request, DEADLINE).await {
            Ok(answer) => break answer,
            Err(CallError::NoAnswer { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(source) => return Err(JoinError::Call { address: address.to_owned(), source }),
        }
        tokio::time::sleep(PAUSE).await;
    };
    Ok(Identity { ca_pem: answer.ca_pem, certificate_pem: answer.certificate_pem, key_pem })
}

impl fmt::Display for JoinToken {
    /// Everything but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "join token for {}", self.peer)
    }
}

#[cfg(test)]
mod tests {
    use podzol_vocab::HostId;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            peer: PeerId::Host(HostId::new()),
            secret: Secret::new([7; 32]),
            authority: Sha256::from_bytes([9; 32]),
        }
    }

    #[test]
    fn a_token_survives_its_text_and_a_trailing_newline() {
        let text = format!("{}\n", token_text(&token()));
        assert_eq!(text.parse::<JoinToken>().unwrap().secret, Secret::new([7; 32]));
    }

    #[test]
    fn a_shortened_or_foreign_token_is_refused() {
        let text = token_text(&token());
        for bad in ["", "podzol-join", &text[1..], &text[..text.len() - 1], &text.replace('.', "-")] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_shows_no_secret() {
        assert!(!format!("{} {:?}", token(), token()).contains("BwcH"));
    }

    fn token_text(token: &JoinToken) -> String {
        token.reveal().expose().clone()
    }
}
