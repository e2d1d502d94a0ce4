//! VMs that move between hosts, stand still, can be recovered, and keep together or apart; limits and quotas; volumes that
//! grow; tags and spare hosts.

use sea_orm_migration::prelude::*;

use super::columns::{index, long_or_none, number, number_or_none, refers, table, text, text_or_none, truth};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in [
            ("vms", untrue("paused")),
            ("vms", text_or_none("moving_to")),
            ("vms", long_or_none("limits")),
            ("vms", untrue("limits_are_stale")),
            ("vms", number_or_none("expunge_at")),
            ("volumes", untrue("has_grown")),
            ("nics", untrue("may_route")),
            ("accounts", long_or_none("limits")),
            ("accounts", long_or_none("quotas")),
            ("zones", long_or_none("limits")),
            ("zones", number("spare_hosts").default(0).take()),
            ("servers", long_or_none("tags")),
            ("servers", long_or_none("certificate_pem")),
            ("offerings", long_or_none("tags")),
            ("vms", text_or_none("group_id")),
        ] {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        manager.create_table(groups()).await?;
        for index in [
            index("one_group_of_a_name", "affinity_groups", &["account_id", "name"]).unique().take(),
            index("vms_by_group", "vms", &["group_id"]),
        ] {
            manager.create_index(index).await?;
        }
        manager.create_index(index("vms_by_moving_to", "vms", &["moving_to"])).await?;
        manager.create_index(index("vms_by_stale_limits", "vms", &["limits_are_stale"])).await?;
        manager.create_index(index("vms_by_expunge_at", "vms", &["expunge_at"])).await?;
        // What an account has in VMs is summed up without a look at their rows.
        manager.create_index(index("vms_in_use", "vms", &["account_id", "vcpus", "memory_mib"])).await?;
        manager.create_index(index("volumes_in_use", "volumes", &["account_id", "size_bytes"])).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a VM that is moving cannot be forgotten to move".into()))
    }
}

fn groups() -> TableCreateStatement {
    let columns = vec![text("account_id"), text("name"), text("policy"), number("created_at")];
    refers(&mut table("affinity_groups", text("id"), columns), &[("account_id", "accounts")])
}

fn untrue(name: &'static str) -> ColumnDef {
    truth(name).default(false).take()
}
