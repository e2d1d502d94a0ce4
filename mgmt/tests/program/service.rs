//! A process of the program, and speaking to it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use podzol_test_support::{Api, SOON, wait_for};

/// A process that is killed when this goes.
pub(crate) struct Service {
    pub(crate) process: Child,
    /// Where its API listens.
    pub(crate) address: SocketAddr,
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

/// Writes a configuration with ports of its own and that data folder; gives its file, and where the API will listen.
pub(crate) fn configure(folder: &Path, data: &Path) -> std::io::Result<(PathBuf, SocketAddr)> {
    let (api, agents) = (free_port()?, free_port()?);
    let file = folder.join(format!("{}.toml", api.port()));
    let config = format!(
        "data_dir = '{}'\napi_listen = '{api}'\nagent_listen = '{agents}'\naddresses = ['127.0.0.1']\nlog = 'error'\n",
        data.display()
    );
    fs::write(&file, config)?;
    Ok((file, api))
}

/// The program with a configuration file.
pub(crate) fn program(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podzol-mgmt"));
    command.args(["run", "--config"]).arg(config);
    command
}

/// The API of a service as its administrator, once it listens. `data` is its data folder.
pub(crate) async fn api(service: &Service, data: &Path) -> Api {
    wait_for("the service to be ready", SOON, async || {
        let read = |name: &str| fs::read_to_string(data.join(name)).map_err(|error| error.to_string());
        let (ca, key) = (read("ca.pem")?, read("admin.key")?);
        TcpStream::connect(service.address).map_err(|error| error.to_string())?;
        Ok(Api::new(service.address, &ca, Some(key.trim().to_owned())))
    })
    .await
}
