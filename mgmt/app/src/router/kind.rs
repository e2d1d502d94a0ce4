//! What a router can do beside what all can: of which template it is made, and when one that balances HTTP takes the place
//! of one that does not.
//!
//! ```text
//!   a balancer of HTTP is asked for ─┬─ no template with `l7` is ready ─▶ refused, and nothing is written
//!                                    └─ there is one ─▶ written, and a router of another is replaced by one of it
//!   a router is made ─┬─ its account has balancers of HTTP in the zone ─▶ of the newest template with `l7`
//!                     └─ it has none ─▶ of the newest template without
//! ```
//! Where there is none of the kind that is wanted, the newest of the other is taken: VMs need names and leases first. Of those
//! of a kind, an account with a network with IPv6 gets the newest with `ipv6`.
//!
//! IPv6 is the other thing that not all can: those of version 0.2.0 refuse a document with any of it. A network with IPv6 is
//! refused while no router that comes would know it, and a router that does not is replaced when it is written. From then on
//! a router that does not say `ipv6` is told all without it, and the network says why.
//!
//! What a router can do it says itself, in its status. One that does not say `l7` is told of no balancer of HTTP, as it would
//! refuse the whole document for it and every other rule with that. The balancer says meanwhile why it is not in force. Such
//! a router is looked for again and again, so that it is replaced as soon as there is a template or room.
//!
//! # Design notes
//! - A template's word decides which is taken, a router's word what it is told. A template that says too much makes a router
//!   whose balancers of HTTP say so; nothing else comes to harm.
//! - It is replaced at once, though connections through it are lost: a balancer that waits for the next start of a router
//!   may wait for months. Nobody who asks for none is touched.
//! - Nothing goes back by itself: when the last balancer of HTTP goes, the router stays what it is until it is replaced.
//! - Refused: one template for all. What is in an image is in the router's memory, and most accounts balance no HTTP.

use std::time::Duration;

use podzol_appliance_api::{EXTENSION_IPV6, EXTENSION_L7, EXTENSION_LIMITS};
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_api::template::{TemplateExtension, TemplateRole};
use podzol_mgmt_db::{Reader, Tx, find, network, now, offering, router, rule, template, vm};
use podzol_vocab::{AccountId, OfferingId, ZoneId};
use tokio::time::Instant;

use super::known::Heard;
use super::make::of_router;
use crate::operation::start;
use crate::system::parsed;
use crate::{App, AppError};

/// The offerings that routers are of. Where an operator has made none of that name, these are they.
const OFFERING: &str = "router";
const SIZE: Size =
    Size { vcpus: 1, memory_mib: 128, disk_gib: 1, cpu_share: 200, network_mbps: None, iops: None };
const OFFERING_OF_L7: &str = "router-l7";

/// What one that balances HTTP has at least: its image takes 160 MiB, and the connections that it balances a quarter of all.
const MEMORY_OF_L7: u64 = 256;

/// Why a router is replaced.
const FOR_L7: &str = "a balancer of HTTP takes one that can";
const FOR_IPV6: &str = "a network with IPv6 takes one that knows it";

/// How soon it is tried again to replace a router that came to nothing.
const AGAIN: Duration = Duration::from_secs(600);

/// How a router's status names what a template says that it has.
const fn word(extension: TemplateExtension) -> &'static str {
    match extension {
        TemplateExtension::L7 => EXTENSION_L7,
        TemplateExtension::Ipv6 => EXTENSION_IPV6,
    }
}

impl Heard {
    /// Whether the router can balance HTTP, once it has said what it can.
    pub(crate) fn has_l7(&self) -> Option<bool> {
        self.has(EXTENSION_L7)
    }

    /// Whether the router knows IPv6, once it has said what it can.
    pub(crate) fn has_ipv6(&self) -> Option<bool> {
        self.has(EXTENSION_IPV6)
    }

    /// Whether the router knows limits, once it has said what it can.
    pub(crate) fn has_limits(&self) -> Option<bool> {
        self.has(EXTENSION_LIMITS)
    }

