//! One service has the database.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use podzol_test_support::{Api, SOON, wait_for};
use serde_json::json;

struct Service {
    process: Child,
    api: SocketAddr,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody has now.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Starts the program on a data folder, with ports of its own.
fn start(folder: &Path) -> anyhow::Result<Service> {
    let (api, agents) = (free_port()?, free_port()?);
    let data = folder.join("data");
    let config = folder.join(format!("{}.toml", api.port()));
    let text = format!(
        "data_dir = '{}'\napi_listen = '{api}'\nagent_listen = '{agents}'\naddresses = ['127.0.0.1']\nlog = 'error'\n",
        data.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_podzol-mgmt"));
    command.args(["run", "--config"]).arg(&config).stderr(Stdio::piped());
    Ok(Service { process: command.spawn()?, api })
}

async fn api_of(service: &Service, folder: &Path) -> Api {
    wait_for("the service to be ready", SOON, async || {
        let read = |name: &str| {
            fs::read_to_string(folder.join("data").join(name)).map_err(|error| error.to_string())
        };
        let (ca, key) = (read("ca.pem")?, read("admin.key")?);
        std::net::TcpStream::connect(service.api).map_err(|error| error.to_string())?;
        Ok(Api::new(service.api, &ca, Some(key.trim().to_owned())))
    })
    .await
}

#[tokio::test]
async fn a_second_service_on_the_same_data_says_so_and_one_after_a_killed_one_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = start(folder.path()).unwrap();
    let api = api_of(&first, folder.path()).await;

    let mut second = start(folder.path()).unwrap();
    let refused = std::mem::replace(&mut second.process, Command::new("true").spawn().unwrap());
    let refused = refused.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && says.contains("another management service has it open"), "{says}");
    api.post("/v1/accounts", &json!({ "name": "acme" })).await.ok();

    first.process.kill().unwrap();
    let third = start(folder.path()).unwrap();
    let api = api_of(&third, folder.path()).await;
    assert_eq!(api.list("/v1/accounts?name=acme").await.len(), 1);
}
