//! What several of the tests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podzol_image_signature::SigningKey;
use podzol_rpc::exec::ExecError;
use podzol_rpc::{AddressBook, Client, Identity};
use podzol_storage_api::TemplateSource;
use podzol_vocab::{ByteSize, PoolId, Secret, Sha256};
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::export::{ExportError, Exporter};
use crate::pool::Pool;
use crate::qcow2;
use crate::store::Store;

/// The user that runs the tests.
pub(crate) fn owner() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A new pool.
pub(crate) fn pool() -> (tempfile::TempDir, Arc<Pool>) {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::create(PoolId::new(), &folder.path().join("pool"), owner()).unwrap();
    (folder, Arc::new(pool))
}

/// An image of 64 MiB, and its digest.
pub(crate) fn image() -> (Vec<u8>, Sha256) {
    let bytes = qcow2::image(ByteSize::from_mib(64), None).unwrap();
    let sha256 = Sha256::from_bytes(sha2::Sha256::digest(&bytes).into());
    (bytes, sha256)
}

/// An ISO of 19 sectors with nothing in it but its descriptors.
pub(crate) fn iso() -> Vec<u8> {
    let mut bytes = vec![0; 19 * 2048];
    bytes[16 * 2048..16 * 2048 + 7].copy_from_slice(b"\x01CD001\x01");
    bytes[16 * 2048 + 80] = 19;
    bytes[16 * 2048 + 128..16 * 2048 + 130].copy_from_slice(&2048u16.to_le_bytes());
    bytes[17 * 2048..17 * 2048 + 7].copy_from_slice(b"\xffCD001\x01");
    bytes
}

/// A web server that answers every request with these bytes, and keeps the connection open then.
pub(crate) async fn source(answer: Vec<u8>) -> TemplateSource {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1];
            let _ = stream.read_exact(&mut request).await;
            let _ = stream.write_all(&answer).await;
            open.push(stream);
        }
    });
    TemplateSource::Url { url: Secret::new(url) }
}

/// A web server that sends a byte of an answer that never ends every few milliseconds.
pub(crate) async fn dripping() -> TemplateSource {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1];
        let _ = stream.read_exact(&mut request).await;
        let _ = stream.write_all(&with_body(&[])[..17]).await;
        let _ = stream.write_all(b"Content-Length: 1000000\r\n\r\n").await;
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    TemplateSource::Url { url: Secret::new(url) }
}

/// An answer with this body.
pub(crate) fn with_body(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The signing key of this number.
pub(crate) fn signing_key(number: u8) -> SigningKey {
    // 16 bytes that begin a PKCS#8 structure (RFC 8410, section 7), and 32 of the key itself, in Base64.
    let key = String::from(char::from(b'A' + number)).repeat(43);
    let text =
        format!("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI{key}\n-----END PRIVATE KEY-----\n");
    SigningKey::from_pem(&Secret::new(text)).unwrap()
}

/// A manifest as podzol-image writes it, with one file.
pub(crate) fn manifest(sha256: Sha256) -> String {
    format!(
        "{{\"recipe\": \"r\", \"files\": [{{\"name\": \"r.qcow2\", \"size\": 1, \"sha256\": \"{sha256}\"}}], \"packages\": []}}\n"
    )
}

/// A client that knows nobody.
pub(crate) fn client() -> Client {
    let name = "00000000-0000-0000-0000-000000000000.storage.podzol.internal";
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (ca_pem, certificate_pem) = (own.cert.pem(), own.cert.pem());
    let key_pem = Secret::new(own.signing_key.serialize_pem());
    Client::new(&Identity { ca_pem, certificate_pem, key_pem }, AddressBook::default()).unwrap()
}

/// The settings of an agent that keeps all in one folder.
pub(crate) fn config(folder: &Path) -> Config {
    let text = format!(
        "management = '127.0.0.1:1'\nstate_dir = '{0}/state'\npool_roots = ['{0}/pools']\n\
         address = '10.0.0.9'\nvolume_owner = {1}\n",
        folder.display(),
        owner()
    );
    podzol_rpc::config::parse(&text).unwrap()
}

/// The store of an agent that starts.
pub(crate) fn store(config: &Config, hosts: &Hosts) -> Store<Hosts> {
    Store::open(config, client(), hosts.clone()).unwrap()
}

/// The hosts to which pools are exported, or none when exporting fails.
#[derive(Clone, Default)]
pub(crate) struct Hosts(Arc<Mutex<BTreeMap<PoolId, Vec<String>>>>, Arc<Mutex<bool>>);

impl Hosts {
    /// From now on exporting fails, or no more.
    pub(crate) fn fail(&self, fails: bool) {
        *self.1.lock().unwrap() = fails;
    }

    /// To whom a pool is exported, if it is.
    pub(crate) fn of(&self, pool: PoolId) -> Option<Vec<String>> {
        self.0.lock().unwrap().get(&pool).cloned()
    }

    fn must_work(&self) -> Result<(), ExportError> {
        if !*self.1.lock().unwrap() {
            return Ok(());
        }
        let source = std::io::ErrorKind::NotFound.into();
        Err(ExecError::Start { program: "exportfs".into(), source }.into())
    }
}

impl Exporter for Hosts {
    async fn export(&self, pool: PoolId, _folder: &Path, hosts: &[String]) -> Result<(), ExportError> {
        self.must_work()?;
        self.0.lock().unwrap().insert(pool, hosts.to_vec());
        Ok(())
    }

    async fn withdraw(&self, pool: PoolId, _folder: &Path) -> Result<(), ExportError> {
        self.must_work()?;
        self.0.lock().unwrap().remove(&pool);
        Ok(())
    }

    async fn exported_to(&self, pool: PoolId, _folder: &Path) -> Result<BTreeSet<String>, ExportError> {
        self.must_work()?;
        Ok(self.of(pool).unwrap_or_default().into_iter().collect())
    }
}
