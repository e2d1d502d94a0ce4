//! A part's own identity: its key, its certificate, and the authority that it trusts.

use std::path::{Path, PathBuf};

use podzol_vocab::{Invalid, Secret};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::file::remove_file;
pub use crate::file::write_file;
use crate::peer::{CallerCertificate, PeerId};

/// A key, the certificate for it, and the authority's certificate, all as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The authority's certificate.
    pub ca_pem: String,
    /// This part's certificate.
    pub certificate_pem: String,
    /// This part's private key.
    pub key_pem: Secret<String>,
}

/// Why an identity could not be read, written or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot access {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A text is not the PEM that it should be.
    #[error("{what} is not valid PEM")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate is not one of a part of Podzol.
    #[error("the certificate {0}")]
    Certificate(Invalid),
    /// A key or a certificate request could not be made.
    #[error("cannot make a key")]
    Key(#[from] rcgen::Error),
    /// A list of authorities has none that can be used.
    #[error("{path} holds no authority's certificate")]
    NoAuthority {
        /// The file, or what else the list is.
        path: PathBuf,
    },
    /// The TLS library refuses the key, the certificate or the authority.
    #[error("cannot use the identity for TLS")]
    Tls(#[from] rustls::Error),
    /// The authority's certificate cannot verify clients.
    #[error("cannot verify clients with the authority's certificate")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl IdentityError {
    /// Whether it is only that the key is another one than the certificate's.
    pub fn is_of_another_key(&self) -> bool {
        matches!(self, Self::Tls(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)))
    }
}

const CA: &str = "ca.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

impl Identity {
    /// Reads `ca.pem`, `certificate.pem` and `key.pem` in a folder, or nothing if there is no identity yet.
    ///
    /// # Errors
    /// When a file is there but cannot be read.
    pub fn load(folder: &Path) -> Result<Option<Self>, IdentityError> {
        if !folder.join(CERTIFICATE).exists() {
            return Ok(None);
        }
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|source| IdentityError::File { path, source })
        };
        Ok(Some(Self {
            ca_pem: read(CA)?,
            certificate_pem: read(CERTIFICATE)?,
            key_pem: Secret::new(read(KEY)?),
        }))
    }

    /// Makes the folder for an identity, and finds out whether one can be written there: before a token is spent that
    /// works only once.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn prepare(folder: &Path) -> Result<(), IdentityError> {
        /// More than an identity takes.
        const ROOM: [u8; 16 << 10] = [0; 16 << 10];
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let probe = folder.join("probe");
        write_file(&probe, &ROOM, 0o600).and_then(|()| remove_file(&probe)).map_err(failed(&probe))
    }

    /// Writes the identity into a folder, the key for the owner only. An earlier certificate goes first and the new one
    /// comes last, each file by rename: a crash in between leaves no identity rather than half of one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn store(&self, folder: &Path) -> Result<(), IdentityError> {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let earlier = folder.join(CERTIFICATE);
        remove_file(&earlier).map_err(failed(&earlier))?;
        for (name, text, mode) in [
            (KEY, self.key_pem.expose(), 0o600),
            (CA, &self.ca_pem, 0o644),
            (CERTIFICATE, &self.certificate_pem, 0o644),
        ] {
            let path = folder.join(name);
            write_file(&path, text.as_bytes(), mode).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// Who the certificate says that this is.
    ///
    /// # Errors
    /// When the certificate cannot be read, or is no part's.
    pub fn peer(&self) -> Result<PeerId, IdentityError> {
        let chain = certificates(&self.certificate_pem, "the certificate")?;
        let first = chain.first().ok_or_else(|| Invalid::new("must not be empty"));
        let known = first.and_then(|first| CallerCertificate::from_der(first));
        known.map(|certificate| certificate.peer).map_err(IdentityError::Certificate)
    }

    /// The certificate chain and the key, as the TLS library takes them.
    pub(crate) fn parsed(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
        let chain = certificates(&self.certificate_pem, "the certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.expose().as_bytes())
            .map_err(|source| IdentityError::Pem { what: "the key", source })?;
        Ok((chain, key))
    }

    /// The authority alone, as roots to verify others with.
    pub(crate) fn roots(&self) -> Result<rustls::RootCertStore, IdentityError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&self.ca_pem, "the authority's certificate")? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { path, source }
}

/// The certificates in a PEM text.
///
/// # Errors
/// When the text is not PEM; `what` names it in the error.
pub fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| IdentityError::Pem { what, source })
}

/// A new key and a request for a certificate for it, both as PEM. The authority decides what the certificate says.
///
/// # Errors
/// When the key cannot be made.
pub fn new_key_and_request() -> Result<(Secret<String>, String), IdentityError> {
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?;
    Ok((Secret::new(key.serialize_pem()), request.pem()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity() -> Identity {
        let (key_pem, _) = new_key_and_request().unwrap();
        Identity { ca_pem: "ca".into(), certificate_pem: "certificate".into(), key_pem }
    }

    #[test]
    fn an_identity_is_read_as_it_was_written_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Identity::load(folder.path()).unwrap().is_none());
        let identity = identity();
        identity.store(folder.path()).unwrap();

        let read = Identity::load(folder.path()).unwrap().unwrap();

        assert_eq!(read.key_pem, identity.key_pem);
        let mode = std::fs::metadata(folder.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn joining_again_never_leaves_a_new_key_beside_an_old_certificate() {
        let folder = tempfile::tempdir().unwrap();
        identity().store(folder.path()).unwrap();
        // The authority's certificate cannot be replaced by rename: this stops the second writing half-way.
        std::fs::remove_file(folder.path().join(CA)).unwrap();
        std::fs::create_dir_all(folder.path().join(CA).join("in the way")).unwrap();

        identity().store(folder.path()).unwrap_err();

        assert!(Identity::load(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_folder_is_prepared_before_it_is_needed() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("identity");
        Identity::prepare(&folder).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);

        let file = state.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Identity::prepare(&file.join("identity")).unwrap_err();
        assert!(matches!(error, IdentityError::File { .. }), "{error}");
    }
}
