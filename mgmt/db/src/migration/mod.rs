//! The tables, and how they came to be: one module per step, never changed once released.

use sea_orm_migration::prelude::*;

mod m0001_first;

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_first::Migration)]
    }
}
