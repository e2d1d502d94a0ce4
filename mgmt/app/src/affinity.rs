//! Affinity groups.

use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::affinity::{AffinityGroup, AffinityGroupCreate};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::{Reader, account, affinity, find, now, vm};
use podzol_vocab::AffinityGroupId;

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::{Actor, App, AppError, view};

impl Secretive for AffinityGroup {}

impl App {
    /// Creates an affinity group.
    ///
    /// # Errors
    /// When the name is taken.
    pub async fn affinity_group_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: AffinityGroupCreate,
    ) -> Result<AffinityGroup, AppError> {
        let account = actor.account_for(body.account)?;
        self.create(actor, once, async |tx| {
            find::<account::Entity>(tx.reader(), account).await?.ok_or(AppError::NotFound("account"))?;
            let row = affinity::Model {
                id: AffinityGroupId::new().into(),
                account_id: account.into(),
                name: body.name.clone().into(),
                policy: body.policy.into(),
                created_at: now().0,
            };
            let taken = || AppError::taken("affinity group", &body.name);
            tx.affinity_group_create(row.clone()).await.or_taken(taken)?;
            let (id, kind) = (row.id.0, "affinity-group");
            self.record(tx, actor, "affinity-group.create", Some(account), kind, id, &body.name).await?;
            Ok(view::affinity_group(row))
        })
        .await
    }

    /// The affinity groups that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn affinity_group_list(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<AffinityGroup>, AppError> {
        let page = view::page_of(query)?;
        let rows = affinity::list(self.db.reader(), actor.scope(filter.account), &page).await?;
        let items = rows.into_iter().map(view::affinity_group).collect();
        Ok(view::page(&page, items, |group| group.id.to_string()))
    }

    /// An affinity group with its VMs.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn affinity_group_show(
        &self,
        actor: &Actor,
        id: AffinityGroupId,
    ) -> Result<AffinityGroup, AppError> {
        let row = affinity_group(self.db.reader(), actor, id).await?;
        let vms = vm::of_group(self.db.reader(), id).await?;
        let vms = vms.into_iter().map(|vm| vm.id.0).collect();
        Ok(AffinityGroup { vms: Some(vms), ..view::affinity_group(row) })
    }

    /// Deletes an affinity group without VMs.
    ///
    /// # Errors
    /// When a VM is in it.
    pub async fn affinity_group_delete(&self, actor: &Actor, id: AffinityGroupId) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let row = affinity_group(tx.reader(), actor, id).await?;
        if !vm::of_group(tx.reader(), id).await?.is_empty() {
            return Err(AppError::in_use("VMs are still in it"));
        }
        tx.affinity_group_delete(&row).await?;
        let (account, kind) = (Some(row.account_id.0), "affinity-group");
        self.record(&tx, actor, "affinity-group.delete", account, kind, id, &row.name).await?;
        Ok(tx.commit().await?)
    }
}

/// The row of a group that the caller may see.
pub(crate) async fn affinity_group(
    db: &impl Reader,
    actor: &Actor,
    id: AffinityGroupId,
) -> Result<affinity::Model, AppError> {
    let row = find::<affinity::Entity>(db, id).await?;
    row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("affinity group"))
}
