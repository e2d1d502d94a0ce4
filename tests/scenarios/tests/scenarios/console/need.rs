//! Console proxies by need: sessions are opened one by one up to twice what a proxy has room for, and closed again.

use super::*;

/// How many servers that take sessions each running proxy has, the fewest first.
fn servers(admin: &Cloud) -> anyhow::Result<Vec<usize>> {
    let proxies = admin.podzol("console-proxy list")?;
    let takes = |server: &&Value| server["open"] == true && server["draining_since"].is_null();
    let running = proxies.as_array().into_iter().flatten().filter(|proxy| proxy["state"] == "running");
    let mut servers: Vec<usize> = running
        .map(|proxy| proxy["servers"].as_array().into_iter().flatten().filter(takes).count())
        .collect();
    servers.sort_unstable();
    Ok(servers)
}

fn servers_are(admin: &Cloud, what: &str, longest: Duration, expected: &[usize]) -> anyhow::Result<()> {
    wait_for(what, longest, || {
        let there = servers(admin)?;
        ensure!(there == expected, "{there:?} instead of {expected:?}");
        Ok(Some(()))
    })
}

#[test]
fn a_server_is_opened_first_and_a_proxy_started_second_and_both_go_when_nobody_needs_them() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    // Each server of a proxy takes one session: so a proxy, which has two, takes two.
    let undone = Undone::with(&lab, &[("sessions_per_server", 1), ("servers_per_proxy", 2)]).unwrap();
    let came_and_went = come_and_go(&lab, &admin);
    drop(undone);
    let gone = wait_for("console proxies to be gone", GIVEN_UP, || {
        let left = admin.podzol("console-proxy list")?;
        ensure!(left.as_array().is_some_and(Vec::is_empty), "{left}");
        Ok(Some(()))
    });
    came_and_went.unwrap();
    gone.unwrap();
    wait_until_well(&lab, GIVEN_UP).unwrap();
}

fn come_and_go(lab: &Lab, admin: &Cloud) -> anyhow::Result<()> {
    let (acme, globex) = (account(lab, "acme")?, account(lab, "globex")?);
    let mut consoles = Consoles { lab, pages: Pages::start(lab)? };
    let steps: [(&Cloud, &str, &[usize]); 4] = [
        (&acme, "acme-1", &[1]),
        (&acme, "acme-2", &[2]),
        (&globex, "globex-1", &[1, 2]),
        (&globex, "globex-2", &[2, 2]),
    ];
    let mut places = Vec::new();
    for (customer, name, expected) in steps {
        let url = link(customer, name)?;
        // Its link was made when its server was open.
        servers_are(admin, &format!("the servers of {name} to be seen"), SHOWS, expected)?;
        consoles.pages.open(name, &url)?;
        let at = consoles.shows(name, SHOWS)?;
        let (origin, _) = url.split_once("/#").context("a link without a ticket")?;
        places.push((at, origin.ends_with(":8443")));
    }
    // Each of four servers has a page of its own, at two addresses.
    let second: Vec<bool> = places.iter().map(|(_, is_second)| *is_second).collect();
    ensure!(second == [false, true, false, true], "{places:?}");
    let [one, same, other, same_as_other] = places.iter().map(|(at, _)| at).collect::<Vec<_>>()[..] else {
        bail!("{places:?}");
    };
    ensure!(one == same && other == same_as_other && one != other, "{places:?}");

    // A whole proxy becomes empty, and one server of the other.
    for name in ["acme-2", "globex-1", "globex-2"] {
        let sessions = admin.podzol("console-session list")?;
        let vm = text(&admin.podzol(&format!("vm list --filter name={name}"))?[0], "id");
        let own = sessions.as_array().into_iter().flatten().find(|session| session["vm"] == vm.as_str());
        let own = own.with_context(|| format!("{name} has no session: {sessions}"))?;
        admin.podzol(&format!("console-session close {}", text(own, "id")))?;
        consoles.pages.close(name)?;
    }
    servers_are(admin, "what is empty to go", GIVEN_UP, &[1])?;
    // Whoever is still there has noticed nothing.
    let at = consoles.shows("acme-1", SHOWS)?;
    ensure!(at == *one, "acme-1 is at {at} instead of {one}");
    consoles.pages.close("acme-1")
}
