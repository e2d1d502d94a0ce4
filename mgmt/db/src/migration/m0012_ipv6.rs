//! The IPv6 prefixes of networks, and which hosts guard such addresses.

use sea_orm_migration::prelude::*;

use super::columns::{index, number_or_none, truth};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in
            [("networks", number_or_none("prefix6")), ("servers", truth("has_ipv6").default(false).take())]
        {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        // Two that are given out at once are not the same.
        let mut one = index("one_network_of_a_prefix", "networks", &["zone_id", "prefix6"]);
        manager.create_index(one.unique().take()).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("networks with IPv6 cannot be taken for others".into()))
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigratorTrait;

    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn no_two_networks_of_a_zone_have_one_prefix_and_many_have_none() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, None).await.unwrap();
        db.execute_unprepared("PRAGMA foreign_keys = OFF").await.unwrap();
        let mut vlan = 100;
        let mut network = async |zone: &str, prefix6: &str| {
            vlan += 1;
            let insert = format!(
                "INSERT INTO networks (id, account_id, zone_id, name, cidr, vlan, created_at, has_router, egress, prefix6) \
                 VALUES ('n{vlan}', 'a', '{zone}', 'n{vlan}', '10.1.1.0/24', {vlan}, 5, 1, '\"allow\"', {prefix6})"
            );
            db.execute_unprepared(&insert).await
        };
        for (zone, prefix6) in [("z", "NULL"), ("z", "NULL"), ("z", "0"), ("z", "1"), ("y", "0")] {
            network(zone, prefix6).await.unwrap();
        }
        let refused = network("z", "1").await.unwrap_err().to_string();
        assert!(
            refused.contains("UNIQUE constraint failed: networks.zone_id, networks.prefix6"),
            "{refused}"
        );
    }
}
