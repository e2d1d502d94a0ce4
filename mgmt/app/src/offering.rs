//! Offerings.

use podzol_mgmt_api::offering::{Offering, OfferingCreate, OfferingUpdate, Size};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::{find, now, offering, vm};
use podzol_vocab::OfferingId;

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::server::check_tags;
use crate::{Actor, App, AppError, limits, view};

impl Secretive for Offering {}

impl App {
    /// Creates an offering.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, or a number is out of its range.
    pub async fn offering_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: OfferingCreate,
    ) -> Result<Offering, AppError> {
        actor.must_be_admin()?;
        let size = size(&body)?;
        check_tags("tags", Some(&body.tags))?;
        self.create(actor, once, async |tx| {
            let row = offering::Model {
                id: OfferingId::new().into(),
                name: body.name.clone().into(),
                size: size.into(),
                tags: Some(body.tags.clone().into()),
                created_at: now().0,
            };
            tx.offering_create(row.clone()).await.or_taken(|| AppError::taken("offering", &body.name))?;
            self.record(tx, actor, "offering.create", None, "offering", row.id.0, &body.name).await?;
            Ok(view::offering(row))
        })
        .await
    }

    /// The offerings.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn offering_list(&self, query: &PageQuery) -> Result<Page<Offering>, AppError> {
        let page = view::page_of(query)?;
        let rows = offering::list(self.db.reader(), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::offering).collect(), |offering| {
            offering.id.to_string()
        }))
    }

    /// An offering.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none.
    pub async fn offering_show(&self, id: OfferingId) -> Result<Offering, AppError> {
        let row = find::<offering::Entity>(self.db.reader(), id).await?;
        Ok(view::offering(row.ok_or(AppError::NotFound("offering"))?))
    }

    /// Changes an offering's limits, and those of its VMs.
    ///
    /// # Errors
    /// When the caller is no admin, there is none, or a number is out of its range.
    pub async fn offering_update(
        &self,
        actor: &Actor,
        id: OfferingId,
        body: OfferingUpdate,
    ) -> Result<Offering, AppError> {
        actor.must_be_admin()?;
        limits::check(&body.limits)?;
        let tx = self.db.begin().await?;
        let row = find::<offering::Entity>(tx.reader(), id).await?;
        let mut row = row.ok_or(AppError::NotFound("offering"))?;
        (row.size.0.network_mbps, row.size.0.iops) = (body.limits.network_mbps, body.limits.iops);
        tx.offering_update(row.clone()).await?;
        tx.vm_limits_changed(vm::LimitsOf::Offering(id)).await?;
        self.record(&tx, actor, "offering.update", None, "offering", id, &row.name.0).await?;
        tx.commit().await?;
        Ok(view::offering(row))
    }

    /// Deletes an offering of which there is no VM.
    ///
    /// # Errors
    /// When there is one.
    pub async fn offering_delete(&self, actor: &Actor, id: OfferingId) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let offering = self.offering_show(id).await?;
        let tx = self.db.begin().await?;
        tx.offering_delete(id)
            .await
            .or_referred(|| AppError::in_use("there are still VMs of this offering"))?;
        self.record(&tx, actor, "offering.delete", None, "offering", id, &offering.name).await?;
        Ok(tx.commit().await?)
    }
}

fn size(body: &OfferingCreate) -> Result<Size, AppError> {
    let within = |field, value: u64, low: u64, high: u64| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(AppError::invalid(field, format!("must be {low} to {high}, not {value}")))
        }
    };
    within("vcpus", body.vcpus.into(), 1, 254)?;
    within("cpu_share", body.cpu_share.into(), 1, 10_000)?;
    within("memory_mib", body.memory_mib, 32, 4 << 20)?;
    within("disk_gib", body.disk_gib, 1, 4_096)?;
    within("network_mbps", body.network_mbps.unwrap_or(1), 1, 1_000_000)?;
    within("iops", body.iops.unwrap_or(1), 1, 10_000_000)?;
    Ok(Size {
        vcpus: body.vcpus,
        cpu_share: body.cpu_share,
        memory_mib: body.memory_mib,
        disk_gib: body.disk_gib,
        network_mbps: body.network_mbps,
        iops: body.iops,
    })
}
