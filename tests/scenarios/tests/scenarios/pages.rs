//! Pages in this machine's Chromium, which is outside of the cloud as customers are: it asks the console domain's name server for the
//! proxies' addresses, and trusts the installation's authority and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, ensure};
use podzol_lab::outside::NAME_SERVER;
use podzol_lab::{Lab, program};
use serde_json::{Value, json};

/// What drives it, in the viewer's folder.
const DRIVER: &str = "tests/lab/pages.ts";

/// Runs a command whose resolver is configured by a file, where `ip netns exec` has made a mount namespace of its own.
const RESOLVED_BY: &str = r#"mount --bind "$1" /etc/resolv.conf; shift; exec "$@""#;

/// A browser without a window, until it is dropped.
pub(crate) struct Pages {
    driver: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The home folder of whoever runs the browser.
    _home: tempfile::TempDir,
}

/// What a page shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The name of the proxy that it is at.
    pub(crate) host: String,
    /// What it says of its line: `on` while it is connected.
    pub(crate) phase: String,
    /// Its picture.
    pub(crate) picture: Picture,
}

/// A picture, as far as it matters whether it is another's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// In pixels.
    pub(crate) size: (u64, u64),
    /// SHA-256 of red, green and blue of all pixels, row by row.
    pub(crate) sha256: String,
}

impl Pages {
    /// Starts the browser.
    pub(crate) fn start(lab: &Lab) -> anyhow::Result<Self> {
        let viewer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../console-proxy/viewer");
        let home = tempfile::tempdir()?;
        trust(home.path(), &lab.path("mgmt/ca.pem"))?;
        let resolver = home.path().join("resolv.conf");
        std::fs::write(&resolver, format!("nameserver {NAME_SERVER}\noptions use-vc\n"))?;
        let mut driver = lab
            .outside_command()
            .args(["sh", "-ec", RESOLVED_BY, "sh"])
            .arg(resolver)
            .args(["node_modules/.bin/vite-node", DRIVER])
            .env("HOME", home.path())
            .current_dir(viewer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the browser")?;
        let input = driver.stdin.take().context("the browser's input")?;
        let output = BufReader::new(driver.stdout.take().context("the browser's output")?);
        Ok(Self { driver, input, output, _home: home })
    }

    /// Opens a page on a link.
    pub(crate) fn open(&mut self, page: &str, url: &str) -> anyhow::Result<()> {
        self.ask(&json!({ "what": "open", "page": page, "url": url })).map(drop)
    }

    /// What a page shows.
    ///
    /// # Errors
    /// When it has complained of anything, too.
    pub(crate) fn look(&mut self, page: &str) -> anyhow::Result<Seen> {
        let seen = self.ask(&json!({ "what": "look", "page": page }))?;
        ensure!(seen["complaints"].as_array().is_some_and(Vec::is_empty), "{page}: {}", seen["complaints"]);
        let text = |field: &str| seen[field].as_str().unwrap_or_default().to_owned();
        let size = (seen["width"].as_u64().unwrap_or(0), seen["height"].as_u64().unwrap_or(0));
        let picture = Picture { size, sha256: text("sha256") };
        Ok(Seen { host: text("host"), phase: text("phase"), picture })
    }

    /// Types a line on a page's serial console, and gives what that shows then.
    pub(crate) fn serial(&mut self, page: &str, line: &str) -> anyhow::Result<String> {
        let answer = self.ask(&json!({ "what": "serial", "page": page, "line": line }))?;
        Ok(answer["text"].as_str().unwrap_or_default().to_owned())
    }

    /// Closes a page.
    pub(crate) fn close(&mut self, page: &str) -> anyhow::Result<()> {
        self.ask(&json!({ "what": "close", "page": page })).map(drop)
    }

    fn ask(&mut self, asked: &Value) -> anyhow::Result<Value> {
        writeln!(self.input, "{asked}").context("asking the browser")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("the browser says {line:?}"))?;
        ensure!(answer["error"].is_null(), "{asked}: {}", answer["error"]);
        Ok(answer)
    }
}

/// Has browsers of whoever has that home folder trust an authority.
fn trust(home: &Path, authority: &Path) -> anyhow::Result<()> {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store)?;
    let store = format!("sql:{}", store.display());
    program::run("certutil", &["-d", &store, "-N", "--empty-password"])?;
    let authority = authority.display().to_string();
    program::run("certutil", &["-d", &store, "-A", "-n", "podzol", "-t", "C,,", "-i", &authority]).map(drop)
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
