//! ISOs: templates that are no disks, and go into the CD drives of VMs.

use sea_orm_migration::prelude::*;

use super::columns::{index, text, text_or_none, truth};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `TemplateFormat::Qcow2`, as it is written.
const QCOW2: &str = "\"qcow2\"";

/// `Attachment::Attached`, as it is written.
const ATTACHED: &str = "\"attached\"";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in [
            ("templates", text("format").default(QCOW2).take()),
            // SQLite takes a new reference only with its column.
            ("vms", text_or_none("iso_id").extra("REFERENCES templates (id) ON DELETE RESTRICT").take()),
            ("vms", truth("iso_boots").default(false).take()),
            ("vms", text("iso_attachment").default(ATTACHED).take()),
        ] {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        manager.create_index(index("vms_by_iso", "vms", &["iso_id"])).await?;
        manager.create_index(index("vms_by_iso_attachment", "vms", &["iso_attachment"])).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("an ISO cannot be taken for a disk".into()))
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigratorTrait;

    use super::{ATTACHED, QCOW2};
    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn templates_of_before_are_disks_and_one_that_is_in_a_drive_is_not_deleted() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, Some(3)).await.unwrap();
        db.execute_unprepared("PRAGMA foreign_keys = OFF").await.unwrap();
        for id in ["t", "u"] {
            let template = format!(
                "INSERT INTO templates (id, name, sha256, os, state, created_at) \
                 VALUES ('{id}', '{id}', 'x', '', '\"ready\"', 5)"
            );
            db.execute_unprepared(&template).await.unwrap();
        }
        db.execute_unprepared(
            "INSERT INTO vms (id, account_id, zone_id, name, offering_id, template_id, desired, state, generation, \
             reboots, grace_secs, size, vcpus, memory_mib, ssh_keys, timing, created_at) \
             VALUES ('m', 'a', 'z', 'web', 'o', 't', '\"running\"', '\"running\"', 1, 0, 0, '{}', 1, 64, '[]', '[]', 7)",
        )
        .await
        .unwrap();

        Migrator::up(&db, None).await.unwrap();

        let row = async |query: &str| {
            let statement = sea_orm::Statement::from_string(db.get_database_backend(), query);
            db.query_one_raw(statement).await.unwrap().unwrap()
        };
        let format = row("SELECT format FROM templates WHERE id = 't'").await;
        assert_eq!(format.try_get::<String>("", "format").unwrap(), QCOW2);
        let vm = row("SELECT iso_id, iso_boots, iso_attachment FROM vms").await;
        assert_eq!(vm.try_get::<Option<String>>("", "iso_id").unwrap(), None);
        assert!(!vm.try_get::<bool>("", "iso_boots").unwrap());
        assert_eq!(vm.try_get::<String>("", "iso_attachment").unwrap(), ATTACHED);
        db.execute_unprepared("UPDATE vms SET iso_id = 'u'").await.unwrap();
        db.execute_unprepared("PRAGMA foreign_keys = ON").await.unwrap();
        let refused = db.execute_unprepared("DELETE FROM templates WHERE id = 'u'").await;
        assert!(refused.unwrap_err().to_string().contains("FOREIGN KEY"));
    }
}
