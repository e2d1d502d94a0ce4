//! An account has a router in each zone, and each knows what is in its own.

use serde_json::json;

use super::rules::Served;
use super::text;

#[tokio::test]
async fn what_an_account_has_in_one_zone_is_nothing_to_its_router_in_another() {
    let served = Served::make().await;
    let (world, admin, api) = (&served.world, served.world.admin(), &served.world.acme.api);
    let other = world.pod.in_another_zone(&world.control_plane).await;
    let here = world.router().await;
    let network = other.network(api, "there", "10.1.1.0/24").await;
    let vm = other.vm(api, "there", &network).await;
    let routers = admin.list("/v1/routers").await;
    let there = routers.iter().find(|router| router["id"] != here["id"]).unwrap();
    let machines = (
        world.machine(&here).await,
        other.hosts[0].router(text(there, "vm").parse().unwrap()).expect("it is there"),
    );
    let before = machines.0.count_calls();

    let ip = served.make_one("/v1/public-ips", json!({ "zone": other.zone })).await;
    let rule = json!({ "public_ip": ip, "protocol": "tcp", "ports": "80" });
    served.make_one("/v1/firewall-rules", rule).await;
    let forward = json!({ "public_ip": ip, "transport": "tcp", "ports": "80", "vm": vm, "to_port": 80 });
    served.make_one("/v1/port-forwards", forward).await;
    let balancer = json!({
        "name": "lb", "public_ip": ip, "port": 443, "members": [{ "vm": vm, "port": 443 }],
    });
    served.make_one("/v1/load-balancers", balancer).await;
    // Whatever router was told of those has been told by now.
    let own = served.make_one("/v1/public-ips", json!({ "zone": world.pod.zone })).await;
    let rule = json!({ "public_ip": own, "protocol": "tcp", "ports": "22" });
    let rule = served.make_one("/v1/firewall-rules", rule).await;

    let [here, there] = [machines.0.document().unwrap(), machines.1.document().unwrap()];
    assert_eq!(
        (here.ingress.keys().map(ToString::to_string).collect::<Vec<_>>(), here.balancers.len()),
        (vec![rule], 0)
    );
    assert_eq!((there.ingress.len(), there.port_forwards.len(), there.balancers.len()), (1, 1, 1));
    assert_eq!(machines.0.count_calls().puts, before.puts, "no change was refused");
    assert_eq!(admin.get("/v1/doctor").await.ok()["findings"], json!([]));
}
