//! Whose templates this storage server takes.
//!
//! An operator who makes templates signs their manifests (`podzol-image sign`), and gives the storage servers the public
//! key. From then on a template is taken only with its manifest and the signature: one of the keys must have made it, and
//! the manifest must list a file with the template's SHA-256. As an import compares its bytes with that digest in any case,
//! they are then the signer's own, wherever they were fetched from and whoever asked for them.
//!
//! Without keys nothing is asked for, and a signature that comes is not looked at.
//!
//! # Design notes
//! The keys are in files of this server and not at the management service, so that who gets hold of that one still
//! cannot bring in an image of his own. A signature has no end: what was once signed is taken until its key is removed
//! from the list. Keys are read once, at the start: who changes one restarts the agent, which harms no VM.

use std::path::PathBuf;

use anyhow::Context;
use podzol_image_signature::{PublicKey, Signature, SignatureError};
use podzol_storage_api::SignedManifest;
use podzol_vocab::Sha256;
use serde::Deserialize;

/// Why a template is not taken. The text names the field of its plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untrusted {
    #[error("signed: must be there, as this storage server takes signed templates only")]
    Unsigned,
    #[error("signed.signature: {0}")]
    Signature(SignatureError),
    #[error("signed.signature: is not of this manifest by one of this storage server's template_keys")]
    Signer,
    #[error("signed.manifest: must be a manifest of podzol-image ({0})")]
    Manifest(serde_json::Error),
    #[error("signed.manifest: lists no file with SHA-256 {0}")]
    NotListed(Sha256),
}

/// What this agent reads of a manifest. A later podzol-image may write more into it.
#[derive(Deserialize)]
struct Manifest {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    sha256: Sha256,
}

/// The public keys of those who make templates.
pub(crate) struct TemplateKeys(Vec<PublicKey>);

impl TemplateKeys {
    /// Reads the keys of these files.
    ///
    /// # Errors
    /// When one cannot be read: a template must not pass because a key is missing, nor fail.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let key = |path: &PathBuf| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("template_keys: cannot read {}", path.display()))?;
            PublicKey::from_pem(&text).with_context(|| format!("template_keys: {}", path.display()))
        };
        paths.iter().map(key).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Checks that a template may be taken.
    ///
    /// # Errors
    /// When there are keys and none of them vouches for it.
    pub(crate) fn check(&self, sha256: Sha256, signed: Option<&SignedManifest>) -> Result<(), Untrusted> {
        if self.0.is_empty() {
            return Ok(());
        }
        let SignedManifest { manifest, signature } = signed.ok_or(Untrusted::Unsigned)?;
        let signature: Signature = signature.parse().map_err(Untrusted::Signature)?;
        if !self.0.iter().any(|key| key.verify(manifest.as_bytes(), &signature).is_ok()) {
            return Err(Untrusted::Signer);
        }
        // Only now, so that nothing is read that anybody could have written.
        let manifest: Manifest = serde_json::from_str(manifest).map_err(Untrusted::Manifest)?;
        let listed = manifest.files.iter().any(|file| file.sha256 == sha256);
        if listed { Ok(()) } else { Err(Untrusted::NotListed(sha256)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{manifest, signing_key};

    const SHA256: Sha256 = Sha256::from_bytes([7; 32]);

    fn check(signed: Option<&SignedManifest>, expected: &str) {
        let ours = [signing_key(1), signing_key(2)].map(|key| key.public_key());
        let found = TemplateKeys(ours.into()).check(SHA256, signed).map_err(|error| error.to_string());
        assert_eq!(found.err().unwrap_or_default(), expected);
    }

    fn signed(manifest: &str, key: u8) -> SignedManifest {
        let signature = signing_key(key).sign(manifest.as_bytes()).to_string();
        SignedManifest { manifest: manifest.to_owned(), signature }
    }

    #[test]
    fn a_template_in_a_manifest_signed_with_any_of_the_keys_is_taken() {
        check(Some(&signed(&manifest(SHA256), 1)), "");
        check(Some(&signed(&manifest(SHA256), 2)), "");
    }

    #[test]
    fn a_template_that_nobody_or_somebody_else_signed_is_refused() {
        check(None, "signed: must be there, as this storage server takes signed templates only");
        let refused =
            "signed.signature: is not of this manifest by one of this storage server's template_keys";
        check(Some(&signed(&manifest(SHA256), 3)), refused);
        let mut changed = signed(&manifest(SHA256), 1);
        changed.manifest.push('\n');
        check(Some(&changed), refused);
        let no_signature = SignedManifest { signature: "!".into(), ..changed };
        check(Some(&no_signature), "signed.signature: must be an Ed25519 signature: 64 bytes in Base64");
    }

    #[test]
    fn a_template_that_the_manifest_does_not_list_is_refused() {
        let other = signed(&manifest(Sha256::from_bytes([8; 32])), 1);
        check(Some(&other), &format!("signed.manifest: lists no file with SHA-256 {SHA256}"));
        let none = signed("{}", 1);
        let refused =
            "signed.manifest: must be a manifest of podzol-image (missing field `files` at line 1 column 2)";
        check(Some(&none), refused);
    }

    #[test]
    fn without_keys_nothing_is_asked_for() {
        TemplateKeys(Vec::new()).check(SHA256, None).unwrap();
        TemplateKeys(Vec::new()).check(SHA256, Some(&signed("{}", 3))).unwrap();
    }

    #[test]
    fn an_agent_with_a_key_that_cannot_be_read_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| TemplateKeys::read(&[folder.path().join(name)]).map(|keys| keys.0.len());
        let absent = format!("{:#}", read("absent.pub").unwrap_err());
        assert!(absent.starts_with("template_keys: cannot read /"), "{absent}");
        std::fs::write(folder.path().join("no.pub"), "ssh-ed25519 AAAA").unwrap();
        let other = format!("{:#}", read("no.pub").unwrap_err());
        assert!(other.contains("no.pub: must be an Ed25519 public key in PEM form"), "{other}");
        std::fs::write(folder.path().join("a.pub"), signing_key(1).public_key().to_string()).unwrap();
        assert_eq!(read("a.pub").unwrap(), 1);
    }
}
