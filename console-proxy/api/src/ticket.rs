//! Tickets: what the management service gives a browser for a proxy to let it in.
//!
//! A ticket is `base64url(claims) "." base64url(signature)`: claims are JSON, and the signature is Ed25519 (RFC 8032) over the
//! text before the dot. It stands in a link's fragment, which browsers send to nobody, so it is in no log; it lives a minute,
//! is exchanged once, and names the session and the server that it is for.
//!
//! Design notes: no JWT, whose header lets the sender choose how it is checked. No MAC, whose key every proxy would have and
//! could make tickets for others with. A key is known by its own first bytes, so that no name can point to another.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, Invalid, Secret};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The longest that a ticket lives, in seconds.
pub const TICKET_SECS: u64 = 60;

/// How far clocks of the management service and a proxy may be apart, in seconds.
const SKEW_SECS: u64 = 10;

/// The longest ticket, in bytes: more than one takes whose numbers are as long as they get.
const MAX_TICKET: usize = 1024;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The form of tickets: 1.
    pub v: u8,
    /// The key that signs it.
    pub kid: TicketKeyId,
    /// The session that it opens.
    pub session: ConsoleSessionId,
    /// The proxy server that it is for.
    pub server: ConsoleServerId,
    /// When it was made, in Unix seconds.
    pub iat: u64,
    /// Until when it can be exchanged, in Unix seconds.
    pub exp: u64,
    /// What no other ticket has: 16 random bytes.
    pub nonce: Nonce,
}

/// What no other ticket has.
pub type Nonce = Bytes<16>;

/// By which a key is known: its first 8 bytes.
pub type TicketKeyId = Bytes<8>;

/// A ticket as text. It is a secret for a minute.
pub type Ticket = Secret<String>;

/// A key that makes tickets.
#[derive(Debug)]
pub struct TicketSigner(Ed25519KeyPair);

impl TicketSigner {
    /// The key of these 32 secret bytes.
    pub fn new(seed: &Secret<[u8; 32]>) -> Self {
        Self(
            Ed25519KeyPair::from_seed_unchecked(seed.expose())
                .expect("every 32 bytes are a key (RFC 8032, 5.1.5)"),
        )
    }

    /// The key that proxies verify its tickets with.
    pub fn key(&self) -> TicketKey {
        let bytes = self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        TicketKey(Bytes(bytes))
    }

    /// A ticket for a session, from now (Unix seconds) on and for [`TICKET_SECS`], with a nonce that was never used.
    pub fn sign(
        &self,
        session: ConsoleSessionId,
        server: ConsoleServerId,
        now: u64,
        nonce: [u8; 16],
    ) -> Ticket {
        let kid = self.key().id();
        self.sign_claims(&Claims {
            v: 1,
            kid,
            session,
            server,
            iat: now,
            exp: now + TICKET_SECS,
            nonce: Bytes(nonce),
        })
    }

    /// A ticket with these claims, whatever they are.
    pub fn sign_claims(&self, claims: &Claims) -> Ticket {
        let json = serde_json::to_vec(claims).expect("claims have nothing that JSON lacks");
        let text = URL_SAFE_NO_PAD.encode(json);
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(text.as_bytes()));
        Secret::new(format!("{text}.{signature}"))
    }
}

/// A key that tickets are verified with. Its text is base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketKey(Bytes<32>);

impl TicketKey {
    /// The key of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Bytes(bytes))
    }

    /// By which it is known.
    pub fn id(&self) -> TicketKeyId {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.0[..8]);
        Bytes(first)
    }
}

/// Why a ticket is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It is no ticket.
    #[error("the ticket is malformed")]
    Malformed,
    /// It is of a form that is not known.
    #[error("the ticket is of another version")]
    Version,
    /// No key that is known has signed it.
    #[error("the ticket is signed by a key that is not known")]
    UnknownKey,
    /// The signature is of something else.
    #[error("the ticket's signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("the ticket has expired")]
    Expired,
    /// Its time has not begun, or is longer than any ticket's.
    #[error("the ticket's time is not a ticket's")]
    Time,
}

