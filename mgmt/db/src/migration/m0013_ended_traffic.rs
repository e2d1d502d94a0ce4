//! What was counted for VMs and public addresses that are no more is kept, also longer than their account.

use sea_orm_migration::prelude::*;

use super::columns::{index, long, number_or_none, table, text, text_or_none};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite does not take a reference from a table.
        let before = Index::drop().name("traffic_by_account").table("traffic").to_owned();
        manager.drop_index(before).await?;
        manager.rename_table(Table::rename().table("traffic", "traffic_before").take()).await?;
        let columns = vec![
            text("account_id"),
            text("zone_id"),
            text("boot"),
            long("seen"),
            long("total"),
            text_or_none("whose"),
            number_or_none("ended_at"),
        ];
        manager.create_table(table("traffic", text("subject"), columns)).await?;
        // What was nobody's had its address before a space.
        let rows = "INSERT INTO traffic (subject, account_id, zone_id, boot, seen, total, whose, ended_at) \
                    SELECT subject, account_id, zone_id, boot, seen, total, \
                    CASE WHEN instr(subject, ' ') > 0 THEN substr(subject, 1, instr(subject, ' ') - 1) END, \
                    CASE WHEN instr(subject, ' ') > 0 THEN CAST(strftime('%s', 'now') AS INTEGER) * 1000 END \
                    FROM traffic_before";
        manager.get_connection().execute_unprepared(rows).await?;
        // An address begins where its account's router was when it had it before, which is known from now on as it is allocated.
        let begun = "INSERT INTO traffic (subject, account_id, zone_id, boot, seen, total, whose, ended_at) \
                     SELECT ip.id, ip.account_id, ip.zone_id, coalesce(had.boot, ''), coalesce(had.seen, none.json), \
                     none.json, NULL, NULL FROM public_ips AS ip \
                     JOIN (SELECT '{\"sent_bytes\":0,\"sent_packets\":0,\"received_bytes\":0,\"received_packets\":0}' AS json) AS none \
                     LEFT JOIN traffic_before AS had \
                     ON had.subject = ip.address || ' ' || ip.account_id || ' ' || ip.zone_id \
                     WHERE ip.id NOT IN (SELECT subject FROM traffic_before)";
        manager.get_connection().execute_unprepared(begun).await?;
        manager.drop_table(Table::drop().table("traffic_before").take()).await?;
        for made in [
            index("traffic_by_account", "traffic", &["account_id", "zone_id", "ended_at"]),
            index("traffic_by_whose", "traffic", &["whose"]),
            index("traffic_by_ended_at", "traffic", &["ended_at"]),
        ] {
            manager.create_index(made).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what was counted may be of accounts that are no more".into()))
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait, Statement};
    use sea_orm_migration::MigratorTrait;

    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn what_was_counted_is_kept_and_what_was_nobodys_has_ended_and_is_where_its_address_begins() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, Some(12)).await.unwrap();
        for sql in [
            "PRAGMA foreign_keys = OFF",
            "INSERT INTO traffic VALUES ('nic', 'a', 'z', 'boot', 'seen', 'one')",
            "INSERT INTO traffic VALUES ('203.0.113.10 a z', 'a', 'z', 'boot', 'seen', 'two')",
            "INSERT INTO traffic VALUES ('counted', 'a', 'z', 'boot', 'seen', 'three')",
            "INSERT INTO public_ips VALUES ('counted', 'a', 'z', '203.0.113.9', 0, 1)",
            "INSERT INTO public_ips VALUES ('again', 'a', 'z', '203.0.113.10', 0, 1)",
            "INSERT INTO public_ips VALUES ('new', 'a', 'z', '203.0.113.11', 0, 1)",
        ] {
            db.execute_unprepared(sql).await.unwrap();
        }

        Migrator::up(&db, None).await.unwrap();

        let kept = async |query: &str| -> Vec<String> {
            let statement = Statement::from_string(db.get_database_backend(), query);
            let rows = db.query_all_raw(statement).await.unwrap();
            rows.iter().map(|row| row.try_get("", "kept").unwrap()).collect()
        };
        let of_before = "SELECT total || ' ' || coalesce(whose, 'goes on') || ' ' || coalesce(ended_at > 0, 0) AS kept \
                         FROM traffic WHERE subject NOT IN ('again', 'new') ORDER BY total";
        assert_eq!(kept(of_before).await, ["one goes on 0", "three goes on 0", "two 203.0.113.10 1"]);
        let begun = "SELECT subject || ' ' || boot || ' ' || seen || ' ' || total AS kept \
                     FROM traffic WHERE subject IN ('again', 'new') AND ended_at IS NULL ORDER BY subject";
        let nothing = serde_json::to_string(&podzol_mgmt_api::traffic::Traffic::default()).unwrap();
        let expected = [format!("again boot seen {nothing}"), format!("new  {nothing} {nothing}")];
        assert_eq!(kept(begun).await, expected);
    }
}
