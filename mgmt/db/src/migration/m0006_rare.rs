//! Indexes of what is rare have entries of that alone. Each row that is added writes into every index that takes it, while all
//! others wait; and hardly any VM is moving, is to be expunged, has an ISO, or is of a group.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Whoever searches one of these says the same of its column, or SQLite could not use it.
const RARE: [(&str, &str, &str, &str); 9] = [
    ("INDEX", "vms_by_moving_to", "vms (moving_to)", "moving_to IS NOT NULL"),
    ("INDEX", "vms_by_stale_limits", "vms (limits_are_stale)", "limits_are_stale"),
    ("INDEX", "vms_by_expunge_at", "vms (expunge_at)", "expunge_at IS NOT NULL"),
    ("INDEX", "vms_by_group", "vms (group_id)", "group_id IS NOT NULL"),
    ("INDEX", "vms_by_iso", "vms (iso_id)", "iso_id IS NOT NULL"),
    ("INDEX", "vms_by_iso_attachment", "vms (iso_attachment)", r#"iso_attachment <> '"attached"'"#),
    ("INDEX", "nics_by_attachment", "nics (attachment)", r#"attachment <> '"attached"'"#),
    ("INDEX", "volumes_by_attachment", "volumes (attachment)", r#"attachment <> '"attached"'"#),
    ("UNIQUE INDEX", "one_volume_of_a_name", "volumes (account_id, name)", "name IS NOT NULL"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for (kind, name, on, which) in RARE {
            connection.execute_unprepared(&format!("DROP INDEX IF EXISTS {name}")).await?;
            connection.execute_unprepared(&format!("CREATE {kind} {name} ON {on} WHERE {which}")).await?;
        }
        // Changes are forgotten in the order of their numbers.
        connection.execute_unprepared("DROP INDEX changes_by_age").await.map(drop)
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("indexes are not made larger again".into()))
    }
}
