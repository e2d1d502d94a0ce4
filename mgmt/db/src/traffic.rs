//! What routers have counted, over all routers that there were.
//!
//! ```text
//!   counted for the first time, or an address is allocated -> goes on -> its VM or address is no more: ended
//!     ended -> what its router had counted until then is still added -> no router can be left that counted it: in the sum of its account
//! ```
//! What has ended is kept with the account that it was of, whatever becomes of that: usage is charged when it is over.
//! Nothing charges for it yet: until there are bills, [`ended`] is read by tests alone. What was counted when, [`hour`] has. A VM's interfaces each have a row,
//! with the VM's id, and each allocation of a public address has one, with the address. So that there are not more and more,
//! those of long ago are added up: one sum of VMs and one of addresses for each account and zone.

pub mod hour;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use podzol_mgmt_api::traffic::Traffic;
use podzol_vocab::{AccountId, NicId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{QueryFilter, QueryOrder, QuerySelect};

use crate::fetch::Fetch;
use crate::{Col, DbError, FORGOTTEN_AT_ONCE, JsonCol, Reader, SOUGHT_AT_ONCE, Tx, now, public_ip, vm};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "traffic")]
pub struct Model {
    /// A network interface's id, a public address's, or that of a sum.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// Which need not be there any more.
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    /// The boot of a router whose counters were last added; empty if none were.
    pub boot: String,
    /// What those showed then.
    pub seen: JsonCol<Traffic>,
    /// All of it.
    pub total: JsonCol<Traffic>,
    /// Of what has ended: the VM's id, or the public address. None of a sum.
    pub whose: Option<String>,
    /// When it did, in milliseconds since 1970; of a sum, when the last in it did.
    pub ended_at: Option<i64>,
}

crate::no_relations!();

/// What goes on being counted for an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    let of_zone = of_account.filter(Column::ZoneId.eq(Col(zone)));
    Ok(of_zone.filter(Column::EndedAt.is_null()).fetch(db).await?)
}

/// What was counted for some network interfaces or public addresses, whether there or not.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_subjects(db: &impl Reader, subjects: &[String]) -> Result<Vec<Model>, DbError> {
    let mut found = Vec::with_capacity(subjects.len());
    for some in subjects.chunks(SOUGHT_AT_ONCE) {
        found.extend(Entity::find().filter(Column::Subject.is_in(some)).fetch(db).await?);
    }
    Ok(found)
}

/// What was counted for an account's VMs and addresses that are no more, and the sums of those of long ago.
///
/// # Errors
/// When the database cannot be read.
pub async fn ended(db: &impl Reader, account: AccountId) -> Result<Vec<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    Ok(of_account.filter(Column::EndedAt.is_not_null()).order_by_asc(Column::EndedAt).fetch(db).await?)
}

