//! Who scans the capacity of a zone's console proxies: one management server at a time.

use podzol_vocab::ZoneId;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, QueryFilter};

use crate::fetch::Fetch;
use crate::{Col, DbError, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "console_scans")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub zone_id: Col<ZoneId>,
    /// Who scans.
    pub owner: String,
    /// For how long nobody else does, in milliseconds since 1970.
    pub lease_until: i64,
    /// The scan that was begun last: each has one more than that before.
    pub number: i64,
    /// Since when there is more than is needed.
    pub surplus_since: Option<i64>,
    /// Why the last scan could not do what it should.
    pub error: Option<String>,
    /// How many console proxies one after the other did not start.
    pub failures: i64,
    /// When it was found that the last of these did not.
    pub failed_at: Option<i64>,
    /// Why it did not.
    pub why_failed: Option<String>,
}

crate::no_relations!();

/// The scans of all zones.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().fetch(db).await?)
}

impl Tx {
    /// Begins a scan of a zone, if nobody else is at one: the lease is then this owner's until that time.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_scan_begin(
        &self,
        zone: ZoneId,
        owner: &str,
        now: i64,
        until: i64,
    ) -> Result<Option<Model>, DbError> {
        if Entity::find_by_id(Col(zone)).fetch_one(self.reader()).await?.is_none() {
            self.insert::<Entity>(Model {
                zone_id: Col(zone),
                owner: String::new(),
                lease_until: 0,
                number: 0,
                surplus_since: None,
                error: None,
                failures: 0,
                failed_at: None,
                why_failed: None,
            })?;
        }
        // A lease from far ahead is one of a clock that was set back since.
        let ahead = until + (until - now);
        let free = Condition::any()
            .add(Column::Owner.eq(owner))
            .add(Column::LeaseUntil.lte(now))
            .add(Column::LeaseUntil.gt(ahead));
        let begun = Entity::update_many()
            .col_expr(Column::Owner, Expr::value(owner))
            .col_expr(Column::LeaseUntil, Expr::value(until))
            .col_expr(Column::Number, Expr::col(Column::Number).add(1))
            .filter(Column::ZoneId.eq(Col(zone)))
            .filter(free)
            .exec(self.reader())
            .await?;
        if begun.rows_affected == 0 {
            return Ok(None);
        }
        Ok(Entity::find_by_id(Col(zone)).fetch_one(self.reader()).await?)
    }

    /// Whether a scan is still the last one of its zone, and its lease holds: only then may it change anything.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn console_scan_holds(&self, scan: &Model, now: i64) -> Result<bool, DbError> {
        let row = Entity::find_by_id(scan.zone_id).fetch_one(self.reader()).await?;
        Ok(row
            .is_some_and(|row| row.owner == scan.owner && row.number == scan.number && row.lease_until > now))
    }

    /// Writes what a scan has found.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_scan_update(&self, row: Model) -> Result<(), DbError> {
        self.update::<Entity>(row)
    }

    /// Forgets the scans of a zone that goes.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_scan_delete(&self, zone: ZoneId) -> Result<(), DbError> {
        Entity::delete_by_id(Col(zone)).exec(self.reader()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use podzol_vocab::ZoneId;

    use super::*;
    use crate::{Db, JsonCol, zone};

    #[tokio::test]
    async fn one_at_a_time_scans_and_who_comes_after_a_dead_one_changes_nothing_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let zone = ZoneId::new();
        let tx = db.begin().await.unwrap();
        tx.zone_create(zone::Model {
            id: Col(zone),
            name: "z".parse::<podzol_vocab::Name>().unwrap().into(),
            vlan_ranges: JsonCol(vec![]),
            vxlan_ranges: None,
            limits: None,
            spare_hosts: 0,
            created_at: 0,
            management: None,
            public: None,
        })
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let begin = async |owner: &str, now: i64| {
            let tx = db.begin().await.unwrap();
            let scan = tx.console_scan_begin(zone, owner, now, now + 8).await.unwrap();
            tx.commit().await.unwrap();
            scan
        };
        let holds = async |scan: &Model, now: i64| {
            let tx = db.begin().await.unwrap();
            tx.console_scan_holds(scan, now).await.unwrap()
        };

        let first = begin("one", 100).await.unwrap();
        assert_eq!((begin("other", 107).await, holds(&first, 107).await), (None, true));
        let again = begin("one", 107).await.unwrap();
        assert_eq!((again.number, holds(&first, 107).await, holds(&again, 114).await), (2, false, true));
        // It has died, or been held up for so long.
        assert!(!holds(&again, 115).await);
        let taken = begin("other", 115).await.unwrap();
        assert_eq!((taken.number, holds(&again, 115).await, begin("one", 116).await), (3, false, None));
        // The clock was set back by an hour.
        assert_eq!(begin("one", -3_500).await.unwrap().number, 4);
    }
}
