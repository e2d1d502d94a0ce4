//! What routers have counted in each hour.

use sea_orm_migration::prelude::*;

use super::columns::{index, number, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut hours = Table::create();
        hours.table("traffic_hours");
        for mut column in [
            text("subject"),
            number("at"),
            text("account_id"),
            text("zone_id"),
            text("whose"),
            number("sent_bytes"),
            number("sent_packets"),
            number("received_bytes"),
            number("received_packets"),
        ] {
            hours.col(&mut column);
        }
        hours.primary_key(Index::create().col("subject").col("at"));
        manager.create_table(hours.take()).await?;
        for made in [
            index("traffic_hours_by_account", "traffic_hours", &["account_id", "subject", "at"]),
            index("traffic_hours_by_at", "traffic_hours", &["at"]),
        ] {
            manager.create_index(made).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The sums of all hours are kept elsewhere.
        manager.drop_table(Table::drop().table("traffic_hours").take()).await
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigratorTrait;

    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn hours_can_be_counted_after_it_and_not_before_it_or_once_it_is_taken_back() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, Some(14)).await.unwrap();
        let count = "INSERT INTO traffic_hours VALUES ('n', 3600000, 'a', 'z', 'v', 1, 2, 3, 4)";
        for _ in 0..2 {
            db.execute_unprepared(count).await.unwrap_err();
            Migrator::up(&db, Some(1)).await.unwrap();
            db.execute_unprepared(count).await.unwrap();
            Migrator::down(&db, Some(1)).await.unwrap();
        }
    }
}
