//! What routers have counted, and rules found by their kind.

use sea_orm_migration::prelude::*;

use super::columns::{index, long, refers, table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![text("account_id"), text("zone_id"), text("boot"), long("seen"), long("total")];
        let references = [("account_id", "accounts"), ("zone_id", "zones")];
        manager.create_table(refers(&mut table("traffic", text("subject"), columns), &references)).await?;
        for made in [
            index("traffic_by_account", "traffic", &["account_id", "zone_id"]),
            // Whether an address has a static NAT, beside thousands of other rules.
            index("rules_by_public_ip_and_kind", "rules", &["public_ip_id", "kind"]),
        ] {
            manager.create_index(made).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop().name("rules_by_public_ip_and_kind").table("rules").to_owned();
        manager.drop_index(index).await?;
        manager.drop_table(Table::drop().table("traffic").take()).await
    }
}
