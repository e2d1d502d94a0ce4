//! Templates that a storage server gets from an HTTPS server.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use podzol_lab::Lab;
use podzol_mgmt_app::Authority;
use podzol_scenarios::lab_beside_others;
use sha2::Digest;
use tokio_util::sync::CancellationToken;

/// Where the lab's servers reach this machine.
const HERE: &str = "10.77.0.1";

/// An HTTPS server in the lab's network, with an authority of its own, for as long as it is held.
struct Web {
    address: SocketAddr,
    authority: String,
    stop: CancellationToken,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Web {
    fn serving(lab: &Lab, folder: &Path, image: Vec<u8>) -> Self {
        let authority = Authority::open(folder).unwrap();
        let identity = authority.own_identity(&[], &[HERE.parse::<IpAddr>().unwrap()]).unwrap();
        let tls = Arc::new(podzol_rpc::tls::public_server_config(&identity).unwrap());
        let listener =
            podzol_scenarios::in_network_of(lab, || TcpListener::bind((HERE, 0))).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/tiny.qcow2", get(move || async move { image.clone() }));
        let served = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                podzol_rpc::server::serve(listener, tls, router, Arc::new(|_, _| ()), served).await;
            });
        });
        Self { address, authority: identity.ca_pem, stop }
    }

    fn url(&self, file: &str) -> String {
        format!("https://{}/{file}", self.address)
    }
}

#[test]
fn a_template_comes_from_an_https_server_that_is_trusted_and_only_with_the_right_digest() {
    let lab = lab_beside_others().unwrap();
    let cloud = lab.cloud().unwrap();
    let storage = lab.ssh(&lab.host("s1").unwrap());
    // The lab's own template with one byte more, so that it is another one.
    let mut image = std::fs::read(lab.images.join("tiny/tiny.qcow2")).unwrap();
    image.push(0);
    let sha256: String = sha2::Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let web = Web::serving(&lab, folder.path(), image);
    let url = web.url("tiny.qcow2");
    let create = |name: &str, url: &str, sha256: &str| {
        cloud.podzol(&format!(
            "template create {name} --template-url {url} --sha256 {sha256} --wait --timeout 240"
        ))
    };

    // Nobody vouches for the server yet: this is tried again until somebody does.
    let unknown =
        cloud.podzol(&format!("template create web --template-url {url} --sha256 {sha256}")).unwrap();
    storage.feed("cat > /usr/local/share/ca-certificates/web.crt", web.authority.as_bytes()).unwrap();
    storage.run("update-ca-certificates").unwrap();
    let id = unknown["object"]["id"].as_str().unwrap();
    podzol_lab::cloud::wait_for("the template", std::time::Duration::from_secs(240), || {
        let shown = cloud.podzol(&format!("template show {id}"))?;
        anyhow::ensure!(shown["state"] == "ready", "it is {}: {}", shown["state"], shown["error"]);
        Ok(Some(()))
    })
    .unwrap();
    let there = storage.run("ls /srv/podzol/nfs1/templates").unwrap();
    assert!(there.contains(&sha256), "{there}");

    let wrong = "ab".repeat(32);
    let refused = format!("{:#}", create("wrong", &url, &wrong).unwrap_err());
    assert!(refused.contains(&sha256) && refused.contains(&wrong), "{refused}");
    let missing = format!("{:#}", create("missing", &web.url("none"), &wrong).unwrap_err());
    assert!(missing.contains("404"), "{missing}");
    let after = storage.run("ls /srv/podzol/nfs1/templates /srv/podzol/nfs1/incoming").unwrap();
    assert!(!after.contains(&wrong), "{after}");

    for template in ["web", "wrong", "missing"] {
        cloud.podzol(&format!("template delete {template}")).unwrap();
    }
    storage.run("rm /usr/local/share/ca-certificates/web.crt && update-ca-certificates --fresh").unwrap();
}
