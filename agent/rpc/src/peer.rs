//! Who a peer is.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use podzol_vocab::{HostId, Invalid, Sha256, StorageServerId, VmId};
use sha2::Digest;

/// The domain that the parts of Podzol have their names in. It exists nowhere else.
pub const DOMAIN: &str = "podzol.internal";

/// An identity in a certificate: the only one of its DNS names that is in a domain which exists nowhere else. A
/// certificate may have other DNS names, by which the public finds the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerId {
    /// The management service.
    Management,
    /// The agent of a computing server.
    Host(HostId),
    /// The agent of a storage server.
    StorageServer(StorageServerId),
    /// A router, which is a VM. It is called, and calls nobody.
    Router(VmId),
    /// A console proxy, which is a VM. It is called, and calls hosts for the consoles of their VMs.
    ConsoleProxy(VmId),
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Management => f.write_str("management.podzol.internal"),
            Self::Host(id) => write!(f, "{id}.host.podzol.internal"),
            Self::StorageServer(id) => write!(f, "{id}.storage.podzol.internal"),
            Self::Router(id) => write!(f, "{id}.router.podzol.internal"),
            Self::ConsoleProxy(id) => write!(f, "{id}.console.podzol.internal"),
        }
    }
}

impl FromStr for PeerId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unknown = || Invalid::new("must be the name of a part of Podzol");
        let rest = text.strip_suffix(".podzol.internal").ok_or_else(unknown)?;
        match rest.split_once('.') {
            None if rest == "management" => Ok(Self::Management),
            Some((id, "host")) => Ok(Self::Host(id.parse()?)),
            Some((id, "storage")) => Ok(Self::StorageServer(id.parse()?)),
            Some((id, "router")) => Ok(Self::Router(id.parse()?)),
            Some((id, "console")) => Ok(Self::ConsoleProxy(id.parse()?)),
            _ => Err(unknown()),
        }
    }
}

/// Who is calling: what the TLS layer knows of the other side of a connection.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The identity in its certificate, if it showed one. The certificate is from our authority and in its time.
    pub certificate: Option<CallerCertificate>,
}

/// The certificate that a caller showed.
#[derive(Debug, Clone)]
pub struct CallerCertificate {
    /// The identity in it.
    pub peer: PeerId,
    /// SHA-256 of the certificate (DER), by which one certificate can be revoked.
    pub fingerprint: Sha256,
}

impl Caller {
    /// The caller's identity, if it showed a certificate.
    pub fn peer(&self) -> Option<PeerId> {
        self.certificate.as_ref().map(|certificate| certificate.peer)
    }
}

impl CallerCertificate {
    /// Reads the identity out of a certificate that the TLS layer has verified.
    ///
    /// # Errors
    /// When it is no certificate, or not exactly one of its DNS names is a [`PeerId`].
    pub fn from_der(der: &[u8]) -> Result<Self, Invalid> {
        use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| Invalid::new("must be an X.509 certificate"))?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut peers =
            names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => name.parse::<PeerId>().ok(),
                _ => None,
            });
        match (peers.next(), peers.next()) {
            (Some(peer), None) => Ok(Self { peer, fingerprint: fingerprint(der) }),
            _ => Err(Invalid::new("must be a certificate with exactly one identity")),
        }
    }
}

/// SHA-256 of a certificate in DER.
pub fn fingerprint(der: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(der).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text() {
        for peer in [
            PeerId::Management,
            PeerId::Host(HostId::new()),
            PeerId::StorageServer(StorageServerId::new()),
            PeerId::Router(VmId::new()),
            PeerId::ConsoleProxy(VmId::new()),
        ] {
            assert_eq!(peer.to_string().parse::<PeerId>().unwrap(), peer);
        }
        for other in
            ["localhost", "evil.management.podzol.internal", "x.host.podzol.internal", "podzol.internal"]
        {
            assert!(other.parse::<PeerId>().is_err(), "{other}");
        }
    }

    #[test]
    fn parts_have_their_names_in_their_domain() {
        assert_eq!(PeerId::Management.to_string(), format!("management.{DOMAIN}"));
    }
}
