use podzol_appliance_api::HttpCounters;
use podzol_appliance_haproxy::{Shown, stats};

use crate::PLAIN;

#[test]
fn counters_are_found_by_the_names_of_their_columns() {
    let text = format!(
        "# pxname,svname,scur,smax,stot,bin,bout,hrsp_5xx,req_tot,type,\n{PLAIN},FRONTEND,2,3,40,1000,2000,5,60,0,\n\n"
    );
    let counters =
        HttpCounters { connections: 40, requests: 60, failures: 5, received_bytes: 1000, sent_bytes: 2000 };
    assert_eq!(stats(&text).unwrap(), [(PLAIN, Shown { counters, open: 2 })].into());
}

#[test]
fn what_is_no_list_of_counters_is_an_error() {
    assert!(stats("# pxname,svname,scur\nx,FRONTEND,2\n").is_err());
    assert!(stats(&format!("# pxname,scur\n{PLAIN},2\n")).is_err());
    assert_eq!(stats("# pxname,svname,\n").unwrap(), [].into());
}
