//! What differs in a pool, and in whom it is exported to, from what the rows say.

use std::collections::{BTreeMap, BTreeSet};

use podzol_mgmt_api::doctor::Finding;
use podzol_mgmt_api::template::TemplateState;
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_db::{find, operation, pool, template, volume};
use podzol_storage_api::{Contents, PoolContents};
use podzol_vocab::{ByteSize, Sha256, TemplateId, VolumeId};

use super::CALL;
use crate::pool::pool_operation;
use crate::volume::is_on_host;
use crate::work::{host_addresses, storage_peer};
use crate::{App, AppError};

/// What a pool should be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expected {
    /// The volumes that may be in it, each with whether it must be.
    volumes: BTreeMap<VolumeId, bool>,
    /// How large the disks are of those with which nothing is being done.
    sizes: BTreeMap<VolumeId, ByteSize>,
    /// The templates that may be in it, each with its id if it must be.
    templates: BTreeMap<Sha256, Option<TemplateId>>,
    /// To whom it must be exported; nothing while that is being changed.
    exported_to: Option<BTreeSet<String>>,
    /// How long a volume is kept that nobody has, in seconds.
    leftovers_are_kept: u64,
}

impl App {
    pub(super) async fn diagnose_pool(&self, row: &pool::Model) -> Result<Vec<Finding>, AppError> {
        let before = self.expected_of(row).await?;
        let contents =
            match self.peers.call::<PoolContents>(storage_peer(row)?, &(row.id.0,), &(), CALL).await {
                Ok(contents) => contents,
                Err(error) => {
                    return Ok(vec![Finding {
                        place: place(row),
                        code: "no_answer".into(),
                        subject: row.id.to_string(),
                        detail: error.to_string(),
                        cause: None,
                    }]);
                }
            };
        let after = self.expected_of(row).await?;
        let still: BTreeSet<Finding> = compare(&place(row), &after, &contents).into_iter().collect();
        let mut findings = compare(&place(row), &before, &contents);
        findings.retain(|finding| still.contains(finding));
        Ok(findings)
    }

    async fn expected_of(&self, row: &pool::Model) -> Result<Expected, AppError> {
        let db = self.db.reader();
        let must_be_there = |state| matches!(state, VolumeState::Ready | VolumeState::Resizing);
        let volumes = volume::of_pool(db, row.id.0).await?;
        let mut rows = template::all(db).await?;
        rows.retain(|row| row.state.0 != TemplateState::Failed);
        let hosts = host_addresses(db, row.zone_id.0).await?;
        // Last: what had an operation that has ended meanwhile is as it should be.
        let open = operation::all_open_subjects(db).await?;
        let at_work: BTreeSet<Sha256> =
            rows.iter().filter(|row| open.contains(&row.id.to_string())).map(|row| row.sha256.0).collect();
        let mut templates = BTreeMap::new();
        for row in rows {
            let is_there = row.state.0 == TemplateState::Ready && !at_work.contains(&row.sha256.0);
            // Several can be of the same bytes.
            let known = templates.entry(row.sha256.0).or_insert(None);
            *known = known.or(is_there.then_some(row.id.0));
        }
        let settled = |one: &&volume::Model| {
            let of_vm = one.vm_id.is_some_and(|vm| open.contains(&vm.to_string()));
            one.state.0 == VolumeState::Ready && !of_vm && !open.contains(&one.id.to_string())
        };
        // An image has whole sectors.
        let size = |one: &volume::Model| (one.id.0, ByteSize((one.size_bytes as u64).next_multiple_of(512)));
        Ok(Expected {
            sizes: volumes.iter().filter(settled).map(size).collect(),
            volumes: volumes.iter().map(|volume| (volume.id.0, must_be_there(volume.state.0))).collect(),
            templates,
            exported_to: (!open.contains(&row.id.to_string())).then(|| hosts.into_iter().collect()),
            leftovers_are_kept: self.settings.leftover_after.as_secs(),
        })
    }

