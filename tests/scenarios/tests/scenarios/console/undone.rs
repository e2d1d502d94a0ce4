//! What there is at first and at last: no sessions, no proxies, and the lab's own configuration.

use super::*;

/// A lab whose consoles are configured otherwise, until this is dropped.
pub(super) struct Undone<'a> {
    lab: &'a Lab,
    config: String,
}

impl<'a> Undone<'a> {
    /// Starts the management service anew with settings of the section `console`.
    pub(super) fn with(lab: &'a Lab, settings: &[(&str, u32)]) -> anyhow::Result<Self> {
        let undone = Self { lab, config: std::fs::read_to_string(lab.path("mgmt/mgmt.toml"))? };
        set(lab, settings)?;
        restart(lab)?;
        Ok(undone)
    }

    fn undo(&self) -> anyhow::Result<()> {
        let admin = self.lab.cloud()?;
        for session in admin.podzol("console-session list")?.as_array().into_iter().flatten() {
            admin.podzol(&format!("console-session close {}", text(session, "id")))?;
        }
        std::fs::write(self.lab.path("mgmt/mgmt.toml"), &self.config)?;
        restart(self.lab)
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            println!("the lab is not as it was: {error:#}");
        }
    }
}

/// Writes settings of the section `console`, which are in force when the management service is started again.
pub(super) fn set(lab: &Lab, settings: &[(&str, u32)]) -> anyhow::Result<()> {
    let path = lab.path("mgmt/mgmt.toml");
    let config = std::fs::read_to_string(&path)?;
    let (before, after) = config.split_once("[console]\n").context("the lab has no consoles")?;
    let is_other = |line: &&str| !settings.iter().any(|(name, _)| line.starts_with(&format!("{name} = ")));
    let others: Vec<&str> = after.lines().filter(is_other).collect();
    let set: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    Ok(std::fs::write(path, format!("{before}[console]\n{set}{}\n", others.join("\n")))?)
}

fn restart(lab: &Lab) -> anyhow::Result<()> {
    let pid = lab.management_pid()?;
    podzol_lab::program::run("kill", &["-9", &pid.to_string()])?;
    lab.run_management()?;
    lab.wait_for_management().map(drop)
}
