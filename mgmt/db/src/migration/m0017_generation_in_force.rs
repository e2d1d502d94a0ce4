//! Operations that tell routers of rules say which generation is in force then.

use sea_orm_migration::prelude::*;

use super::columns::number_or_none;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = number_or_none("generation");
        manager.alter_table(Table::alter().table("operations").add_column(&mut column).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("operations").drop_column("generation").take()).await
    }
}