    /// Has templates brought again that are missing in a pool, pools exported again that are exported to others than
    /// they should be, and volumes made as large as they should be.
    pub(super) async fn mend_pools(
        &self,
        pools: &[pool::Model],
        findings: &[Finding],
    ) -> Result<(), AppError> {
        let with = |codes: &[&str]| -> Vec<&Finding> {
            findings.iter().filter(|finding| codes.contains(&finding.code.as_str())).collect()
        };
        for id in with(&["template_missing"]).iter().filter_map(|finding| finding.subject.parse().ok()) {
            let id: TemplateId = id;
            let tx = self.db.begin().await?;
            let Some(row) = find::<template::Entity>(tx.reader(), id).await? else { continue };
            if operation::open_of(tx.reader(), &id.to_string()).await?.is_empty() {
                self.template_import_again(&tx, &row).await?;
                tx.commit().await?;
            }
        }
        for id in with(&["volume_size"]).iter().filter_map(|finding| finding.subject.parse().ok()) {
            let id: VolumeId = id;
            let tx = self.db.begin().await?;
            let Some(row) = find::<volume::Entity>(tx.reader(), id).await? else { continue };
            let vm = row.vm_id.map(|vm| vm.to_string());
            let busy = [Some(id.to_string()), vm].into_iter().flatten();
            let mut open = Vec::new();
            for subject in busy {
                open.extend(operation::open_of(tx.reader(), &subject).await?);
            }
            // An image that a host has open is that host's to write.
            let free = open.is_empty() && !is_on_host(tx.reader(), &row).await?;
            if free && row.state.0 == VolumeState::Ready {
                self.volume_grow_again(&tx, row).await?;
                tx.commit().await?;
            }
        }
        let places: BTreeSet<&str> = with(&["export_missing", "export_left_over"])
            .iter()
            .map(|finding| finding.place.as_str())
            .collect();
        for row in pools.iter().filter(|row| places.contains(place(row).as_str())) {
            let tx = self.db.begin().await?;
            if operation::open_of(tx.reader(), &row.id.to_string()).await?.is_empty() {
                crate::operation::start(&tx, pool_operation("pool.export", row)).await?;
                tx.commit().await?;
            }
        }
        self.wake.notify_one();
        Ok(())
    }
}

fn place(row: &pool::Model) -> String {
    format!("pool {}", row.name.0)
}

