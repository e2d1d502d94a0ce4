//! What routers have counted in each hour, for bills and plots: what is added to a count is added to its hour in the same
//! transaction, so the two never differ. What was counted before there were hours is in none.

use podzol_mgmt_api::traffic::Traffic;
use podzol_vocab::{AccountId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{FromQueryResult, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect};

use crate::{Col, DbError, FORGOTTEN_AT_ONCE, Reader, SOUGHT_AT_ONCE, Tx};

/// An hour in milliseconds.
pub const HOUR: i64 = 3_600_000;

/// The most of anything that an hour has, far beyond what a link carries in one: so whatever a router says, hours can be added up.
pub const MOST: i64 = 1 << 49;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "traffic_hours")]
pub struct Model {
    /// A network interface's id, or a public address's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// When the hour began, in milliseconds since 1970.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: i64,
    /// Which need not be there any more.
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    /// The VM's id, or the public address.
    pub whose: String,
    pub sent_bytes: i64,
    pub sent_packets: i64,
    pub received_bytes: i64,
    pub received_packets: i64,
}

crate::no_relations!();

/// What was counted for one thing in some hours.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Sum {
    pub subject: String,
    pub zone_id: Col<ZoneId>,
    pub whose: String,
    sent_bytes: i64,
    sent_packets: i64,
    received_bytes: i64,
    received_packets: i64,
}

/// By what one is known.
#[derive(Debug, FromQueryResult)]
struct Hour {
    subject: String,
    at: i64,
}

impl Sum {
    pub fn traffic(&self) -> Traffic {
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        Traffic {
            sent_bytes: number(self.sent_bytes),
            sent_packets: number(self.sent_packets),
            received_bytes: number(self.received_bytes),
            received_packets: number(self.received_packets),
        }
    }
}

/// What was counted for the things of an account in the hours that began in a time, by their ids: so many of them after one.
///
/// # Errors
/// When the database cannot be read.
pub async fn sums(
    db: &impl Reader,
    account: AccountId,
    time: std::ops::Range<i64>,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Sum>, DbError> {
    let mut of_account = Entity::find().select_only().column(Column::Subject);
    of_account =
        of_account.column_as(Column::ZoneId.max(), "zone_id").column_as(Column::Whose.max(), "whose");
    for (column, name) in [
        (Column::SentBytes, "sent_bytes"),
        (Column::SentPackets, "sent_packets"),
        (Column::ReceivedBytes, "received_bytes"),
        (Column::ReceivedPackets, "received_packets"),
    ] {
        of_account = of_account.column_as(column.sum(), name);
    }
    of_account = of_account.filter(Column::AccountId.eq(Col(account)));
    of_account = of_account.filter(Column::At.gte(time.start)).filter(Column::At.lt(time.end));
    if let Some(after) = after {
        of_account = of_account.filter(Column::Subject.gt(after));
    }
    let page = of_account.group_by(Column::Subject).order_by_asc(Column::Subject).limit(limit);
    Ok(page.into_model::<Sum>().all(db).await?)
}

impl Tx {
    /// Adds what was counted to its hours, each at most [`MOST`].
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn traffic_hours_add(&self, rows: Vec<Model>) -> Result<(), DbError> {
        for some in rows.chunks(SOUGHT_AT_ONCE) {
            let mut there = OnConflict::columns([Column::Subject, Column::At]);
            for (column, name) in [
                (Column::SentBytes, "sent_bytes"),
                (Column::SentPackets, "sent_packets"),
                (Column::ReceivedBytes, "received_bytes"),
                (Column::ReceivedPackets, "received_packets"),
            ] {
                let both = format!(r#"MIN({MOST}, "traffic_hours"."{name}" + "excluded"."{name}")"#);
                there.value(column, Expr::cust(both));
            }
            let some = some.iter().cloned().map(IntoActiveModel::into_active_model);
            Entity::insert_many(some).on_conflict(there).exec_without_returning(self.reader()).await?;
        }
        Ok(())
    }

    /// Forgets some hours that began before a time, in milliseconds since 1970. Says how many; none when there are no more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn traffic_hours_forget_before(&self, at: i64) -> Result<u64, DbError> {
        let old = Entity::find().select_only().columns([Column::Subject, Column::At]);
        let old = old.filter(Column::At.lt(at)).order_by_asc(Column::At).limit(FORGOTTEN_AT_ONCE);
        let old: Vec<Hour> = old.into_model().all(self.reader()).await?;
        let number = old.len() as u64;
        for Hour { subject, at } in old {
            Entity::delete_by_id((subject, at)).exec(self.reader()).await?;
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[tokio::test]
    async fn what_is_added_to_an_hour_is_in_it_once_and_hours_are_added_up_by_their_things() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let (account, other, zone) = (AccountId::new(), AccountId::new(), ZoneId::new());
        let row = |subject: &str, account: AccountId, hour: i64, sent: i64| Model {
            subject: subject.into(),
            at: hour * HOUR,
            account_id: account.into(),
            zone_id: zone.into(),
            whose: "203.0.113.10".into(),
            sent_bytes: sent,
            sent_packets: 1,
            received_bytes: 0,
            received_packets: 0,
        };
        let tx = db.begin().await.unwrap();
        let mine = |subject: &str, hour, sent| row(subject, account, hour, sent);
        tx.traffic_hours_add(vec![mine("a", 1, 5), mine("a", 2, 7), mine("b", 2, 9)]).await.unwrap();
        tx.traffic_hours_add(vec![mine("a", 2, 100), row("c", other, 2, 1_000)]).await.unwrap();

        let sent =
            async |hours: std::ops::Range<i64>, after: Option<&str>, limit| -> Vec<(String, u64, u64)> {
                let time = hours.start * HOUR..hours.end * HOUR;
                let found = sums(tx.reader(), account, time, after, limit).await.unwrap();
                let one =
                    |sum: Sum| (sum.subject.clone(), sum.traffic().sent_bytes, sum.traffic().sent_packets);
                found.into_iter().map(one).collect()
            };
        assert_eq!(sent(1..3, None, 9).await, [("a".into(), 112, 3), ("b".into(), 9, 1)]);
        assert_eq!(sent(2..3, None, 1).await, [("a".into(), 107, 2)]);
        assert_eq!(sent(1..2, Some("a"), 9).await, []);
        for _ in 0..2 {
            tx.traffic_hours_add(vec![mine("d", 7, MOST)]).await.unwrap();
        }
        assert_eq!(sent(7..8, None, 9).await, [("d".into(), MOST.cast_unsigned(), 2)]);
        assert_eq!(tx.traffic_hours_forget_before(2 * HOUR).await.unwrap(), 1);
        assert_eq!(tx.traffic_hours_forget_before(2 * HOUR).await.unwrap(), 0);
        assert_eq!(sent(0..7, None, 9).await, [("a".into(), 107, 2), ("b".into(), 9, 1)]);
    }
}
