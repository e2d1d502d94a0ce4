//! Balancers of HTTP with their certificates, passwords of VMs, and how much of a router's memory VMs' texts take.

use sea_orm_migration::prelude::*;

use super::columns::{long, long_or_none, number, refers, table, text, truth};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// No extensions, as they are written.
const NONE: &str = "[]";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in [
            ("rules", truth("is_http").default(false).take()),
            ("templates", text("extensions").default(NONE).take()),
            ("vms", long_or_none("password")),
            ("vms", number("texts_bytes").default(0).take()),
        ] {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        manager.create_table(terminations()).await?;
        let connection = manager.get_connection();
        for line in [
            // `podzol template import` writes the recipe there.
            r#"UPDATE templates SET extensions = '["l7"]' WHERE role = '"router"' AND os = 'router-l7'"#,
            // The brackets and quotes around keys count too, which are few.
            "UPDATE vms SET texts_bytes = octet_length(ssh_keys) + coalesce(octet_length(user_data), 0) \
             WHERE role IS NULL",
        ] {
            connection.execute_unprepared(line).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("balancers of HTTP cannot be taken for others".into()))
    }
}

/// Apart from the balancers that they are of, so that who reads those reads no key.
fn terminations() -> TableCreateStatement {
    let columns = vec![long("certificates"), long("private_key")];
    refers(&mut table("terminations", text("rule_id"), columns), &[("rule_id", "rules")])
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigratorTrait;

    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn what_was_there_before_is_counted_and_a_router_that_balances_http_is_known() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, Some(7)).await.unwrap();
        db.execute_unprepared("PRAGMA foreign_keys = OFF").await.unwrap();
        for (id, role, os) in
            [("a", "'\"router\"'", "router-l7"), ("b", "'\"router\"'", "router"), ("c", "NULL", "router-l7")]
        {
            let template = format!(
                "INSERT INTO templates (id, name, sha256, os, state, created_at, role) \
                 VALUES ('{id}', '{id}', 'x', '{os}', '\"ready\"', 5, {role})"
            );
            db.execute_unprepared(&template).await.unwrap();
        }
        for (id, role, user_data) in
            [("m", "NULL", "'häb'"), ("n", "NULL", "NULL"), ("r", "'\"router\"'", "'seed'")]
        {
            let vm = format!(
                "INSERT INTO vms (id, account_id, zone_id, name, offering_id, template_id, desired, state, generation, \
                 reboots, grace_secs, size, vcpus, memory_mib, ssh_keys, user_data, timing, created_at, role) \
                 VALUES ('{id}', 'a', 'z', '{id}', 'o', 't', '\"running\"', '\"running\"', 1, 0, 0, '{{}}', 1, 64, \
                 '[\"k\"]', {user_data}, '[]', 7, {role})"
            );
            db.execute_unprepared(&vm).await.unwrap();
        }

        Migrator::up(&db, None).await.unwrap();

        let column = async |query: &str| -> Vec<String> {
            let statement = sea_orm::Statement::from_string(db.get_database_backend(), query);
            let rows = db.query_all_raw(statement).await.unwrap();
            rows.iter().map(|row| row.try_get("", "it").unwrap()).collect()
        };
        assert_eq!(
            column("SELECT extensions AS it FROM templates ORDER BY id").await,
            ["[\"l7\"]", "[]", "[]"]
        );
        assert_eq!(
            column("SELECT cast(texts_bytes AS text) AS it FROM vms ORDER BY id").await,
            ["9", "5", "0"]
        );
        let refused = db.execute_unprepared("PRAGMA foreign_keys = ON").await;
        refused.unwrap();
        let lost = "INSERT INTO terminations (rule_id, certificates, private_key) VALUES ('x', '', '')";
        assert!(db.execute_unprepared(lost).await.unwrap_err().to_string().contains("FOREIGN KEY"));
    }
}
