//! Console proxies with their servers, console sessions, and what these need: keys, a certificate, and who scans.

use sea_orm_migration::prelude::*;

use super::columns::{
    index, long, long_or_none, number, number_or_none, refers, table, text, text_or_none, truth,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [proxies(), servers(), sessions(), keys(), certificates(), scans()] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("console proxies cannot be forgotten".into()))
    }
}

fn proxies() -> TableCreateStatement {
    let columns = vec![
        text("zone_id"),
        text("vm_id"),
        text("public_ip_id"),
        number_or_none("draining_since"),
        truth("is_retired"),
        long_or_none("error"),
        number("created_at"),
    ];
    refers(
        &mut table("console_proxies", text("id"), columns),
        &[("zone_id", "zones"), ("vm_id", "vms"), ("public_ip_id", "public_ips")],
    )
}

fn servers() -> TableCreateStatement {
    let columns = vec![
        text("proxy_id"),
        number("port"),
        number("max_sessions"),
        number_or_none("opened_at"),
        number_or_none("draining_since"),
        number("created_at"),
    ];
    refers(&mut table("console_servers", text("id"), columns), &[("proxy_id", "console_proxies")])
}

fn sessions() -> TableCreateStatement {
    let columns = vec![
        text("account_id"),
        text("zone_id"),
        text("vm_id"),
        text("user_id"),
        text_or_none("server_id"),
        text("viewer"),
        truth("view_only"),
        number("expires_at"),
        number("seen_at"),
        number_or_none("wanted_at"),
        number("created_at"),
    ];
    refers(
        &mut table("console_sessions", text("id"), columns),
        &[
            ("account_id", "accounts"),
            ("zone_id", "zones"),
            ("vm_id", "vms"),
            ("user_id", "users"),
            ("server_id", "console_servers"),
        ],
    )
}

fn keys() -> TableCreateStatement {
    let columns = vec![long("seed"), number("created_at")];
    table("console_keys", text("id"), columns)
}

/// There is one, under the domain that it is for.
fn certificates() -> TableCreateStatement {
    let columns = vec![
        long("certificates"),
        long("private_key"),
        truth("is_uploaded"),
        number("not_after"),
        number("created_at"),
    ];
    table("console_certificates", text("domain"), columns)
}

fn scans() -> TableCreateStatement {
    let columns = vec![
        text("owner"),
        number("lease_until"),
        number("number"),
        number_or_none("surplus_since"),
        long_or_none("error"),
    ];
    refers(&mut table("console_scans", text("zone_id"), columns), &[("zone_id", "zones")])
}

fn indexes() -> Vec<IndexCreateStatement> {
    let unique = |name, table, columns: &[&'static str]| index(name, table, columns).unique().take();
    vec![
        unique("one_console_proxy_of_a_vm", "console_proxies", &["vm_id"]),
        index("console_proxies_by_zone", "console_proxies", &["zone_id"]),
        unique("one_console_server_of_a_port", "console_servers", &["proxy_id", "port"]),
        index("console_sessions_by_account", "console_sessions", &["account_id", "id"]),
        index("console_sessions_by_server", "console_sessions", &["server_id"]),
        index("console_sessions_by_vm", "console_sessions", &["vm_id"]),
        index("console_sessions_by_user", "console_sessions", &["user_id"]),
        index("console_sessions_by_wanted_at", "console_sessions", &["zone_id", "wanted_at"]),
    ]
}
