//! The service in a process of its own, and what the kernel says of that process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use podzol_test_support::Api;
use tempfile::TempDir;

use crate::client::Client;

/// The service.
pub(crate) struct Management {
    folder: TempDir,
    api: SocketAddr,
    agents: SocketAddr,
    child: Child,
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) cpu: Duration,
    pub(crate) written: u64,
    pub(crate) resident_mib: u64,
}

impl Figures {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { cpu: self.cpu - before.cpu, written: self.written - before.written, ..*self }
    }

    /// In words, for each of so many operations.
    pub(crate) fn each(&self, operations: usize) -> String {
        format!(
            "each {:.2} ms of the service's CPU time and {:.1} KiB written",
            self.cpu.as_secs_f64() * 1000.0 / operations as f64,
            self.written as f64 / 1024.0 / operations as f64
        )
    }
}

impl Management {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (api, agents) = (free_address()?, free_address()?);
        let text = format!(
            "data_dir = '{}'\napi_listen = '{api}'\nagent_listen = '{agents}'\naddresses = ['127.0.0.1']\nlog = 'warn'\n\
             cpu_overcommit = 64\nstorage_overcommit = 64\nsilent_secs = 3600\njoin_token_secs = 86400\n\
             api_requests_per_second = 1000000\nvm_start_secs = 3600\n",
            folder.path().join("data").display()
        );
        std::fs::write(folder.path().join("mgmt.toml"), text)?;
        let child = run(&folder)?;
        let management = Self { folder, api, agents, child };
        management.wait_until_it_listens()?;
        Ok(management)
    }

    fn wait_until_it_listens(&self) -> Result<()> {
        let began = Instant::now();
        while self.read("admin.key").is_err() || std::net::TcpStream::connect(self.api).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(60), "the service does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn agent_address(&self) -> SocketAddr {
        self.agents
    }

    pub(crate) fn api(&self) -> Result<Api> {
        let key = self.read("admin.key")?.trim().to_owned();
        Ok(Api::new(self.api, &self.read("ca.pem")?, Some(key)))
    }

    /// Another client, with a connection of its own.
    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(self.api, &self.read("ca.pem")?, self.read("admin.key")?.trim()).await
    }

    /// How many transactions, commits and waits for the disk its database has counted.
    pub(crate) async fn written(&self, api: &Api) -> Result<[u64; 3]> {
        let metrics = String::from_utf8(api.get_bytes("/metrics").await)?;
        let count = |name: &str| -> Result<u64> {
            let line =
                metrics.lines().find_map(|line| line.strip_prefix(name)).context("it is not counted")?;
            Ok(line.trim().parse()?)
        };
        Ok([
            count("podzol_database_transactions_total ")?,
            count("podzol_database_commits_total ")?,
            count("podzol_database_waits_total ")?,
        ])
    }

    /// Kills it, and starts it again.
    pub(crate) fn kill_and_start(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = run(&self.folder)?;
        self.wait_until_it_listens()
    }

    pub(crate) fn figures(&self) -> Result<Figures> {
        figures(self.child.id())
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("data").join(name))?)
    }
}

/// What this program has used: the clients and the simulated agents.
pub(crate) fn own_figures() -> Result<Figures> {
    figures(std::process::id())
}

/// See proc_pid_stat(5), proc_pid_io(5) and proc_pid_status(5).
fn figures(process: u32) -> Result<Figures> {
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    let stat = of("stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let (status, io) = (of("status")?, of("io")?);
    let number = |text: &str, name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("a field is missing")?;
        Ok(line.split_whitespace().next().context("a number is missing")?.parse()?)
    };
    Ok(Figures {
        // 100 ticks a second on every Linux of these days.
        cpu: Duration::from_millis(ticks * 10),
        written: number(&io, "write_bytes:")?,
        resident_mib: number(&status, "VmRSS:")? / 1024,
    })
}

impl Drop for Management {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(folder: &TempDir) -> Result<Child> {
    let program: PathBuf = std::env::current_exe()?.with_file_name("podzol-mgmt");
    let log = std::fs::File::create(folder.path().join("mgmt.log"))?;
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(folder.path().join("mgmt.toml")).stdin(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

/// An address of this machine that nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