    fn has(&self, word: &str) -> Option<bool> {
        self.status.as_ref().map(|status| status.extensions.contains(word))
    }
}

impl App {
    /// Has an account's router in a zone be one that balances HTTP, after a balancer was written that wants it.
    ///
    /// # Errors
    /// When there is no template of such routers, or no host has room for one.
    pub(crate) async fn router_must_balance_http(
        &self,
        tx: &Tx,
        account: AccountId,
        zone: ZoneId,
    ) -> Result<(), AppError> {
        let found = router::of(tx.reader(), account, zone).await?;
        if let Some(row) = &found
            && self.router_has(tx.reader(), row, TemplateExtension::L7).await?
        {
            return Ok(());
        }
        let template = preferred(tx.reader(), account, zone).await?.filter(has_l7);
        let template = template.ok_or_else(|| AppError::Exhausted {
            code: "no_l7_router_template",
            detail: "a balancer of HTTP takes a router whose template has the extension l7, and no such template is \
                     ready; an operator imports router-l7"
                .into(),
            reasons: vec![],
        })?;
        match found {
            Some(row) => self.give_other(tx, row, &template, FOR_L7).await.map(drop),
            // One that comes is of that template.
            None => Ok(()),
        }
    }

    /// Has an account's router in a zone be one that knows IPv6, after a network was written that has it.
    ///
    /// # Errors
    /// When there is no template of such routers, or no host has room for one.
    pub(crate) async fn router_must_know_ipv6(
        &self,
        tx: &Tx,
        account: AccountId,
        zone: ZoneId,
    ) -> Result<(), AppError> {
        let found = router::of(tx.reader(), account, zone).await?;
        if let Some(row) = &found
            && self.router_has(tx.reader(), row, TemplateExtension::Ipv6).await?
        {
            return Ok(());
        }
        let template = preferred(tx.reader(), account, zone).await?.filter(has_ipv6);
        let template = template.ok_or_else(|| AppError::Exhausted {
            code: "no_ipv6_router_template",
            detail: "a network with IPv6 takes a router whose template has the extension ipv6, and no such template that \
                     does what the account's router has to do is ready; an operator imports a newer one"
                .into(),
            reasons: vec![],
        })?;
        match found {
            Some(row) => self.give_other(tx, row, &template, FOR_IPV6).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether a router can do something: as it says, or, before it has said, as its template does.
    async fn router_has(
        &self,
        db: &impl Reader,
        row: &router::Model,
        extension: TemplateExtension,
    ) -> Result<bool, AppError> {
        let known = self.here.routers.get(row.vm_id.0);
        if let Some(says) = known.and_then(|known| known.heard().has(word(extension))) {
            return Ok(says);
        }
        let Some(vm) = find::<vm::Entity>(db, row.vm_id).await? else { return Ok(false) };
        let template = find::<template::Entity>(db, vm.template_id).await?;
        Ok(template.is_some_and(|template| template.extensions.contains(&extension)))
    }

    /// Why the VMs of a router's networks have no IPv6 now, if it keeps them from it.
    pub(crate) fn why_no_ipv6(&self, row: &router::Model) -> Option<&'static str> {
        let known = self.here.routers.get(row.vm_id.0)?;
        if known.heard().has_ipv6() != Some(false) {
            return None;
        }
        Some(match row.next_vm_id {
            Some(_) => "a router that knows IPv6 is taking the place of one that does not",
            None => {
                "the account's router is of an older image, which knows no IPv6; an admin has it replaced"
            }
        })
    }

    /// Whether an account has networks with IPv6 which its router has said that it does not know.
    pub(super) async fn lacks_ipv6(&self, row: &router::Model) -> Result<bool, AppError> {
        let lacks = self.why_no_ipv6(row).is_some();
        Ok(lacks && network::has_ipv6(self.db.reader(), row.account_id.0, row.zone_id.0).await?)
    }

    /// Has a router that does not balance HTTP be replaced, if it should and one can be. Says whether it is.
    pub(super) async fn balance_http(&self, row: &router::Model, vm: &vm::Model) -> Result<bool, AppError> {
        let known = self.here.routers.of(row, vm.id.0);
        let is_due = {
            let heard = known.heard();
            heard.has_l7() == Some(false) && heard.upgraded.is_none_or(|at| at.elapsed() > AGAIN)
        };
        if !is_due || rule::count_http(self.db.reader(), row.account_id.0, row.zone_id.0).await? == 0 {
            return Ok(false);
        }
        let tx = self.db.begin().await?;
        let Some(row) = find::<router::Entity>(tx.reader(), row.id).await? else { return Ok(false) };
        let preferred = preferred(tx.reader(), row.account_id.0, row.zone_id.0).await?;
        let Some(template) = preferred.filter(has_l7) else { return Ok(false) };
        let id = row.id.0;
        match self.give_other(&tx, row, &template, FOR_L7).await {
            Ok(false) => Ok(false),
            Ok(true) => {
                known.heard().upgraded = Some(Instant::now());
                tx.commit().await?;
                self.wake.notify_one();
                Ok(true)
            }
            // Tried again in the next round.
            Err(AppError::Exhausted { detail, reasons, .. }) => {
                let reasons = reasons.join("; ");
                tracing::warn!(router = %id, detail, reasons, "a router cannot be replaced by one that balances HTTP");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Has a router be replaced by one of a template. Says whether it is: not if it is of it already, no VM needs it, or
    /// something else is being done with it.
    async fn give_other(
        &self,
        tx: &Tx,
        row: router::Model,
        template: &template::Model,
        why: &str,
    ) -> Result<bool, AppError> {
        let found = find::<vm::Entity>(tx.reader(), row.vm_id).await?;
        if row.idle_since.is_some() || found.is_none_or(|vm| vm.template_id == template.id) {
            return Ok(false);
        }
        let operation = match self.router_to_replace(tx, row.clone()).await {
            Ok(operation) => operation,
            Err(AppError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(of_router(error)),
        };
        self.router_event(tx, &row, "router.replace", why).await?;
        start(tx, operation).await?;
        Ok(true)
    }

    /// Whether an account has balancers of HTTP which its router has said that it does not balance.
    pub(super) async fn lacks_l7(&self, row: &router::Model) -> Result<bool, AppError> {
        let known = self.here.routers.get(row.vm_id.0);
        let lacks = known.is_some_and(|known| known.heard().has_l7() == Some(false));
        Ok(lacks && rule::count_http(self.db.reader(), row.account_id.0, row.zone_id.0).await? > 0)
    }

    /// Whether a router is about to be one that balances HTTP, which its account waits for.
    pub(crate) async fn awaits_l7(&self, row: &router::Model) -> Result<bool, AppError> {
        Ok(row.next_vm_id.is_some() && self.lacks_l7(row).await?)
    }
}

/// The template that a router of an account in a zone is made of.
pub(super) async fn template_for(
    db: &impl Reader,
    account: AccountId,
    zone: ZoneId,
) -> Result<template::Model, AppError> {
    preferred(db, account, zone).await?.ok_or_else(|| AppError::Exhausted {
        code: "no_router_template",
        detail: "the network has a router, and there is no template of routers that is ready".into(),
        reasons: vec![],
    })
}

/// The template that fits an account's networks and balancers in a zone best, if any is ready.
async fn preferred(
    db: &impl Reader,
    account: AccountId,
    zone: ZoneId,
) -> Result<Option<template::Model>, AppError> {
    let wanted = Wanted {
        l7: rule::count_http(db, account, zone).await? > 0,
        ipv6: network::has_ipv6(db, account, zone).await?,
    };
    Ok(chosen(template::ready_of(db, TemplateRole::Router).await?, wanted))
}

/// What a router is to do beside what all do.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    l7: bool,
    ipv6: bool,
}

/// The first of some templates that balances HTTP if that is wanted, and does not else; among these one that knows IPv6, if
/// that is wanted.
fn chosen(ready: Vec<template::Model>, wanted: Wanted) -> Option<template::Model> {
    let misses =
        |template: &template::Model| (has_l7(template) != wanted.l7, wanted.ipv6 && !has_ipv6(template));
    // Of several that fit as well, it gives the first.
    ready.into_iter().min_by_key(misses)
}

fn has_l7(template: &template::Model) -> bool {
    template.extensions.contains(&TemplateExtension::L7)
}

fn has_ipv6(template: &template::Model) -> bool {
    template.extensions.contains(&TemplateExtension::Ipv6)
}

/// The offering of routers of a template, made if there is none.
pub(super) async fn offering_for(tx: &Tx, template: &template::Model) -> Result<offering::Model, AppError> {
    let name = if has_l7(template) { OFFERING_OF_L7 } else { OFFERING };
    if let Some(row) = offering::named(tx.reader(), name).await? {
        return Ok(row);
    }
    let mut size = SIZE;
    if has_l7(template) {
        // An operator who gives routers more gives these no less.
        size = offering::named(tx.reader(), OFFERING).await?.map_or(SIZE, |row| row.size.0);
        size.memory_mib = size.memory_mib.max(MEMORY_OF_L7);
    }
    let row = offering::Model {
        id: OfferingId::new().into(),
        name: parsed(name)?.into(),
        size: size.into(),
        tags: None,
        created_at: now().0,
    };
    tx.offering_create(row.clone()).await?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use podzol_mgmt_api::template::{TemplateFormat, TemplateState};
    use podzol_mgmt_db::JsonCol;
    use podzol_vocab::{Sha256, TemplateId};

    use super::*;

    fn template(name: &str, extensions: &[TemplateExtension]) -> template::Model {
        template::Model {
            id: TemplateId::new().into(),
            name: parsed(name).unwrap().into(),
            sha256: Sha256::from_bytes([0; 32]).into(),
            format: JsonCol(TemplateFormat::Qcow2),
            os: String::new(),
            url: None,
            state: JsonCol(TemplateState::Ready),
            size_bytes: None,
            virtual_size_bytes: None,
            error: None,
            created_at: 0,
            role: Some(JsonCol(TemplateRole::Router)),
            signed: None,
            extensions: JsonCol(extensions.iter().copied().collect()),
        }
    }

    #[test]
    fn the_newest_of_the_kind_that_is_wanted_is_taken_and_else_the_newest() {
        let (plain, l7) = (template("plain", &[]), template("l7", &[TemplateExtension::L7]));
        let older = template("older", &[]);
        let taken = |ready: &[&template::Model], l7| {
            let chosen = chosen(ready.iter().copied().cloned().collect(), Wanted { l7, ipv6: false });
            chosen.map(|template| template.name.to_string()).unwrap_or_default()
        };
        assert_eq!(taken(&[&l7, &plain, &older], false), "plain");
        assert_eq!(taken(&[&plain, &l7, &older], true), "l7");
        assert_eq!(taken(&[&plain, &older], true), "plain");
        assert_eq!(taken(&[&l7], false), "l7");
        assert_eq!(taken(&[], true), "");
    }

    #[test]
    fn one_that_knows_ipv6_is_taken_of_the_kind_that_is_wanted() {
        use TemplateExtension::{Ipv6, L7};
        let (plain, plain6) = (template("plain", &[]), template("plain6", &[Ipv6]));
        let (l7, l76) = (template("l7", &[L7]), template("l76", &[L7, Ipv6]));
        let taken = |ready: &[&template::Model], l7| {
            let chosen = chosen(ready.iter().copied().cloned().collect(), Wanted { l7, ipv6: true });
            chosen.map(|template| template.name.to_string()).unwrap_or_default()
        };
        assert_eq!(taken(&[&plain, &l76, &plain6, &l7], false), "plain6");
        assert_eq!(taken(&[&plain, &l7, &plain6, &l76], true), "l76");
        // Who balances HTTP goes on with that.
        assert_eq!(taken(&[&plain6, &l7], true), "l7");
        assert_eq!(taken(&[&plain, &l76], false), "plain");
    }
}
