//! Carrying out what is asked of consoles, their sessions and the proxies that show them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Session;
use crate::arguments::{Console, ConsoleCertificateVerb, ConsoleProxyVerb, ConsoleSessionVerb};
use crate::things::{CONSOLE_PROXY, CONSOLE_SESSION, VM};
use crate::{output, wait};

/// Where the wildcard certificate is.
const CERTIFICATE: &str = "/v1/console-certificate";

impl Session {
    /// Prints the link to a VM's console, after waiting for a proxy if there was no room for it.
    pub(super) async fn console(&self, console: Console) -> anyhow::Result<()> {
        let path = format!("{}/console", VM.at(&VM.id(&self.api, &console.vm).await?));
        let mut opened = self.api.post(&path, &json!({"view_only": console.view_only})).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(console.timeout);
        while opened["url"].is_null() {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            wait::wait(&self.api, &opened["operation"], left).await?;
            // The link is made when it is asked for, as it is good for a minute only.
            opened = self.api.act(&path, &json!({"session": opened["session"]["id"]})).await?;
        }
        let url = opened["url"].as_str().context("the API answered without a link")?;
        if self.json {
            self.print(&opened).await?;
        } else {
            output::print(&format!("{url}\n"))?;
        }
        if console.open { open(url) } else { Ok(()) }
    }

    pub(super) async fn console_session(&self, verb: ConsoleSessionVerb) -> anyhow::Result<()> {
        match verb {
            ConsoleSessionVerb::List(list) => self.list(CONSOLE_SESSION, list).await,
            ConsoleSessionVerb::Show(which) => {
                self.print(&self.api.get(&CONSOLE_SESSION.at(&which.which), &[]).await?).await
            }
            ConsoleSessionVerb::Close(delete) => self.delete(CONSOLE_SESSION, delete).await,
        }
    }

    pub(super) async fn console_proxy(&self, verb: ConsoleProxyVerb) -> anyhow::Result<()> {
        match verb {
            ConsoleProxyVerb::List(list) => self.list(CONSOLE_PROXY, list).await,
            ConsoleProxyVerb::Show(which) => {
                self.print(&self.api.get(&CONSOLE_PROXY.at(&which.which), &[]).await?).await
            }
            ConsoleProxyVerb::Drain(which) => {
                self.act(CONSOLE_PROXY, &which.which, "drain", json!({}), None).await
            }
        }
    }

    pub(super) async fn console_certificate(&self, verb: ConsoleCertificateVerb) -> anyhow::Result<()> {
        match verb {
            ConsoleCertificateVerb::Show => self.print(&self.api.get(CERTIFICATE, &[]).await?).await,
            ConsoleCertificateVerb::Set { certificates, key } => {
                let body = json!({"certificates": read(&certificates)?, "key": read(&key)?});
                self.print(&self.api.put(CERTIFICATE, &body).await?).await
            }
            ConsoleCertificateVerb::Reset => {
                self.api.delete(CERTIFICATE).await?;
                Ok(())
            }
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.into())
}

/// Has the desktop open a link. The link is not seen by others of the machine for longer than that takes.
fn open(url: &str) -> anyhow::Result<()> {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut opening = Command::new(opener);
    opening.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = opening.status().with_context(|| format!("cannot run {opener}, which opens links"))?;
    anyhow::ensure!(status.success(), "{opener} could not open the link: {status}");
    Ok(())
}
