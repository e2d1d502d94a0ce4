//! The tables, and how they came to be: one module per step, never changed once released.

use sea_orm_migration::prelude::*;

mod columns;
mod m0001_first;
mod m0002_volumes;
mod m0003_live;
mod m0004_iso;
mod m0005_vxlan;

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_volumes::Migration),
            Box::new(m0003_live::Migration),
            Box::new(m0004_iso::Migration),
            Box::new(m0005_vxlan::Migration),
        ]
    }
}
