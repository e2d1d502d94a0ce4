//! Templates.

use std::collections::BTreeSet;

use podzol_mgmt_api::template::{
    SignedManifest, TemplateExtension, TemplateFormat, TemplateRole, TemplateState,
};
use podzol_vocab::{Name, Sha256, TemplateId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "templates")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<TemplateId>,
    pub name: Col<Name>,
    pub sha256: Col<Sha256>,
    pub format: JsonCol<TemplateFormat>,
    pub os: String,
    pub url: Option<String>,
    pub state: JsonCol<TemplateState>,
    pub size_bytes: Option<i64>,
    pub virtual_size_bytes: Option<i64>,
    pub error: Option<String>,
    pub created_at: i64,
    /// What VMs of it are for, if that is a part of Podzol.
    pub role: Option<JsonCol<TemplateRole>>,
    /// Who made it.
    pub signed: Option<JsonCol<SignedManifest>>,
    /// What VMs of it can do beside what all of its role can.
    pub extensions: JsonCol<BTreeSet<TemplateExtension>>,
}

crate::no_relations!(kept);

impl Model {
    /// Whether it is an ISO, and no disk.
    pub fn is_iso(&self) -> bool {
        self.format.0 == TemplateFormat::Iso
    }
}

/// A page of templates.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, page: &PageOf) -> Result<Vec<Model>, DbError> {
    Ok(page.of(Entity::find(), Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// All templates.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().fetch(db).await?)
}

/// The templates of a role that VMs can be made of, the newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn ready_of(db: &impl Reader, role: TemplateRole) -> Result<Vec<Model>, DbError> {
    let ready = Entity::find().filter(Column::State.eq(JsonCol(TemplateState::Ready)));
    let of_role = ready.filter(Column::Role.eq(JsonCol(role)));
    Ok(of_role.order_by_desc(Column::Id).fetch(db).await?)
}

impl Tx {
    /// Adds a template.
    ///
    /// # Errors
    /// [`DbError::Taken`] when there is one with that name.
    pub async fn template_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("template", row.id.0, None);
        self.insert::<Entity>(row)
    }

    /// Writes a template as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn template_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("template", row.id.0, None);
        self.update::<Entity>(row)
    }

    /// Removes a template.
    ///
    /// # Errors
    /// [`DbError::Referred`] when there are VMs of it, or with it in their drives.
    pub async fn template_delete(&self, id: TemplateId) -> Result<(), DbError> {
        self.changed("template", id, None);
        Entity::delete_by_id(Col(id)).exec(self.reader()).await?;
        Ok(())
    }
}
