//! What somebody changes by hand on a server is put right: by the agent there, or by a repair.

use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::proof;
use podzol_scenarios::{findings, lab, wait_until_well};

/// How long it may take until something is put right: agents look every half minute at least.
const PUT_RIGHT: Duration = Duration::from_secs(90);

#[test]
fn what_somebody_changed_on_servers_is_found_and_put_right() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let on = |server: &str, command: &str| {
        lab.ssh(&lab.host(server).unwrap()).run(command).unwrap().trim().to_owned()
    };
    wait_until_well(&lab, PUT_RIGHT).unwrap();

    // A port out of its bridge, and a bridge that is gone under its ports.
    let port = on("h1", "ls /sys/class/net/pzb*/brif | grep ^pzt | head -n 1");
    let bridge_now = || on("h1", &format!("basename $(readlink /sys/class/net/{port}/master) || true"));
    let bridge = bridge_now();
    assert!(bridge.starts_with("pzb"), "{port} is in {bridge}");
    for spoil in [format!("ip link set {port} nomaster"), format!("ip link delete {bridge}")] {
        on("h1", &spoil);
        wait_for("the port to be in its bridge", PUT_RIGHT, || Ok((bridge_now() == bridge).then_some(())))
            .unwrap();
    }

    // The rules about what a VM may send.
    let rules = || on("h1", "nft list chain bridge podzol from_vms");
    let before = rules();
    on("h1", "nft flush chain bridge podzol from_vms");
    wait_for("the rules to be as before", PUT_RIGHT, || Ok((rules() == before).then_some(()))).unwrap();
    wait_until_well(&lab, PUT_RIGHT).unwrap();

    // An export to a stranger: nothing but a repair puts it right, as nobody else would ask.
    let exports = || on("s1", "cut -d'(' -f1 /var/lib/nfs/etab | sort");
    let (before, stranger) = (exports(), "10.77.0.99");
    let folder = before.split_whitespace().next().unwrap();
    on("s1", &format!("exportfs -o ro,no_subtree_check {stranger}:{folder}"));
    let found = findings(&admin).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["code"], &found[0]["subject"]), (&"export_left_over".into(), &stranger.into()));
    admin.command().args(["doctor", "--repair"]).output().unwrap();
    wait_for("the pool to be exported again", PUT_RIGHT, || Ok((exports() == before).then_some(()))).unwrap();

    wait_until_well(&lab, PUT_RIGHT).unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    proof::reachability(&lab, &vms).unwrap();
}
