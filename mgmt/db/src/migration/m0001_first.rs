//! The first tables.

use sea_orm_migration::prelude::*;

use super::columns::{
    counter, index, long, long_or_none, number, number_or_none, refers, table, text, text_or_none, truth,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("the first tables cannot be taken back".into()))
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("accounts", text("id"), vec![text("name"), number("created_at")]),
        refers(
            &mut table(
                "users",
                text("id"),
                vec![text("account_id"), text("name"), truth("is_admin"), number("created_at")],
            ),
            &[("account_id", "accounts")],
        ),
        refers(
            &mut table(
                "keys",
                text("id"),
                vec![
                    text("account_id"),
                    text("user_id"),
                    text("name"),
                    ColumnDef::new("hash").binary().not_null().take(),
                    number("created_at"),
                ],
            ),
            &[("account_id", "accounts"), ("user_id", "users")],
        ),
        table("zones", text("id"), vec![text("name"), long("vlan_ranges"), number("created_at")]),
        refers(
            &mut table("pods", text("id"), vec![text("zone_id"), text("name"), number("created_at")]),
            &[("zone_id", "zones")],
        ),
        servers(),
        refers(
            &mut table(
                "pools",
                text("id"),
                vec![
                    text("name"),
                    text("storage_server_id"),
                    text("zone_id"),
                    long("path"),
                    text("state"),
                    text_or_none("server"),
                    long_or_none("export"),
                    long("exported_to"),
                    number("capacity_bytes"),
                    number("used_bytes"),
                    long_or_none("error"),
                    number("created_at"),
                ],
            ),
            &[("storage_server_id", "servers"), ("zone_id", "zones")],
        ),
        table("offerings", text("id"), vec![text("name"), long("size"), number("created_at")]),
        table(
            "templates",
            text("id"),
            vec![
                text("name"),
                text("sha256"),
                long("os"),
                long_or_none("url"),
                text("state"),
                number_or_none("size_bytes"),
                number_or_none("virtual_size_bytes"),
                long_or_none("error"),
                number("created_at"),
            ],
        ),
        refers(
            &mut table(
                "networks",
                text("id"),
                vec![
                    text("account_id"),
                    text("zone_id"),
                    text("name"),
                    text("cidr"),
                    number("vlan"),
                    number("created_at"),
                ],
            ),
            &[("account_id", "accounts"), ("zone_id", "zones")],
        ),
        vms(),
        refers(
            &mut table(
                "nics",
                text("id"),
                vec![text("vm_id"), number("slot"), text("network_id"), text("address"), text("mac")],
            ),
            &[("vm_id", "vms"), ("network_id", "networks")],
        ),
        refers(
            &mut table(
                "volumes",
                text("id"),
                vec![
                    text("account_id"),
                    text("vm_id"),
                    text("pool_id"),
                    text("kind"),
                    number("size_bytes"),
                    text("state"),
                    long_or_none("file"),
                ],
            ),
            &[("account_id", "accounts"), ("vm_id", "vms"), ("pool_id", "pools")],
        ),
        operations(),
        table(
            "events",
            counter("id"),
            vec![
                number("at"),
                text("action"),
                text("actor"),
                text_or_none("account_id"),
                text("subject_kind"),
                text("subject"),
                long("detail"),
            ],
        ),
        table(
            "changes",
            counter("seq"),
            vec![text("kind"), text("object_id"), text_or_none("account_id"), number("at")],
        ),
        idempotency(),
    ]
}

fn servers() -> TableCreateStatement {
    let columns = vec![
        truth("is_host"),
        text("name"),
        text("pod_id"),
        text("zone_id"),
        text("state"),
        text_or_none("token_hash"),
        number("token_expires_at"),
        text_or_none("certificate"),
        text_or_none("address"),
        text_or_none("agent_version"),
        text_or_none("hypervisor"),
        text_or_none("accelerator"),
        long_or_none("problem"),
        number("cpus"),
        number("memory_mib"),
        number_or_none("reported_at"),
        long_or_none("report"),
        number("created_at"),
    ];
    refers(&mut table("servers", text("id"), columns), &[("pod_id", "pods"), ("zone_id", "zones")])
}

