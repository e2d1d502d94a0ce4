//! An authority, and the identities of a router and of the management service.

use podzol_mgmt_app::Authority;
use podzol_rpc::identity::new_key_and_request;
use podzol_rpc::{Identity, PeerId};
use tempfile::TempDir;

/// An authority of its own.
pub(crate) struct Certificates {
    authority: Authority,
    /// Holds the authority's key.
    _folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let authority = Authority::open(folder.path()).expect("it can be made");
        Self { authority, _folder: folder }
    }

    pub(crate) fn of(&self, peer: PeerId) -> Identity {
        let (key_pem, request) = new_key_and_request().expect("a key can be made");
        let (certificate_pem, _) = self.authority.sign(peer, &request).expect("it signs");
        Identity { ca_pem: self.authority.ca_pem().to_owned(), certificate_pem, key_pem }
    }
}
