//! VMs that move between hosts and stand still.

use sea_orm_migration::prelude::*;

use super::columns::{index, text_or_none, truth};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut paused = truth("paused");
        paused.default(false);
        for mut column in [paused, text_or_none("moving_to")] {
            manager.alter_table(Table::alter().table("vms").add_column(&mut column).take()).await?;
        }
        manager.create_index(index("vms_by_moving_to", "vms", &["moving_to"])).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a VM that is moving cannot be forgotten to move".into()))
    }
}