impl Claims {
    /// What a ticket says, if one of these keys has signed it and its time, by this clock (Unix seconds), is now. Whether it was
    /// used before, and whether its session is there, is for whoever asks to find out.
    ///
    /// # Errors
    /// See [`TicketError`]. The reason has nothing of the ticket in it.
    pub fn verify(ticket: &str, keys: &[TicketKey], now: u64) -> Result<Self, TicketError> {
        let (text, signature) = ticket.split_once('.').ok_or(TicketError::Malformed)?;
        if ticket.len() > MAX_TICKET {
            return Err(TicketError::Malformed);
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TicketError::Malformed);
        let (json, signature) = (decode(text)?, decode(signature)?);
        // Only what names the key is looked at before the signature is.
        let head: Head = serde_json::from_slice(&json).map_err(|_| TicketError::Malformed)?;
        let key = keys.iter().find(|key| key.id() == head.kid).ok_or(TicketError::UnknownKey)?;
        let key = UnparsedPublicKey::new(&ED25519, key.0.0);
        key.verify(text.as_bytes(), &signature).map_err(|_| TicketError::Signature)?;
        if head.v != 1 {
            return Err(TicketError::Version);
        }
        let claims: Self = serde_json::from_slice(&json).map_err(|_| TicketError::Malformed)?;
        if claims.exp <= now {
            return Err(TicketError::Expired);
        }
        let lives = claims.exp.checked_sub(claims.iat).ok_or(TicketError::Time)?;
        if claims.iat > now + SKEW_SECS || lives > TICKET_SECS {
            return Err(TicketError::Time);
        }
        Ok(claims)
    }
}

#[derive(Deserialize)]
struct Head {
    v: u8,
    kid: TicketKeyId,
}

/// Some bytes, whose text is base64url without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> Bytes<N> {
    /// These bytes.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<const N: usize> FromStr for Bytes<N> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| Invalid::new(format!("must be {N} bytes in base64url")))
    }
}

impl<const N: usize> TryFrom<String> for Bytes<N> {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl<const N: usize> From<Bytes<N>> for String {
    fn from(bytes: Bytes<N>) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000;

    fn signer(byte: u8) -> TicketSigner {
        TicketSigner::new(&Secret::new([byte; 32]))
    }

    fn ticket() -> String {
        signer(1).sign(ConsoleSessionId::new(), ConsoleServerId::new(), NOW, [7; 16]).expose().clone()
    }

    fn verify(ticket: &str, now: u64) -> Result<Claims, TicketError> {
        Claims::verify(ticket, &[signer(2).key(), signer(1).key()], now)
    }

    /// The error for a ticket whose claims are changed before they are signed.
    fn signed(change: impl Fn(&mut Claims)) -> TicketError {
        let mut claims = verify(&ticket(), NOW).unwrap();
        change(&mut claims);
        verify(signer(1).sign_claims(&claims).expose(), NOW).unwrap_err()
    }

    #[test]
    fn a_ticket_says_what_was_signed_and_lives_a_minute() {
        let ticket = ticket();
        let claims = verify(&ticket, NOW).unwrap();
        assert_eq!((claims.iat, claims.exp, claims.nonce), (NOW, NOW + 60, Bytes([7; 16])));
        assert_eq!(verify(&ticket, NOW + 59), Ok(claims.clone()));
        assert_eq!(verify(&ticket, NOW + 60), Err(TicketError::Expired));
        assert_eq!(verify(&ticket, NOW - 10), Ok(claims));
        assert_eq!(verify(&ticket, NOW - 11), Err(TicketError::Time));
        assert!(ticket.len() < MAX_TICKET / 2);
    }

    #[test]
    fn a_ticket_with_any_byte_changed_is_refused() {
        let ticket = ticket();
        for place in 0..ticket.len() {
            let mut bytes = ticket.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert!(verify(&altered, NOW).is_err(), "byte {place}");
        }
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        let long = format!("{}.x", "A".repeat(2000));
        for text in ["", ".", "a.b", "e30.e30", "ä.ö", &*long] {
            assert_eq!(verify(text, NOW), Err(TicketError::Malformed), "{text}");
        }
        let by_another = signer(3).sign(ConsoleSessionId::new(), ConsoleServerId::new(), NOW, [7; 16]);
        assert_eq!(verify(by_another.expose(), NOW), Err(TicketError::UnknownKey));
    }

    #[test]
    fn a_key_does_not_make_tickets_in_the_name_of_another() {
        let mut claims = verify(&ticket(), NOW).unwrap();
        claims.kid = signer(2).key().id();
        let forged = signer(1).sign_claims(&claims);
        assert_eq!(verify(forged.expose(), NOW), Err(TicketError::Signature));
    }

    #[test]
    fn claims_that_cannot_be_are_refused_whoever_signs_them() {
        assert_eq!(signed(|claims| claims.v = 2), TicketError::Version);
        assert_eq!(signed(|claims| claims.exp = claims.iat + 61), TicketError::Time);
        assert_eq!(signed(|claims| claims.iat = claims.exp + 1), TicketError::Time);
        assert_eq!(signed(|claims| claims.exp = 0), TicketError::Expired);
    }
}
