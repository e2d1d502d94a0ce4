//! Volumes that live without a VM, and disks and network interfaces that come and go while a VM runs.

use sea_orm_migration::prelude::*;

use super::columns::{index, long_or_none, number, number_or_none, refers, table, text, text_or_none};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `Attachment::Attached`, as it is written.
const ATTACHED: &str = "\"attached\"";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(volumes()).await?;
        // What is not in the old table: the pool's zone, and a time that need not be exact.
        let moved = format!(
            "INSERT INTO volumes_2 (id, account_id, zone_id, vm_id, pool_id, name, kind, size_bytes, state, file, \
             attachment, attached_at, error, created_at) \
             SELECT v.id, v.account_id, p.zone_id, v.vm_id, v.pool_id, NULL, v.kind, v.size_bytes, v.state, v.file, \
             '{ATTACHED}', m.created_at, NULL, m.created_at \
             FROM volumes v JOIN pools p ON p.id = v.pool_id JOIN vms m ON m.id = v.vm_id"
        );
        manager.get_connection().execute_unprepared(&moved).await?;
        manager.drop_table(Table::drop().table("volumes").take()).await?;
        manager.rename_table(Table::rename().table("volumes_2", "volumes").take()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        let mut attachment = text("attachment");
        attachment.default(ATTACHED);
        manager.alter_table(Table::alter().table("nics").add_column(&mut attachment).take()).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("volumes without a VM cannot be taken back".into()))
    }
}

fn volumes() -> TableCreateStatement {
    let columns = vec![
        text("account_id"),
        text("zone_id"),
        text_or_none("vm_id"),
        text("pool_id"),
        text_or_none("name"),
        text("kind"),
        number("size_bytes"),
        text("state"),
        long_or_none("file"),
        text("attachment"),
        number_or_none("attached_at"),
        long_or_none("error"),
        number("created_at"),
    ];
    refers(
        &mut table("volumes_2", text("id"), columns),
        &[("account_id", "accounts"), ("zone_id", "zones"), ("vm_id", "vms"), ("pool_id", "pools")],
    )
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("one_volume_of_a_name", "volumes", &["account_id", "name"]).unique().take(),
        index("volumes_by_vm", "volumes", &["vm_id"]),
        index("volumes_by_pool", "volumes", &["pool_id"]),
        index("volumes_by_account", "volumes", &["account_id", "id"]),
        index("volumes_by_state", "volumes", &["state"]),
        index("volumes_by_attachment", "volumes", &["attachment"]),
    ]
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigratorTrait;

    use crate::migration::{Migrator, empty};

    #[tokio::test]
    async fn volumes_and_interfaces_that_were_there_before_are_attached_as_they_were() {
        let (_folder, db) = empty().await;
        Migrator::up(&db, Some(1)).await.unwrap();
        for line in [
            "PRAGMA foreign_keys = OFF",
            "INSERT INTO pools (id, name, storage_server_id, zone_id, path, state, exported_to, capacity_bytes, used_bytes, \
             created_at) VALUES ('p', 'p', 's', 'z', '/p', '\"ready\"', '[]', 0, 0, 5)",
            "INSERT INTO vms (id, account_id, zone_id, name, offering_id, template_id, desired, state, generation, reboots, \
             grace_secs, size, vcpus, memory_mib, ssh_keys, timing, created_at) \
             VALUES ('m', 'a', 'z', 'web', 'o', 't', '\"running\"', '\"running\"', 1, 0, 0, '{}', 1, 64, '[]', '[]', 7)",
            "INSERT INTO volumes (id, account_id, vm_id, pool_id, kind, size_bytes, state, file) \
             VALUES ('v', 'a', 'm', 'p', 'root', 9, '\"ready\"', 'f')",
            "INSERT INTO nics (id, vm_id, slot, network_id, address, mac) VALUES ('n', 'm', 0, 'net', '10.1.1.2', 'x')",
        ] {
            db.execute_unprepared(line).await.unwrap();
        }

        Migrator::up(&db, None).await.unwrap();

        let rows = async |query: &str| {
            let statement = sea_orm::Statement::from_string(db.get_database_backend(), query);
            db.query_all_raw(statement).await.unwrap()
        };
        let volume = rows("SELECT zone_id, vm_id, file, attachment, attached_at, name FROM volumes").await;
        let text = |column: &str| volume[0].try_get::<Option<String>>("", column).unwrap();
        let columns = ["zone_id", "vm_id", "file", "attachment", "name"].map(text);
        let expected = [Some("z"), Some("m"), Some("f"), Some("\"attached\""), None];
        assert_eq!(columns, expected.map(|text| text.map(str::to_owned)));
        assert_eq!(volume[0].try_get::<i64>("", "attached_at").unwrap(), 7);
        let nics = rows("SELECT attachment FROM nics").await;
        assert_eq!(nics[0].try_get::<String>("", "attachment").unwrap(), "\"attached\"");
    }
}
