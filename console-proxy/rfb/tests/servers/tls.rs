//! An authority, a server's certificate by it, and a client that trusts it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// What a client trusts.
#[derive(Clone)]
pub(crate) struct Trust(CertificateDer<'static>);

/// Writes `ca-cert.pem`, `server-cert.pem` and `server-key.pem`, as QEMU wants them, for a server called localhost.
pub(crate) fn write(folder: &Path) -> Trust {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    authority.distinguished_name.push(DnType::CommonName, "test authority");
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(authority, key);

    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let signed = server.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("ca-cert.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("server-cert.pem"), signed.pem()).unwrap();
    fs::write(folder.join("server-key.pem"), key.serialize_pem()).unwrap();
    Trust(certificate.der().clone())
}

/// Writes a key of RSA and a certificate that it has signed itself, in one file, for a server called localhost that takes no other key.
pub(crate) fn write_rsa(file: &Path) -> Trust {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    command.args([
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    let made = command.args(["-keyout", "-"]).output().expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(file, &made.stdout).unwrap();
    Trust(CertificateDer::from_pem_slice(&made.stdout).unwrap())
}

impl Trust {
    /// A client's end that talks to localhost, and to nobody else.
    pub(crate) fn client(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
    }
}
