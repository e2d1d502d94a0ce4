//! What has gone through a process.

use std::collections::BTreeMap;

use podzol_appliance_api::HttpCounters;
use podzol_vocab::LoadBalancerId;

use crate::ReadError;

/// The command that lists what [`stats`] reads, of balancers' sides to clients alone (management guide, 9.3).
pub const LIST_STATS: &str = "show stat -1 1 -1";

/// What a balancer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown {
    /// What went through it since the process began.
    pub counters: HttpCounters,
    /// How many connections of clients it has now.
    pub open: u64,
}

/// Reads what haproxy lists: comma-separated values, with a first line that has the columns' names (management guide, 9.1).
///
/// # Errors
/// When it is not in that form.
pub fn stats(text: &str) -> Result<BTreeMap<LoadBalancerId, Shown>, ReadError> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let names: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    lines
        .map(|line| {
            let values: Vec<&str> = line.split(',').collect();
            let error = || ReadError { asked: LIST_STATS, line: line.to_owned() };
            row(&names, &values).ok_or_else(error)
        })
        .collect()
}

fn row(names: &[&str], values: &[&str]) -> Option<(LoadBalancerId, Shown)> {
    let value = |name: &str| values.get(names.iter().position(|other| *other == name)?).copied();
    // A counter that has counted nothing can be empty.
    let number = |name: &str| match value(name)? {
        "" => Some(0),
        digits => digits.parse().ok(),
    };
    let counters = HttpCounters {
        connections: number("stot")?,
        requests: number("req_tot")?,
        failures: number("hrsp_5xx")?,
        received_bytes: number("bin")?,
        sent_bytes: number("bout")?,
    };
    Some((value("pxname")?.parse().ok()?, Shown { counters, open: number("scur")? }))
}