/// What differs in a pool from what it should be like.
fn compare(place: &str, expected: &Expected, has: &Contents) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |code: &str, subject: String, detail: &str, cause: Option<String>| {
        let (place, code, detail) = (place.to_owned(), code.to_owned(), detail.to_owned());
        findings.push(Finding { place, code, subject, detail, cause });
    };
    for volume in has.volumes.iter().filter(|volume| !expected.volumes.contains_key(volume)) {
        let kept = expected.leftovers_are_kept;
        let cause =
            format!("left over from a crash or an older database; kept for {kept} s, or until a repair");
        add("volume_left_over", volume.to_string(), "nobody has it", Some(cause));
    }
    for (volume, must_be) in &expected.volumes {
        if *must_be && !has.volumes.contains(volume) {
            let detail = "it should be there and is not: its contents are lost, or in another place";
            add("volume_missing", volume.to_string(), detail, None);
        }
    }
    for (volume, should) in &expected.sizes {
        let Some(is) = has.sizes.get(volume).filter(|is| *is != should) else { continue };
        let cause = match is < should {
            true => {
                "somebody else has made it smaller; it gets its size when its VM next starts, or by a repair with that stopped"
            }
            false => "somebody else has made it larger; it is what it should be once it is resized to that",
        };
        let detail = format!("its disk has {is} and should have {should}");
        add("volume_size", volume.to_string(), &detail, Some(cause.to_owned()));
    }
    // A template that was deleted stays as long as a volume is based on it, which the pool alone can tell.
    if has.volumes.is_empty() {
        for sha256 in has.templates.iter().filter(|sha256| !expected.templates.contains_key(sha256)) {
            let cause = Some("it was deleted, or called off; its file goes within a minute".to_owned());
            add("template_left_over", sha256.to_string(), "no template is made of it", cause);
        }
    }
    for (sha256, id) in &expected.templates {
        if let Some(id) = id.filter(|_| !has.templates.contains(sha256)) {
            let cause = "somebody else has removed its file, or it could not be brought into this pool; it is brought again \
                         when a volume needs it, or by a repair";
            add("template_missing", id.to_string(), "it should be there and is not", Some(cause.to_owned()));
        }
    }
    if let (Some(wanted), Some(found)) = (&expected.exported_to, &has.exported_to) {
        let cause = || {
            let cause = "somebody else has changed the exports; a repair puts right all but what stands in /etc/exports";
            Some(cause.to_owned())
        };
        for host in wanted.difference(found) {
            add("export_missing", host.clone(), "the pool is not exported to this host", cause());
        }
        for host in found.difference(wanted) {
            add(
                "export_left_over",
                host.clone(),
                "the pool is exported to what is no host of its zone",
                cause(),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected {
            volumes: [(VolumeId::from_bytes([1; 16]), true), (VolumeId::from_bytes([2; 16]), false)].into(),
            sizes: [(VolumeId::from_bytes([1; 16]), ByteSize(512))].into(),
            templates: [
                (Sha256::from_bytes([1; 32]), Some(TemplateId::from_bytes([1; 16]))),
                (Sha256::from_bytes([2; 32]), None),
            ]
            .into(),
            exported_to: Some(["10.0.0.1".to_owned()].into()),
            leftovers_are_kept: 60,
        }
    }

    fn there() -> Contents {
        Contents {
            volumes: vec![VolumeId::from_bytes([1; 16])],
            templates: vec![Sha256::from_bytes([1; 32])],
            sizes: [(VolumeId::from_bytes([1; 16]), ByteSize(512))].into(),
            exported_to: Some(["10.0.0.1".to_owned()].into()),
        }
    }

    fn codes(expected: &Expected, has: &Contents) -> Vec<String> {
        compare("pool p", expected, has).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_volume_of_another_size_is_found_unless_something_is_being_done_with_it_or_nobody_told() {
        let other = Contents { sizes: [(VolumeId::from_bytes([1; 16]), ByteSize(1024))].into(), ..there() };
        assert_eq!(codes(&expected(), &other), ["volume_size"]);
        assert_eq!(codes(&Expected { sizes: BTreeMap::new(), ..expected() }, &other), Vec::<String>::new());
        let untold = Contents { sizes: BTreeMap::new(), ..there() };
        assert_eq!(codes(&expected(), &untold), Vec::<String>::new());
    }

    #[test]
    fn a_pool_that_is_as_it_should_be_has_no_findings() {
        assert_eq!(codes(&expected(), &there()), Vec::<String>::new());
        // Agents of the version before do not tell of exports.
        assert_eq!(codes(&expected(), &Contents { exported_to: None, ..there() }), Vec::<String>::new());
    }

    #[test]
    fn all_that_is_missing_is_found_and_all_that_is_left_over() {
        let nothing = Contents {
            volumes: vec![],
            templates: vec![],
            sizes: BTreeMap::new(),
            exported_to: Some(BTreeSet::new()),
        };
        assert_eq!(codes(&expected(), &nothing), ["volume_missing", "template_missing", "export_missing"]);
        assert_eq!(codes(&Expected { exported_to: None, ..expected() }, &nothing).len(), 2);
        let empty = Expected { exported_to: Some(BTreeSet::new()), ..Expected::default() };
        assert_eq!(codes(&empty, &there()), ["volume_left_over", "export_left_over"]);
        let without_volumes = Contents { volumes: vec![], ..there() };
        assert_eq!(codes(&empty, &without_volumes), ["template_left_over", "export_left_over"]);
    }
}
