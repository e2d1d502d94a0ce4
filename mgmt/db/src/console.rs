//! Console proxies, their servers, and what these show: keys and a certificate. Who scans a zone's capacity is in [`scan`],
//! sessions are in [`session`].

pub mod scan;
pub mod session;

use podzol_mgmt_api::console::ConsoleSessionFilter;
use podzol_vocab::{ConsoleProxyId, ConsoleServerId, PublicIpId, Secret, VmId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "console_proxies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<ConsoleProxyId>,
    pub zone_id: Col<ZoneId>,
    /// The VM that it is.
    pub vm_id: Col<VmId>,
    /// Where browsers find it.
    pub public_ip_id: Col<PublicIpId>,
    /// Since when it gets no new sessions, in milliseconds since 1970.
    pub draining_since: Option<i64>,
    /// Whether it is to go, however many sessions come.
    pub is_retired: bool,
    /// What went wrong with it.
    pub error: Option<String>,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// Servers of console proxies.
pub mod server {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "console_servers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Col<ConsoleServerId>,
        pub proxy_id: Col<ConsoleProxyId>,
        /// Its own at its proxy.
        pub port: i64,
        pub max_sessions: i64,
        /// When its proxy first said that its port is open, in milliseconds since 1970.
        pub opened_at: Option<i64>,
        /// Since when it gets no new sessions.
        pub draining_since: Option<i64>,
        pub created_at: i64,
    }

    crate::no_relations!(kept);
}

/// Keys that tickets are signed with.
pub mod key {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "console_keys")]
    pub struct Model {
        /// Its own. What it is made of is in no database.
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i64,
        pub created_at: i64,
    }

    crate::no_relations!();
}

/// The wildcard certificate.
pub mod certificate {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "console_certificates")]
    pub struct Model {
        /// The console domain.
        #[sea_orm(primary_key, auto_increment = false)]
        pub domain: String,
        /// The chain as PEM, its own first.
        pub certificates: String,
        pub private_key: JsonCol<Secret<String>>,
        /// Whether an operator has brought it.
        pub is_uploaded: bool,
        /// When it ends, in milliseconds since 1970.
        pub not_after: i64,
        pub created_at: i64,
    }

    crate::no_relations!();
}

/// A page of console proxies.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, page: &PageOf) -> Result<Vec<Model>, DbError> {
    Ok(page.of(Entity::find(), Column::Id, None).fetch(db).await?)
}

/// All console proxies.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().order_by_asc(Column::Id).fetch(db).await?)
}

/// The console proxies of a zone, the oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_zone(db: &impl Reader, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let of_zone = Entity::find().filter(Column::ZoneId.eq(Col(zone)));
    Ok(of_zone.order_by_asc(Column::Id).fetch(db).await?)
}

/// The console proxy that a VM is.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_vm(db: &impl Reader, vm: VmId) -> Result<Option<Model>, DbError> {
    Ok(Entity::find().filter(Column::VmId.eq(Col(vm))).fetch_one(db).await?)
}

/// The console proxies that some of these VMs are.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_vms(db: &impl Reader, vms: &[VmId]) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::VmId.is_in(vms.iter().copied().map(Col))).fetch(db).await?)
}

/// The servers of some console proxies, by their ports.
///
/// # Errors
/// When the database cannot be read.
pub async fn servers(
    db: &impl Reader,
    proxies: &[Col<ConsoleProxyId>],
) -> Result<Vec<server::Model>, DbError> {
    let of_proxies = server::Entity::find().filter(server::Column::ProxyId.is_in(proxies.iter().copied()));
    Ok(of_proxies.order_by_asc(server::Column::Port).fetch(db).await?)
}

/// The servers of all console proxies of a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn servers_of_zone(db: &impl Reader, zone: ZoneId) -> Result<Vec<server::Model>, DbError> {
    let proxies = Entity::find().select_only().column(Column::Id);
    let proxies = proxies.filter(Column::ZoneId.eq(Col(zone))).into_query();
    Ok(server::Entity::find().filter(server::Column::ProxyId.in_subquery(proxies)).fetch(db).await?)
}

/// The keys of tickets, the newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn keys(db: &impl Reader) -> Result<Vec<key::Model>, DbError> {
    Ok(key::Entity::find().order_by_desc(key::Column::Number).fetch(db).await?)
}

impl Tx {
    /// Adds a console proxy. Its VM and its address are there already.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_proxy_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("console-proxy", row.id.0, None);
        self.insert::<Entity>(row)
    }

    /// Writes a console proxy as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_proxy_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("console-proxy", row.id.0, None);
        self.update::<Entity>(row)
    }

    /// Removes a console proxy with its servers; the sessions there lose their places.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_proxy_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("console-proxy", row.id.0, None);
        for server in servers(self.reader(), &[row.id]).await? {
            self.console_server_delete(&server).await?;
        }
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }

    /// Adds a server to a console proxy.
    ///
    /// # Errors
    /// [`DbError::Taken`] when the proxy has one with that port.
    pub async fn console_server_create(&self, row: server::Model) -> Result<(), DbError> {
        self.writes(row.id);
        self.changed("console-proxy", row.proxy_id.0, None);
        self.insert::<server::Entity>(row)
    }

    /// Writes a server of a console proxy as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_server_update(&self, row: server::Model) -> Result<(), DbError> {
        self.writes(row.id);
        self.changed("console-proxy", row.proxy_id.0, None);
        self.update::<server::Entity>(row)
    }

    /// Removes a server of a console proxy; the sessions there lose their places.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_server_delete(&self, row: &server::Model) -> Result<(), DbError> {
        self.writes(row.id);
        self.changed("console-proxy", row.proxy_id.0, None);
        self.console_sessions_displaced(row.id.0).await?;
        server::Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }

    /// Adds a key of tickets. All console proxies are told of it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_key_create(&self, row: key::Model) -> Result<(), DbError> {
        self.changed("console-key", row.number, None);
        self.insert::<key::Entity>(row)
    }

    /// Removes a key of tickets.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_key_delete(&self, number: i64) -> Result<(), DbError> {
        self.changed("console-key", number, None);
        key::Entity::delete_by_id(number).exec(self.reader()).await?;
        Ok(())
    }

    /// Puts a certificate in the place of the one of its domain, if there is one. All console proxies are told of it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_certificate_set(&self, row: certificate::Model) -> Result<(), DbError> {
        self.changed("console-certificate", &row.domain, None);
        certificate::Entity::delete_by_id(row.domain.as_str()).exec(self.reader()).await?;
        self.insert::<certificate::Entity>(row)
    }

    /// Removes the certificate of a domain.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_certificate_delete(&self, domain: &str) -> Result<(), DbError> {
        self.changed("console-certificate", domain, None);
        certificate::Entity::delete_by_id(domain).exec(self.reader()).await?;
        Ok(())
    }
}
