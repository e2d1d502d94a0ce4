//! Public addresses that a router's VM may still have in force.

use sea_orm_migration::prelude::*;

use super::columns::{index, number, number_or_none, table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // It refers to nothing: what it names may go, and it with that at the next look.
        let columns = vec![
            text("zone_id"),
            text("address"),
            text("account_id"),
            text("router_id"),
            text("vm_id"),
            number_or_none("generation"),
            number("held_at"),
        ];
        manager.create_table(table("held_addresses", text("id"), columns)).await?;
        for made in [
            index("held_addresses_by_zone", "held_addresses", &["zone_id"]),
            index("held_addresses_by_vm", "held_addresses", &["vm_id"]),
        ] {
            manager.create_index(made).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("held_addresses").take()).await
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigratorTrait;

    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn addresses_can_be_held_after_it_and_not_before_it_or_once_it_is_taken_back() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, Some(13)).await.unwrap();
        let hold = "INSERT INTO held_addresses VALUES ('h', 'z', '203.0.113.10', 'a', 'r', 'v', NULL, 5)";
        for _ in 0..2 {
            db.execute_unprepared(hold).await.unwrap_err();
            Migrator::up(&db, Some(1)).await.unwrap();
            db.execute_unprepared(hold).await.unwrap();
            Migrator::down(&db, Some(1)).await.unwrap();
        }
    }
}
