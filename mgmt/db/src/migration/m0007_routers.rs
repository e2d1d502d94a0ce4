//! Routers, public addresses, and what routers do for customers.

use sea_orm_migration::prelude::*;

use super::columns::{
    index, long, long_or_none, number, number_or_none, refers, table, text, text_or_none, truth,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `EgressPolicy::Allow`, as it is written.
const ALLOW: &str = "\"allow\"";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in [
            ("zones", long_or_none("management")),
            ("zones", long_or_none("public")),
            ("servers", long_or_none("traffic")),
            ("networks", truth("has_router").default(false).take()),
            ("networks", text("egress").default(ALLOW).take()),
            ("networks", number_or_none("deleted_at")),
            ("vms", text_or_none("role")),
            ("templates", text_or_none("role")),
            ("templates", long_or_none("signed")),
        ] {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        for table in [routers(), public_ips(), rules(), targets()] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        let connection = manager.get_connection();
        for line in [
            // The name of one that is on its way out is free.
            "DROP INDEX one_network_of_a_name",
            "CREATE UNIQUE INDEX one_network_of_a_name ON networks (account_id, name) WHERE deleted_at IS NULL",
            "CREATE INDEX networks_by_deleted_at ON networks (deleted_at) WHERE deleted_at IS NOT NULL",
            "CREATE INDEX vms_by_role ON vms (role) WHERE role IS NOT NULL",
            "CREATE UNIQUE INDEX one_rule_of_a_name ON rules (account_id, kind, name) WHERE name IS NOT NULL",
        ] {
            connection.execute_unprepared(line).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("routers cannot be forgotten".into()))
    }
}

fn routers() -> TableCreateStatement {
    let columns = vec![
        text("account_id"),
        text("zone_id"),
        text("vm_id"),
        text_or_none("next_vm_id"),
        number_or_none("idle_since"),
        long_or_none("error"),
        number("created_at"),
    ];
    refers(
        &mut table("routers", text("id"), columns),
        &[("account_id", "accounts"), ("zone_id", "zones"), ("vm_id", "vms"), ("next_vm_id", "vms")],
    )
}

fn public_ips() -> TableCreateStatement {
    let columns = vec![
        text("account_id"),
        text("zone_id"),
        text("address"),
        truth("is_source_nat"),
        number("created_at"),
    ];
    refers(&mut table("public_ips", text("id"), columns), &[("account_id", "accounts"), ("zone_id", "zones")])
}

fn rules() -> TableCreateStatement {
    let columns = vec![
        text("account_id"),
        text("zone_id"),
        text("kind"),
        text_or_none("name"),
        text_or_none("public_ip_id"),
        text_or_none("network_id"),
        text_or_none("transport"),
        number_or_none("first_port"),
        number_or_none("last_port"),
        long("spec"),
        number("created_at"),
    ];
    refers(
        &mut table("rules", text("id"), columns),
        &[
            ("account_id", "accounts"),
            ("zone_id", "zones"),
            ("public_ip_id", "public_ips"),
            ("network_id", "networks"),
        ],
    )
}

/// Which network interfaces of VMs a rule leads to.
fn targets() -> TableCreateStatement {
    let mut targets = Table::create();
    targets
        .table("rule_targets")
        .col(text("rule_id"))
        .col(text("nic_id"))
        .primary_key(Index::create().col("rule_id").col("nic_id"));
    refers(&mut targets, &[("rule_id", "rules"), ("nic_id", "nics")])
}

fn indexes() -> Vec<IndexCreateStatement> {
    let unique = |name, table, columns: &[&'static str]| index(name, table, columns).unique().take();
    vec![
        unique("one_router_of_a_zone", "routers", &["account_id", "zone_id"]),
        unique("one_router_of_a_vm", "routers", &["vm_id"]),
        unique("one_router_of_a_next_vm", "routers", &["next_vm_id"]),
        unique("one_public_ip_of_an_address", "public_ips", &["zone_id", "address"]),
        index("public_ips_by_account", "public_ips", &["account_id", "zone_id"]),
        index("rules_by_account", "rules", &["account_id", "kind", "id"]),
        index("rules_by_public_ip", "rules", &["public_ip_id", "transport", "first_port"]),
        index("rules_by_network", "rules", &["network_id"]),
        index("rules_by_zone", "rules", &["zone_id"]),
        index("rule_targets_by_nic", "rule_targets", &["nic_id"]),
    ]
}
