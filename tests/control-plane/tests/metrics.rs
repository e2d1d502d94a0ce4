//! What an operator's monitoring sees.

use podzol_sim::SimPod;
use podzol_test_support::{ControlPlane, SOON, wait_for};

#[tokio::test]
async fn metrics_count_hosts_and_vms_by_state_and_what_was_asked() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    pod.vm(admin, "a", &network).await;
    let b = pod.vm(admin, "b", &network).await;
    let hosts = pod.hosts.len();
    let total = |metrics: &str, name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("it is counted");
        line.trim().parse().expect("it is a number")
    };
    let metrics = async || admin.get("/metrics").await.ok().as_str().unwrap_or_default().to_owned();

    let lines = [
        format!("podzol_hosts{{state=\"up\"}} {hosts}"),
        "podzol_vms{state=\"running\"} 2".into(),
        "podzol_operation_attempts_total{kind=\"vm.start\",outcome=\"done\"} 2".into(),
        "podzol_api_requests_total{method=\"POST\",route=\"/v1/vms\",status=\"202\"} 2".into(),
    ];
    // What was done is counted just after it is seen.
    let before = wait_for("all to be counted", SOON, async || {
        let before = metrics().await;
        match lines.iter().find(|line| !before.lines().any(|found| found == **line)) {
            None => Ok(before),
            Some(line) => Err(format!("{line} is not in\n{before}")),
        }
    })
    .await;

    admin.stop_vm(&b).await;
    let after = metrics().await;
    let written = |metrics: &str| {
        ["transactions", "commits"].map(|what| total(metrics, &format!("podzol_database_{what}_total ")))
    };
    let ([transactions, commits], [more_transactions, more_commits]) = (written(&before), written(&after));
    // Asking for the stop, and that it has come true, are one each at least.
    assert!(more_transactions >= transactions + 2 && more_commits > commits, "{after}");
    assert!(0 < commits && commits <= transactions, "{before}");
    assert!(after.contains("podzol_vms{state=\"running\"} 1\n"), "{after}");
    assert!(after.contains("podzol_vms{state=\"stopped\"} 1\n"), "{after}");
    admin.delete_vm(&b).await;
    assert!(
        !metrics().await.contains("state=\"stopped\""),
        "a state in which there is nothing is still told"
    );
}
