//! Guarding the ports of VMs: what a VM sends must come from its own addresses. The rules are in force before a VM is
//! plugged in, so not one frame gets by.

mod rules;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use podzol_rpc::exec::{self, ExecError};
use tokio::sync::Mutex;

#[cfg(any(test, feature = "sim"))]
pub use rules::listing;
pub use rules::{Change, Port};
pub(crate) use rules::{batch, guarded};

/// How long nft(8) may take. It takes well under a second, on an emulated host too.
const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps rules about ports in force.
pub trait Filter: Send + Sync + 'static {
    /// Brings a change into force, all of it or nothing.
    fn apply(&self, change: &Change) -> impl Future<Output = Result<(), ExecError>> + Send;

    /// The rules in force, as nft(8) lists them.
    fn in_force(&self) -> impl Future<Output = Result<String, ExecError>> + Send;
}

/// The kernel's nftables, through nft(8).
#[derive(Debug, Clone, Copy)]
pub struct Nft;

impl Filter for Nft {
    async fn apply(&self, change: &Change) -> Result<(), ExecError> {
        exec::run_with_input("nft", &["-f", "-"], &batch(change), DEADLINE).await.map(drop)
    }

    async fn in_force(&self) -> Result<String, ExecError> {
        exec::run("nft", &["list", "table", "bridge", "podzol"], DEADLINE).await
    }
}

/// What is known of the rules.
#[derive(Debug, Default)]
struct Known {
    /// The ports that are guarded; nothing if that is not known.
    ports: Option<BTreeSet<Port>>,
    /// The chains as they were listed when they were made.
    chains: Option<String>,
}

impl Known {
    /// Whether a listing shows other rules than were made, as far as those are known.
    fn differ_from(&self, listed: &str) -> bool {
        let (Some(ports), Some(chains)) = (&self.ports, &self.chains) else { return false };
        rules::chains(listed) != chains || !rules::has_elements_of(listed, ports)
    }
}

/// The guards of this host's ports. One change at a time.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<Known>);

impl Guards {
    /// Guards these ports and no others. `ports` is asked when this change's turn has come.
    ///
    /// # Errors
    /// When the rules cannot be changed. What is not known then is made anew the next time.
    pub(crate) async fn converge(
        &self,
        filter: &impl Filter,
        ports: impl Fn() -> BTreeSet<Port>,
    ) -> Result<(), ExecError> {
        let mut known = self.0.lock().await;
        let wanted = ports();
        let change = match &known.ports {
            Some(guarded) if *guarded == wanted => return Ok(()),
            Some(guarded) => Change::Some {
                gone: guarded.difference(&wanted).cloned().collect(),
                new: wanted.difference(guarded).cloned().collect(),
            },
            None => Change::All(wanted.clone()),
        };
        known.ports = None;
        filter.apply(&change).await?;
        if matches!(change, Change::All(_)) {
            known.chains = Some(rules::chains(&filter.in_force().await?).to_owned());
        }
        known.ports = Some(wanted);
        Ok(())
    }

    /// The rules in force, and whether somebody else has changed them since they were made.
    ///
    /// # Errors
    /// When they cannot be listed, as where there are none.
    pub(crate) async fn look(&self, filter: &impl Filter) -> Result<(String, bool), ExecError> {
        let known = self.0.lock().await;
        let listed = filter.in_force().await?;
        let is_changed = known.differ_from(&listed);
        Ok((listed, is_changed))
    }

    /// As [`Guards::converge`], and makes the rules anew if somebody else has changed them.
    ///
    /// # Errors
    /// When the rules cannot be changed.
    pub(crate) async fn put_right(
        &self,
        filter: &impl Filter,
        ports: impl Fn() -> BTreeSet<Port>,
    ) -> Result<(), ExecError> {
        {
            let mut known = self.0.lock().await;
            if known.ports.is_some() && known.differ_from(&filter.in_force().await.unwrap_or_default()) {
                tracing::warn!("somebody else has changed the rules of VMs' ports; making them anew");
                *known = Known::default();
            }
        }
        self.converge(filter, ports).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Rules {
        changes: Mutex<Vec<Change>>,
        fails: Mutex<bool>,
        text: Mutex<String>,
        ports: Mutex<BTreeSet<Port>>,
    }

    impl Filter for Rules {
        async fn apply(&self, change: &Change) -> Result<(), ExecError> {
            if std::mem::take(&mut *self.fails.lock().unwrap()) {
                return Err(ExecError::TooSlow { command: "nft".into(), deadline: DEADLINE });
            }
            self.changes.lock().unwrap().push(change.clone());
            let mut ports = self.ports.lock().unwrap();
            change.make(&mut ports);
            *self.text.lock().unwrap() = listing(&ports);
            Ok(())
        }

        async fn in_force(&self) -> Result<String, ExecError> {
            Ok(self.text.lock().unwrap().clone())
        }
    }

    fn ports(macs: &[u8]) -> BTreeSet<Port> {
        macs.iter()
            .map(|last| {
                let mac = format!("02:00:5e:10:00:{last:02x}").parse().unwrap();
                let (name, address) = (podzol_hypervisor::port_name(mac), [10, 1, 1, *last].into());
                Port { name, mac, address, address6: None, may_route: false }
            })
            .collect()
    }

    #[tokio::test]
    async fn all_rules_are_made_once_and_then_what_changes() {
        let (guards, rules) = (Guards::default(), Rules::default());
        for macs in [&[1][..], &[1], &[1, 2], &[2]] {
            guards.converge(&rules, || ports(macs)).await.unwrap();
        }
        let expected = [
            Change::All(ports(&[1])),
            Change::Some { gone: ports(&[]), new: ports(&[2]) },
            Change::Some { gone: ports(&[1]), new: ports(&[]) },
        ];
        assert_eq!(*rules.changes.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn after_a_failure_all_rules_are_made_anew() {
        let (guards, rules) = (Guards::default(), Rules::default());
        guards.converge(&rules, || ports(&[1])).await.unwrap();
        *rules.fails.lock().unwrap() = true;
        assert!(guards.converge(&rules, || ports(&[1, 2])).await.is_err());
        guards.converge(&rules, || ports(&[1, 2])).await.unwrap();
        assert_eq!(rules.changes.lock().unwrap().last(), Some(&Change::All(ports(&[1, 2]))));
    }

    #[tokio::test]
    async fn rules_that_somebody_changed_are_made_anew() {
        let (guards, rules) = (Guards::default(), Rules::default());
        for _ in 0..3 {
            guards.put_right(&rules, || ports(&[1])).await.unwrap();
        }
        assert_eq!(rules.changes.lock().unwrap().len(), 1);
        for spoil in [
            |_: &str| String::new(),
            |text: &str| text.replace("drop", "accept"),
            |text: &str| text.replace("pzt", "pzx"),
            |text: &str| text.replacen("elements = {", "elements = { \"pzt9\" . 02:00:5e:10:00:09,", 1),
        ] {
            let before = rules.changes.lock().unwrap().len();
            let text = rules.text.lock().unwrap().clone();
            *rules.text.lock().unwrap() = spoil(&text);
            assert!(guards.look(&rules).await.unwrap().1);
            for _ in 0..2 {
                guards.put_right(&rules, || ports(&[1])).await.unwrap();
            }
            assert_eq!(rules.changes.lock().unwrap().len(), before + 1);
            assert!(!guards.look(&rules).await.unwrap().1);
        }
    }
}
