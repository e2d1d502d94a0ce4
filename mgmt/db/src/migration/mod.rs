//! The tables, and how they came to be: one module per step, never changed once released.

use std::sync::Arc;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{Database, DatabaseConnection, DbBackend};

use crate::sqlite::{Connection, OfSeaOrm, PATIENCE};

mod columns;
mod m0001_first;
mod m0002_volumes;
mod m0003_live;
mod m0004_iso;
mod m0005_vxlan;
mod m0006_rare;
mod m0007_routers;
mod m0008_http;
mod m0009_traffic;
mod m0010_console;
mod m0011_console_holds;
mod m0012_ipv6;
mod m0013_ended_traffic;
mod m0014_held_addresses;
mod m0015_traffic_hours;
mod m0016_uncounted_traffic;
mod m0017_generation_in_force;

struct Migrator;

/// Brings the tables up to date: wholly, or not at all.
pub(crate) async fn bring_up_to_date(connection: &Arc<Connection>) -> Result<(), DbErr> {
    connection.begin(PATIENCE)?;
    let done = Migrator::up(&seaorms(connection).await?, None).await;
    let done = done.and_then(|()| connection.run("COMMIT"));
    connection.roll_back();
    done
}

/// A connection as migrations want it.
async fn seaorms(connection: &Arc<Connection>) -> Result<DatabaseConnection, DbErr> {
    Database::connect_proxy(DbBackend::Sqlite, Arc::new(Box::new(OfSeaOrm(Arc::clone(connection))))).await
}

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_volumes::Migration),
            Box::new(m0003_live::Migration),
            Box::new(m0004_iso::Migration),
            Box::new(m0005_vxlan::Migration),
            Box::new(m0006_rare::Migration),
            Box::new(m0007_routers::Migration),
            Box::new(m0008_http::Migration),
            Box::new(m0009_traffic::Migration),
            Box::new(m0010_console::Migration),
            Box::new(m0011_console_holds::Migration),
            Box::new(m0012_ipv6::Migration),
            Box::new(m0013_ended_traffic::Migration),
            Box::new(m0014_held_addresses::Migration),
            Box::new(m0015_traffic_hours::Migration),
            Box::new(m0016_uncounted_traffic::Migration),
            Box::new(m0017_generation_in_force::Migration),
        ]
    }
}

/// An empty database, and the folder that it is in.
#[cfg(test)]
async fn empty() -> (tempfile::TempDir, DatabaseConnection) {
    let folder = tempfile::tempdir().expect("there is room");
    let connection = Connection::open(&folder.path().join("db")).expect("it is new");
    (folder, seaorms(&Arc::new(connection)).await.expect("it is one"))
}
