//! What went through an account's routers in a time.

use std::net::Ipv4Addr;

use podzol_mgmt_api::traffic::{AccountTraffic, TrafficTime};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::traffic::hour::{self, Sum};
use podzol_mgmt_db::{account, find, now};
use podzol_vocab::AccountId;

use crate::{Actor, App, AppError, view};

const DAY: i64 = 24 * hour::HOUR;

/// The time that is asked about where nobody says from when on.
const USUAL: i64 = 30 * DAY;

/// The longest time that is asked about: as long as hours are kept.
const LONGEST: i64 = 400 * DAY;

impl App {
    /// What went through an account's routers in a time, by public addresses and network interfaces, in the order of their ids.
    ///
    /// # Errors
    /// When there is no such account that the caller may see, or the time or the query is not valid.
    pub async fn account_traffic(
        &self,
        actor: &Actor,
        id: AccountId,
        time: &TrafficTime,
        query: &PageQuery,
    ) -> Result<Page<AccountTraffic>, AppError> {
        let row = find::<account::Entity>(self.db.reader(), id).await?.filter(|row| actor.sees(row.id.0));
        row.ok_or(AppError::NotFound("account"))?;
        let time = time_of(time, now().0)?;
        let page = view::page_of(query)?;
        let sums = hour::sums(self.db.reader(), id, time, page.after.as_deref(), page.limit).await?;
        let next = sums.last().filter(|_| sums.len() as u64 == page.limit).map(|last| last.subject.clone());
        Ok(Page { items: sums.iter().map(shown).collect(), next })
    }
}

fn time_of(asked: &TrafficTime, now: i64) -> Result<std::ops::Range<i64>, AppError> {
    let to = asked.to.map_or(now, |to| to.0);
    let from = asked.from.map_or(to.saturating_sub(USUAL), |from| from.0);
    if from >= to {
        return Err(AppError::invalid("from", "must be before to, and before now if that is left out"));
    }
    if to.saturating_sub(from) > LONGEST {
        return Err(AppError::invalid("from", "must be at most 400 days before to"));
    }
    Ok(from..to)
}

fn shown(sum: &Sum) -> AccountTraffic {
    let address: Option<Ipv4Addr> = sum.whose.parse().ok();
    AccountTraffic {
        zone: sum.zone_id.0,
        public_ip: address.and_then(|_| sum.subject.parse().ok()),
        address,
        nic: if address.is_none() { sum.subject.parse().ok() } else { None },
        vm: sum.whose.parse().ok(),
        traffic: sum.traffic(),
    }
}

#[cfg(test)]
mod tests {
    use podzol_mgmt_api::Timestamp;

    use super::*;

    #[test]
    fn a_time_has_an_end_after_its_begin_and_is_no_longer_than_what_is_kept() {
        let now = 1_000 * DAY;
        let told = |from: Option<i64>, to: Option<i64>| {
            let day = |day: i64| Timestamp(day * DAY);
            let time = time_of(&TrafficTime { from: from.map(day), to: to.map(day) }, now);
            time.map(|time| time.start / DAY..time.end / DAY).map_err(|error| error.to_string())
        };
        assert_eq!(told(None, None), Ok(970..1_000));
        assert_eq!(told(None, Some(500)), Ok(470..500));
        assert_eq!(told(Some(600), None), Ok(600..1_000));
        assert!(told(Some(1_000), None).unwrap_err().starts_with("from: must be before to"));
        assert!(told(Some(599), None).unwrap_err().contains("400 days"));
    }
}
