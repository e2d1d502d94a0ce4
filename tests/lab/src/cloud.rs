//! The management service of the lab, and the command that a user would use.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::network::MANAGEMENT;
use crate::outside::GATEWAY;
use crate::program::output;
use crate::state::Lab;

/// The cloud, as one user sees it.
#[derive(Debug, Clone)]
pub struct Cloud {
    podzol: PathBuf,
    url: String,
    ca_file: PathBuf,
    key: String,
}

impl Cloud {
    pub(crate) fn new(lab: &Lab, url: String, key: String) -> Self {
        Self { podzol: lab.programs.join("podzol"), url, ca_file: lab.path("mgmt/ca.pem"), key }
    }

    /// The same cloud with another key.
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// The command `podzol`, set up for this user.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.podzol);
        command
            .env("PODZOL_URL", &self.url)
            .env("PODZOL_CA_FILE", &self.ca_file)
            .env("PODZOL_KEY", &self.key)
            // Whoever has set the command up for another user is not who this is.
            .env_remove("PODZOL_KEY_FILE");
        command
    }

    /// Runs `podzol --json` with the words of a line and gives what it answers.
    ///
    /// # Errors
    /// When the command fails: with what it said.
    pub fn podzol(&self, line: &str) -> anyhow::Result<Value> {
        let text = output(self.command().arg("--json").args(line.split_whitespace()))?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Runs `podzol` with the words of a line and gives what it prints for people.
    ///
    /// # Errors
    /// When the command fails: with what it said.
    pub fn shown(&self, line: &str) -> anyhow::Result<String> {
        output(self.command().args(line.split_whitespace()))
    }
}

/// The domain of the lab's console proxies.
pub const CONSOLE_DOMAIN: &str = "console.lab.example";

impl Lab {
    /// Where the API listens on this machine: chosen at the first start, kept for later ones.
    fn api_port(&self) -> anyhow::Result<u16> {
        let path = self.path("mgmt/port");
        if let Ok(text) = std::fs::read_to_string(&path) {
            return Ok(text.trim().parse()?);
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        std::fs::write(path, port.to_string())?;
        Ok(port)
    }

    /// Where the API is for clients on this machine.
    ///
    /// # Errors
    /// When no port is free.
    pub fn api_url(&self) -> anyhow::Result<String> {
        Ok(format!("https://127.0.0.1:{}", self.api_port()?))
    }

    /// Starts the management service, and what passes connections to it, and waits until it serves.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_management(&self) -> anyhow::Result<Cloud> {
        let folder = self.path("mgmt");
        std::fs::create_dir_all(&folder)?;
        let config = format!(
            "data_dir = {:?}\napi_listen = \"{MANAGEMENT}:8443\"\nagent_listen = \"{MANAGEMENT}:8444\"\nvm_expunge_secs = 0\n\
             router_idle_secs = 60\n\
             names = [\"localhost\"]\naddresses = [\"127.0.0.1\", \"{MANAGEMENT}\", \"{GATEWAY}\"]\ncpu_overcommit = 16\n\
             log = \"info\"\n\
             [console]\ndomain = \"{CONSOLE_DOMAIN}\"\napi_origin = \"https://{GATEWAY}:8443\"\n\
             reserve_sessions = 0\nmargin_sessions = 0\nsurplus_secs = 30\n\
             [console.dns]\nlisten = [\"{MANAGEMENT}:53\"]\n\
             name_servers = [{{ name = \"ns1.{CONSOLE_DOMAIN}\", addresses = [\"{MANAGEMENT}\"] }}]\n",
            folder
        );
        std::fs::write(folder.join("mgmt.toml"), config)?;
        self.run_management()?;
        let listen = format!("127.0.0.1:{}", self.api_port()?);
        let target = format!("{MANAGEMENT}:8443");
        let mut forward = Command::new(self.own_program()?);
        forward.args(["forward", &listen, &self.namespace(), &target]);
        self.start(&mut forward, "forward")?;
        self.wait_for_management()
    }

    /// Starts the management service's process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_management(&self) -> anyhow::Result<()> {
        let mut service = Command::new("ip");
        service.args(["netns", "exec", &self.namespace()]);
        service
            .arg(self.programs.join("podzol-mgmt"))
            .args(["run", "--config"])
            .arg(self.path("mgmt/mgmt.toml"));
        self.start(&mut service, "mgmt")
    }

    /// The process id of the management service.
    ///
    /// # Errors
    /// When it has not been started.
    pub fn management_pid(&self) -> anyhow::Result<i32> {
        Ok(std::fs::read_to_string(self.path("mgmt.pid"))?.trim().parse()?)
    }

    /// Waits until the management service serves.
    ///
    /// # Errors
    /// When it does not in time: with the last reason.
    pub fn wait_for_management(&self) -> anyhow::Result<Cloud> {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let tried = std::fs::read_to_string(self.path("mgmt/admin.key"))
                .map_err(anyhow::Error::from)
                .and_then(|key| {
                    let cloud = Cloud::new(self, self.api_url()?, key.trim().to_owned());
                    cloud.podzol("zone list").map(|_| cloud)
                });
            match tried {
                Ok(cloud) => return Ok(cloud),
                Err(error) if Instant::now() > deadline => {
                    let log = self.path("mgmt.log").display().to_string();
                    return Err(error.context(format!("the management service does not serve; see {log}")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The lab's own program, which has processes of the lab in it too. A scenario is another.
    pub(crate) fn own_program(&self) -> anyhow::Result<PathBuf> {
        let program = self.programs.join("podzol-lab");
        Ok(if program.exists() { program } else { std::env::current_exe()? })
    }

    /// Starts a process that stays, with its log and process id in the lab's folder.
    pub(crate) fn start(&self, command: &mut Command, name: &str) -> anyhow::Result<()> {
        use std::os::unix::process::CommandExt;
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path(&format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        // `ip netns exec` becomes the program, so this is the program's id.
        std::fs::write(self.path(&format!("{name}.pid")), child.id().to_string())?;
        Ok(())
    }
}

/// Waits until a probe succeeds.
///
/// # Errors
/// When it does not in time: with the last reason.
pub fn wait_for<T>(
    what: &str,
    longest: Duration,
    probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    wait_with(what, longest, Duration::from_millis(300), probe)
}

/// As [`wait_for`], with that pause between two looks: each may cost an emulated server more than it seems.
///
/// # Errors
/// As there.
pub(crate) fn wait_with<T>(
    what: &str,
    longest: Duration,
    pause: Duration,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + longest;
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("{what} has not come in {} s; last: {last}", longest.as_secs());
        }
        std::thread::sleep(pause);
    }
}