fn vms() -> TableCreateStatement {
    let columns = vec![
        text("account_id"),
        text("zone_id"),
        text("name"),
        text("offering_id"),
        text("template_id"),
        text_or_none("host_id"),
        text("desired"),
        text("state"),
        number("generation"),
        number("reboots"),
        number("grace_secs"),
        long("size"),
        number("vcpus"),
        number("memory_mib"),
        long("ssh_keys"),
        long_or_none("user_data"),
        long_or_none("error"),
        long("timing"),
        number("created_at"),
        number_or_none("started_at"),
    ];
    refers(
        &mut table("vms", text("id"), columns),
        &[
            ("account_id", "accounts"),
            ("zone_id", "zones"),
            ("offering_id", "offerings"),
            ("template_id", "templates"),
            ("host_id", "servers"),
        ],
    )
}

fn operations() -> TableCreateStatement {
    let columns = vec![
        text("kind"),
        text_or_none("account_id"),
        text("subject_kind"),
        text("subject"),
        number_or_none("goal"),
        text("queue"),
        text("state"),
        long_or_none("step"),
        number("attempts"),
        truth("cancel_requested"),
        text_or_none("error_code"),
        long_or_none("error_detail"),
        number("due_at"),
        number_or_none("deadline_at"),
        text_or_none("lease_owner"),
        number_or_none("lease_until"),
        number("created_at"),
        number_or_none("finished_at"),
    ];
    table("operations", text("id"), columns)
}

fn idempotency() -> TableCreateStatement {
    Table::create()
        .table("idempotency")
        .col(text("user_id"))
        .col(text("key"))
        .col(text("request"))
        .col(number("status"))
        .col(long("body"))
        .col(number("created_at"))
        .primary_key(Index::create().col("user_id").col("key"))
        .take()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let unique = |name, table, columns: &[&'static str]| index(name, table, columns).unique().take();
    let mut server_names = unique("one_server_of_a_name", "servers", &["name"]);
    server_names.and_where(Expr::col("state").ne("\"removed\""));
    vec![
        server_names,
        unique("one_account_of_a_name", "accounts", &["name"]),
        unique("one_user_of_a_name", "users", &["account_id", "name"]),
        unique("one_key_of_a_name", "keys", &["user_id", "name"]),
        unique("one_zone_of_a_name", "zones", &["name"]),
        unique("one_pod_of_a_name", "pods", &["zone_id", "name"]),
        unique("one_pool_of_a_name", "pools", &["name"]),
        unique("one_offering_of_a_name", "offerings", &["name"]),
        unique("one_template_of_a_name", "templates", &["name"]),
        unique("one_network_of_a_name", "networks", &["account_id", "name"]),
        unique("one_network_of_a_vlan", "networks", &["zone_id", "vlan"]),
        unique("one_vm_of_a_name", "vms", &["account_id", "name"]),
        unique("one_nic_of_an_address", "nics", &["network_id", "address"]),
        unique("one_nic_of_a_mac", "nics", &["mac"]),
        index("vms_by_host", "vms", &["host_id"]),
        index("vms_by_state", "vms", &["account_id", "state", "id"]),
        index("nics_by_vm", "nics", &["vm_id"]),
        index("volumes_by_vm", "volumes", &["vm_id"]),
        index("volumes_by_pool", "volumes", &["pool_id"]),
        index("operations_by_due", "operations", &["finished_at", "due_at"]),
        index("operations_by_subject", "operations", &["subject", "id"]),
        index("operations_by_account", "operations", &["account_id", "id"]),
        index("idempotency_by_age", "idempotency", &["created_at"]),
        index("changes_by_age", "changes", &["at"]),
        index("vms_by_zone", "vms", &["zone_id"]),
        index("vms_by_offering", "vms", &["offering_id"]),
        index("vms_by_template", "vms", &["template_id"]),
        index("volumes_by_account", "volumes", &["account_id"]),
        index("events_by_account", "events", &["account_id", "id"]),
        index("events_by_subject", "events", &["subject", "id"]),
    ]
}
