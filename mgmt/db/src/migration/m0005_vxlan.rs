//! Networks on VXLANs.

use sea_orm_migration::prelude::*;

use super::columns::{long_or_none, text_or_none};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in
            [("zones", long_or_none("vxlan_ranges")), ("servers", text_or_none("tunnel_address"))]
        {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("networks on VXLANs cannot be forgotten".into()))
    }
}