/// What was counted for public addresses that an account had in a zone, each when it last had it.
///
/// # Errors
/// When the database cannot be read.
pub async fn last_of_addresses(
    db: &impl Reader,
    account: AccountId,
    zone: ZoneId,
    addresses: &[Ipv4Addr],
) -> Result<HashMap<Ipv4Addr, Model>, DbError> {
    let mut last = HashMap::new();
    for some in addresses.chunks(SOUGHT_AT_ONCE) {
        let of_addresses = Entity::find().filter(Column::Whose.is_in(some.iter().map(ToString::to_string)));
        // With a plus, SQLite does not look for it by that, which all that the account ever had would answer.
        let own = of_addresses.filter(Expr::cust(r#"+"account_id""#).eq(Col(account)));
        let rows = own.filter(Expr::cust(r#"+"zone_id""#).eq(Col(zone))).fetch(db).await?;
        for row in rows {
            let Some(address) = row.whose.as_ref().and_then(|whose| whose.parse().ok()) else { continue };
            let is_later = |before: &Model| (row.ended_at, &row.subject) > (before.ended_at, &before.subject);
            if last.get(&address).is_none_or(is_later) {
                last.insert(address, row);
            }
        }
    }
    Ok(last)
}

/// What had ended before a time without being counted; at most so many. It says the same as its index.
fn uncounted(at: i64) -> Select<Entity> {
    let ended = Entity::find().filter(Column::Whose.is_not_null()).filter(Expr::cust("boot = ''"));
    ended.filter(Column::EndedAt.lt(at)).limit(FORGOTTEN_AT_ONCE)
}

impl Tx {
    /// Adds a count. It is told to nobody, as routers are asked all the time.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn traffic_create(&self, row: Model) -> Result<(), DbError> {
        self.insert::<Entity>(row)
    }

    /// Writes a count as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn traffic_update(&self, row: Model) -> Result<(), DbError> {
        self.update::<Entity>(row)
    }

    /// Begins to count for a public address. The account's router counts by addresses, and goes on where it was if the account
    /// has had this one before: what it shows until now is not this one's.
    pub(crate) async fn traffic_begin(&self, row: &public_ip::Model) -> Result<(), DbError> {
        let (account, zone, address) = (row.account_id.0, row.zone_id.0, row.address.0);
        let before = last_of_addresses(self.reader(), account, zone, &[address]).await?.remove(&address);
        // Whoever gets and gives back an address again and again, and uses it for nothing, leaves no trace of it.
        if let Some(before) = before.as_ref().filter(|before| before.total.0 == Traffic::default()) {
            Entity::delete_by_id(before.subject.clone()).exec(self.reader()).await?;
        }
        let (boot, seen) = before.map_or_else(Default::default, |before| (before.boot, before.seen.0));
        self.insert::<Entity>(Model {
            subject: row.id.to_string(),
            account_id: row.account_id,
            zone_id: row.zone_id,
            boot,
            seen: JsonCol(seen),
            total: JsonCol(Traffic::default()),
            whose: None,
            ended_at: None,
        })
    }

    /// A public address is given back. What was counted for it is kept.
    pub(crate) async fn traffic_end_of_address(&self, row: &public_ip::Model) -> Result<(), DbError> {
        self.traffic_end(vec![row.id.to_string()], row.address.0.to_string()).await
    }

    /// Network interfaces of a VM go. What was counted for them is kept, and what their router has counted that was not asked
    /// for yet can still be added. Podzol's own VMs are counted for nobody.
    pub(crate) async fn traffic_end_of_nics(&self, vm: &vm::Model, nics: &[NicId]) -> Result<(), DbError> {
        if vm.role.is_some() || nics.is_empty() {
            return Ok(());
        }
        let subjects: Vec<String> = nics.iter().map(ToString::to_string).collect();
        let known = of_subjects(self.reader(), &subjects).await?;
        let is_new = |subject: &&String| !known.iter().any(|row| row.subject == **subject);
        let begun = subjects.iter().filter(is_new).map(|subject| Model {
            subject: subject.clone(),
            account_id: vm.account_id,
            zone_id: vm.zone_id,
            boot: String::new(),
            seen: JsonCol(Traffic::default()),
            total: JsonCol(Traffic::default()),
            whose: None,
            ended_at: None,
        });
        self.insert_all::<Entity>(begun.collect::<Vec<_>>())?;
        self.traffic_end(subjects, vm.id.to_string()).await
    }

    async fn traffic_end(&self, subjects: Vec<String>, whose: String) -> Result<(), DbError> {
        Entity::update_many()
            .col_expr(Column::Whose, Expr::value(whose))
            .col_expr(Column::EndedAt, Expr::value(now().0))
            .filter(Column::Subject.is_in(subjects))
            .exec(self.reader())
            .await?;
        Ok(())
    }

    /// Forgets some of what had ended before a time, in milliseconds since 1970, and no router was ever heard of that had counted it. Says
    /// how many; none when there are no more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn traffic_forget_uncounted_before(&self, at: i64) -> Result<u64, DbError> {
        let old = uncounted(at).fetch(self.reader()).await?;
        if old.is_empty() {
            return Ok(0);
        }
        let subjects: Vec<String> = old.into_iter().map(|row| row.subject).collect();
        let count = subjects.len() as u64;
        Entity::delete_many().filter(Column::Subject.is_in(subjects)).exec(self.reader()).await?;
        Ok(count)
    }

    /// Adds some of what had ended before a time, in milliseconds since 1970, to the sums of its accounts. Says how many; none
    /// when there are no more. What routers that run since before that time have counted would be added again.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn traffic_sum_up_before(&self, at: i64) -> Result<u64, DbError> {
        let old = Entity::find().filter(Column::EndedAt.lt(at)).filter(Column::Whose.is_not_null());
        let old = old.order_by_asc(Column::EndedAt).limit(FORGOTTEN_AT_ONCE).fetch(self.reader()).await?;
        let mut sums: BTreeMap<String, Model> = BTreeMap::new();
        for row in &old {
            let is_address = row.whose.as_ref().is_some_and(|whose| whose.parse::<Ipv4Addr>().is_ok());
            let of = if is_address { "addresses" } else { "vms" };
            let subject = format!("{of} {} {}", row.account_id, row.zone_id);
            let sum = sums.entry(subject.clone()).or_insert_with(|| Model {
                subject,
                boot: String::new(),
                seen: JsonCol(Traffic::default()),
                total: JsonCol(Traffic::default()),
                whose: None,
                ..row.clone()
            });
            sum.total = JsonCol(sum.total.0.and(row.total.0));
            sum.ended_at = std::cmp::max(sum.ended_at, row.ended_at);
        }
        let subjects: Vec<String> = sums.keys().cloned().collect();
        for before in of_subjects(self.reader(), &subjects).await? {
            let Some(sum) = sums.remove(&before.subject) else { continue };
            let total = JsonCol(before.total.0.and(sum.total.0));
            let ended_at = std::cmp::max(sum.ended_at, before.ended_at);
            self.update::<Entity>(Model { total, ended_at, ..before })?;
        }
        self.insert_all::<Entity>(sums.into_values())?;
        let gone: Vec<String> = old.into_iter().map(|row| row.subject).collect();
        let count = gone.len() as u64;
        if count > 0 {
            Entity::delete_many().filter(Column::Subject.is_in(gone)).exec(self.reader()).await?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use podzol_vocab::PublicIpId;
    use sea_orm::{DbBackend, QueryTrait};

    use super::*;
    use crate::Db;
    use crate::sqlite::Connection;

    fn sent(bytes: u64) -> Traffic {
        Traffic { sent_bytes: bytes, ..Traffic::default() }
    }

    fn row(subject: &str, account: AccountId, zone: ZoneId, bytes: u64) -> Model {
        Model {
            subject: subject.into(),
            account_id: account.into(),
            zone_id: zone.into(),
            boot: "a".into(),
            seen: JsonCol(sent(bytes)),
            total: JsonCol(sent(bytes)),
            whose: None,
            ended_at: None,
        }
    }

    #[tokio::test]
    async fn what_ended_long_ago_is_added_up_and_nothing_of_it_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let (account, other, zone) = (AccountId::new(), AccountId::new(), ZoneId::new());
        let tx = db.begin().await.unwrap();
        let create = async |subject: String, whose: &str, account, at: i64| {
            let row =
                Model { whose: Some(whose.into()), ended_at: Some(at), ..row(&subject, account, zone, 10) };
            tx.traffic_create(row).await.unwrap();
        };
        for number in 0..1_200 {
            create(format!("n{number}"), "vm", account, number).await;
        }
        create("ip".into(), "203.0.113.10", account, 700).await;
        create("new".into(), "vm", account, 5_000).await;
        create("others".into(), "vm", other, 700).await;

        let mut rounds = 0;
        while tx.traffic_sum_up_before(2_000).await.unwrap() > 0 {
            rounds += 1;
        }

        let kept = |rows: Vec<Model>| -> Vec<(String, u64, Option<i64>)> {
            rows.into_iter().map(|row| (row.subject, row.total.0.sent_bytes, row.ended_at)).collect()
        };
        assert_eq!(
            kept(ended(tx.reader(), account).await.unwrap()),
            [
                (format!("addresses {account} {zone}"), 10, Some(700)),
                (format!("vms {account} {zone}"), 12_000, Some(1_199)),
                ("new".into(), 10, Some(5_000)),
            ]
        );
        assert_eq!(kept(ended(tx.reader(), other).await.unwrap())[0].1, 10);
        assert_eq!(rounds, 3);
    }

    #[tokio::test]
    async fn what_no_router_has_counted_is_forgotten_once_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let (account, zone) = (AccountId::new(), ZoneId::new());
        let tx = db.begin().await.unwrap();
        for (subject, boot, ended_at) in
            [("old", "", Some(10)), ("counted", "a", Some(10)), ("new", "", Some(30)), ("there", "", None)]
        {
            let whose = ended_at.map(|_| "vm".to_owned());
            let row = Model { boot: boot.into(), whose, ended_at, ..row(subject, account, zone, 0) };
            tx.traffic_create(row).await.unwrap();
        }
        assert_eq!(tx.traffic_forget_uncounted_before(20).await.unwrap(), 1);
        assert_eq!(tx.traffic_forget_uncounted_before(20).await.unwrap(), 0);
        let kept = of_subjects(tx.reader(), &["old", "counted", "new", "there"].map(str::to_owned)).await;
        assert_eq!(kept.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn what_no_router_has_counted_is_found_by_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let connection = std::sync::Arc::new(Connection::open(&folder.path().join("db")).unwrap());
        crate::migration::bring_up_to_date(&connection).await.unwrap();
        let mut statement = uncounted(7).build(DbBackend::Sqlite);
        statement.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
        let steps = connection.query(&statement, usize::MAX).unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
        assert!(steps.len() == 1 && steps[0].contains("traffic_uncounted"), "{steps:#?}");
    }

    #[tokio::test]
    async fn an_address_that_is_somebodys_again_begins_where_its_router_was_and_at_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let tx = db.begin().await.unwrap();
        let (account, zone) = (AccountId::new(), ZoneId::new());
        let address = |account: AccountId| public_ip::Model {
            id: PublicIpId::new().into(),
            account_id: account.into(),
            zone_id: zone.into(),
            address: Ipv4Addr::new(203, 0, 113, 10).into(),
            is_source_nat: false,
            created_at: 0,
        };
        let counted = async |row: &public_ip::Model| {
            of_subjects(tx.reader(), &[row.id.to_string()]).await.unwrap().remove(0)
        };
        let first = address(account);
        tx.traffic_begin(&first).await.unwrap();
        tx.traffic_update(row(&first.id.to_string(), account, zone, 1_000)).await.unwrap();
        tx.traffic_end_of_address(&first).await.unwrap();

        // These are given back before anything was counted for them.
        for _ in 0..3 {
            let again = address(account);
            tx.traffic_begin(&again).await.unwrap();
            let begun = counted(&again).await;
            assert_eq!((begun.boot.as_str(), begun.seen.0, begun.total.0), ("a", sent(1_000), sent(0)));
            tx.traffic_end_of_address(&again).await.unwrap();
        }
        assert_eq!(counted(&first).await.total.0, sent(1_000));
        assert_eq!(ended(tx.reader(), account).await.unwrap().len(), 2);
        let others = address(AccountId::new());
        tx.traffic_begin(&others).await.unwrap();
        assert_eq!(counted(&others).await.seen.0, sent(0));
    }
}
