//! Who made a template: Ed25519 signatures (RFC 8032) with an operator's key. `podzol-image` makes them, a storage agent
//! verifies them.
//!
//! Keys are PEM files, the private one in PKCS#8 (RFC 5958) and the public one as a SubjectPublicKeyInfo, both as RFC 8410
//! has them for Ed25519; a signature's text is Base64. So `openssl pkey` and `openssl pkeyutl -rawin` read what is made
//! here.
//!
//! This crate does not know what is signed, and opens no file. Nothing that it says, be it an error or what is printed for
//! debugging, has anything of a private key in it.
//!
//! # Design notes
//! ring makes PKCS#8 files too, but of version 2 with the public key, in a form that OpenSSL does not read. The
//! structures of RFC 8410 have a fixed length, so they are a beginning that never changes and 32 bytes.

mod key;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use crate::key::{PublicKey, SigningKey};

/// Why a key or a signature cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The system gives no random numbers for a new key.
    #[error("the system gives no random numbers")]
    Random,
    /// The text is no private key.
    #[error("must be an Ed25519 private key in PKCS#8 PEM form (`BEGIN PRIVATE KEY`)")]
    PrivateKey,
    /// The text is no public key.
    #[error("must be an Ed25519 public key in PEM form (`BEGIN PUBLIC KEY`)")]
    PublicKey,
    /// The text is no signature.
    #[error("must be an Ed25519 signature: 64 bytes in Base64")]
    Signature,
    /// Another key made the signature, or it is of other bytes.
    #[error("the signature was made with another key or of other content")]
    Mismatch,
}

/// A signature. Its text is Base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SignatureError::Signature)?;
        bytes.try_into().map(Self).map_err(|_| SignatureError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_back_and_other_text_refused() {
        let signature = Signature([7; 64]);
        assert_eq!(format!("{signature}\n").parse(), Ok(signature));
        for text in ["", "not Base64!", &STANDARD.encode([7; 63]), &STANDARD.encode([7; 65])] {
            assert_eq!(text.parse::<Signature>(), Err(SignatureError::Signature));
        }
    }
}
