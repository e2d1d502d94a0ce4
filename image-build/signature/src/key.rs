//! Keys, and what is done with them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use podzol_vocab::Secret;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use crate::{Signature, SignatureError};

/// A PKCS#8 structure of version 1 for Ed25519, up to the key's 32 bytes (RFC 8410, section 7).
const PRIVATE: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// A SubjectPublicKeyInfo for Ed25519, up to the key's 32 bytes (RFC 8410, section 4).
const PUBLIC: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A private key.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Makes a key: its PEM file, and the key itself.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<(Secret<String>, Self), SignatureError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SignatureError::Random)?;
        let text = Secret::new(pem("PRIVATE KEY", &[&PRIVATE[..], &seed].concat()));
        let key = Self::from_pem(&text)?;
        Ok((text, key))
    }

    /// Reads a key's PEM file.
    ///
    /// # Errors
    /// When it is none. The reason has nothing of the text in it.
    pub fn from_pem(text: &Secret<String>) -> Result<Self, SignatureError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.expose().as_bytes());
        let der = der.map_err(|_| SignatureError::PrivateKey)?;
        // Other programs write the public key beside it, or do not.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(Self).map_err(|_| SignatureError::PrivateKey)
    }

    /// Signs these bytes. The same ones give the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let made = self.0.sign(message);
        Signature(made.as_ref().try_into().expect("an Ed25519 signature has 64 bytes"))
    }

    /// The key that verifies what this one signs.
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 public key has 32 bytes"))
    }
}

/// A public key. Its text is its PEM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a key's PEM file.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(text: &str) -> Result<Self, SignatureError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| SignatureError::PublicKey)?;
        let bytes = der.strip_prefix(&PUBLIC).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(SignatureError::PublicKey)
    }

    /// Checks that a signature is of these bytes and by this key's owner.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let verified = UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature.0);
        verified.map_err(|_| SignatureError::Mismatch)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pem("PUBLIC KEY", &[&PUBLIC[..], &self.0].concat()))
    }
}

/// A PEM file (RFC 7468). What is in it is short enough for a line of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 8410, sections 10.1 and 10.3, which belong together.
    const EXAMPLE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const EXAMPLE_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn key(text: &str) -> Result<SigningKey, SignatureError> {
        SigningKey::from_pem(&Secret::new(text.to_owned()))
    }

    #[test]
    fn the_keys_of_the_rfc_are_read_and_written_as_they_are_there() {
        let public = key(EXAMPLE).unwrap().public_key();
        assert_eq!(public.to_string(), EXAMPLE_PUBLIC);
        assert_eq!(PublicKey::from_pem(EXAMPLE_PUBLIC), Ok(public));
    }

    #[test]
    fn a_new_key_is_read_back_and_every_key_is_another() {
        let (text, made) = SigningKey::generate().unwrap();
        let read = SigningKey::from_pem(&text).unwrap();
        assert_eq!(read.public_key(), made.public_key());
        assert_ne!(SigningKey::generate().unwrap().1.public_key(), made.public_key());
    }

    #[test]
    fn a_signature_holds_for_its_bytes_and_its_key_alone() {
        let key = key(EXAMPLE).unwrap();
        let signature = key.sign(b"content");
        assert_eq!(key.public_key().verify(b"content", &signature), Ok(()));
        assert_eq!(key.public_key().verify(b"Content", &signature), Err(SignatureError::Mismatch));
        let other = SigningKey::generate().unwrap().1.public_key();
        assert_eq!(other.verify(b"content", &signature), Err(SignatureError::Mismatch));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "key", EXAMPLE_PUBLIC, &EXAMPLE.replace("MC4C", "MC4D")] {
            assert_eq!(key(text).unwrap_err(), SignatureError::PrivateKey);
        }
        for text in ["", "key", EXAMPLE, &EXAMPLE_PUBLIC.replace("MCow", "MCox")] {
            assert_eq!(PublicKey::from_pem(text), Err(SignatureError::PublicKey));
        }
    }

    #[test]
    fn nothing_of_a_private_key_is_printed() {
        let shown = format!("{:?} {:?}", key(EXAMPLE).unwrap(), key(&EXAMPLE.replace("MC4C", "MC4D")));
        assert!(!shown.contains("1O5y2") && !shown.contains("MC4") && !shown.contains("d4ee72db"), "{shown}");
    }
}
