//! Keys whose end ends console sessions, starts of console proxies that fail, and keys of tickets without their secrets.

use sea_orm_migration::prelude::*;

use super::columns::{index, long_or_none, number, number_or_none, table, text_or_none};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let added = [
            ("console_sessions", text_or_none("key_id")),
            ("console_scans", number("failures").default(0).take()),
            ("console_scans", number_or_none("failed_at")),
            ("console_scans", long_or_none("why_failed")),
        ];
        for (table, mut column) in added {
            manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await?;
        }
        // What tickets are signed with is made anew: who has an old ticket asks for another one.
        manager.drop_table(Table::drop().table("console_keys").take()).await?;
        manager.create_table(table("console_keys", number("number"), vec![number("created_at")])).await?;
        for (name, column) in [
            ("console_sessions_by_key", "key_id"),
            ("console_sessions_by_expires_at", "expires_at"),
            ("console_sessions_by_seen_at", "seen_at"),
        ] {
            manager.create_index(index(name, "console_sessions", &[column])).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what keys sign with is in no database any more".into()))
    }
}
