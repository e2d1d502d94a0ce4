//! A Debian VM with cloud-init as Debian packages it gets its name, addresses and keys from the config drive.

use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::program::run;
use podzol_lab::{Lab, Ssh};
use podzol_scenarios::{account, lab_beside_others, vlan};

/// An address in acme's network that no VM of the lab has.
const PROBE: &str = "10.1.1.250";

/// A customer's own data. Without them cloud-init makes an RSA key and four more, which takes a minute under emulation.
const USER_DATA: &str = "#cloud-config\nssh_genkeytypes: [ed25519]\n";

/// A place in a customer's network on a host, from which a VM can be logged in to; until this is dropped.
struct Probe(Ssh);

impl Probe {
    fn new(lab: &Lab, host: &str, vlan: u64, private_key: &str) -> Self {
        let probe = Self(lab.ssh(&lab.host(host).unwrap()));
        probe
            .0
            .run(&format!(
                "ip netns add probe && ip link add probe0 type veth peer name probe1 netns probe && \
                 ip link set probe0 master pzb{vlan} up && ip -n probe addr add {PROBE}/24 dev probe1 && \
                 ip -n probe link set probe1 up"
            ))
            .unwrap();
        probe.0.feed("umask 077 && cat > /tmp/probe-key", private_key.as_bytes()).unwrap();
        probe
    }

    /// Runs a command in the VM as the user that cloud-init made.
    fn ask(&self, address: &str, command: &str) -> anyhow::Result<String> {
        self.0.run(&format!(
            "ip netns exec probe ssh -i /tmp/probe-key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR -o ConnectTimeout=10 -o BatchMode=yes debian@{address} '{command}'"
        ))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.0.run("ip link delete probe0; ip netns delete probe; rm -f /tmp/probe-key");
    }
}

#[test]
fn debians_own_cloud_init_takes_name_address_keys_data_and_disk_size_from_what_podzol_gives() {
    let lab = lab_beside_others().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").display().to_string();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "customer", "-f", &key]).unwrap();
    let templates = || lab.ssh(&lab.host("s1")?).run("ls /srv/podzol/nfs1/templates");
    let before = templates().unwrap();
    let image = lab.images.join("debian/debian.qcow2");
    admin.podzol(&format!("template create debian --file {} --os Debian --wait", image.display())).unwrap();
    admin.podzol("host tag h1 roomy").unwrap();
    admin.podzol("offering create medium --vcpus 1 --memory-mib 384 --disk-gib 3 --tag roomy").unwrap();

    let create = "vm create web-1 --offering medium --template debian --network net";
    let user_data = folder.path().join("user-data");
    std::fs::write(&user_data, USER_DATA).unwrap();
    let own = format!("--ssh-key-file {key}.pub --user-data-file {}", user_data.display());
    acme.podzol(&format!("{create} {own} --wait")).unwrap();

    let shown = admin.podzol("vm show web-1").unwrap();
    let address = shown["nics"][0]["address"].as_str().unwrap();
    let mac = shown["nics"][0]["mac"].as_str().unwrap();
    let host = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap())).unwrap();
    let private_key = std::fs::read_to_string(&key).unwrap();
    let probe = Probe::new(&lab, host["name"].as_str().unwrap(), vlan(&lab, "acme").unwrap(), &private_key);
    // All that Podzol gives is taken in the first two of cloud-init's four stages, and nobody is let in before their end.
    let status = wait_for("the VM to let us in", Duration::from_secs(900), || {
        Ok(Some(probe.ask(address, "cat /run/cloud-init/status.json")?))
    })
    .unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["v1"]["datasource"].as_str().unwrap().starts_with("DataSourceNoCloud"), "{status}");
    for stage in ["init-local", "init"] {
        let stage = &status["v1"][stage];
        assert!(stage["finished"].is_number() && stage["errors"] == serde_json::json!([]), "{status}");
    }
    assert_eq!(probe.ask(address, "hostname").unwrap().trim(), "web-1");
    let links = probe.ask(address, "ip -o addr show; ip -o link show").unwrap();
    assert!(links.contains(&format!("{address}/24")) && links.contains(mac), "{links}");
    let key = std::fs::read_to_string(format!("{key}.pub")).unwrap();
    assert_eq!(probe.ask(address, "cat .ssh/authorized_keys").unwrap().trim(), key.trim());
    assert_eq!(probe.ask(address, "ls /etc/ssh/*_key").unwrap().trim(), "/etc/ssh/ssh_host_ed25519_key");
    let bytes = probe.ask(address, "df --output=size -B1 / | tail -n 1").unwrap();
    assert!(bytes.trim().parse::<u64>().unwrap() > 2_500_000_000, "the disk has grown: {bytes}");

    drop(probe);
    acme.podzol("vm delete web-1 --wait").unwrap();
    admin.podzol("template delete debian --wait").unwrap();
    admin.podzol("offering delete medium").unwrap();
    admin.podzol("host tag h1").unwrap();
    // Nothing waits for the file of a template that was deleted; it is a leftover, and goes with the next round.
    wait_for("the pool to have let go of the template", Duration::from_secs(300), || {
        Ok((templates()? == before).then_some(()))
    })
    .unwrap();
}
