//! The clocks of servers jump: all goes on.

use std::time::{Duration, SystemTime};

use podzol_lab::{Lab, proof};
use podzol_scenarios::{account, lab, wait_until_well};

const SERVERS: [&str; 3] = ["h1", "h2", "s1"];

/// The clocks of all servers are wrong, until this is dropped.
struct Wrong<'a>(&'a Lab);

impl<'a> Wrong<'a> {
    /// Sets the clocks so many seconds before or after the right time.
    fn by(lab: &'a Lab, seconds: i64) -> Self {
        let wrong = Self(lab);
        wrong.set(seconds);
        wrong
    }

    fn set(&self, seconds: i64) {
        for server in SERVERS {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
            let ssh = self.0.ssh(&self.0.host(server).unwrap());
            ssh.run(&format!("date -s @{}", now + seconds)).unwrap();
        }
    }
}

impl Drop for Wrong<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[test]
fn when_clocks_jump_an_hour_forwards_or_back_all_goes_on() {
    let lab = lab().unwrap();
    let acme = account(&lab, "acme").unwrap();
    for seconds in [3600, -3600] {
        let wrong = Wrong::by(&lab, seconds);
        let create = "vm create clock --offering tiny --template tiny --network net --wait";
        assert_eq!(acme.podzol(create).unwrap()["state"], "running");
        acme.podzol("volume create clocks-data --size-gib 1 --zone z1 --wait").unwrap();
        acme.podzol("volume attach clocks-data --vm clock --wait").unwrap();
        // New connections are made too, with certificates that must be valid then.
        for host in ["h1", "h2"] {
            lab.ssh(&lab.host(host).unwrap()).run("systemctl restart podzol-agent").unwrap();
        }
        wait_until_well(&lab, Duration::from_secs(300)).unwrap();
        acme.podzol("vm delete clock --expunge --wait").unwrap();
        acme.podzol("volume delete clocks-data --wait").unwrap();
        drop(wrong);
    }
    wait_until_well(&lab, Duration::from_secs(300)).unwrap();
    proof::reachability(&lab, &proof::demo_vms(&lab).unwrap()).unwrap();
}
