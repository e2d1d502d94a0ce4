//! How many rules there can be: as many as a router takes.

use podzol_appliance_api::limits::MAX_PIECES;

use super::*;

#[tokio::test]
async fn an_account_has_a_thousand_balancers() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = admin.zone("z1", &["100-199"]).await;
    admin.zone_networks(&zone).await;
    let ip = address(admin, &zone).await;
    let create = async |port: u32| {
        let body = json!({ "name": format!("lb{port}"), "public_ip": ip, "port": port });
        admin.post("/v1/load-balancers", &body).await
    };
    for first in (1..=1000).step_by(100) {
        let made = futures_util::future::join_all((first..first + 100).map(&create)).await;
        made.into_iter().for_each(|answer| drop(answer.ok()));
    }
    let problem = create(1001).await.refused(409, "too_many_rules");
    assert_eq!(
        text(&problem, "detail"),
        "the account has 1000 load balancers, and its router takes at most 1000"
    );
    let acme = admin.customer("acme").await;
    let ip = address(&acme.api, &zone).await;
    let body = json!({ "name": "lb", "public_ip": ip, "port": 1 });
    done(&acme.api, acme.api.post("/v1/load-balancers", &body).await).await;
}

#[tokio::test]
async fn what_falls_into_many_pieces_is_limited_so_that_a_router_takes_all() {
    let world = World::make().await;
    let (api, ip) = (world.api(), &world.ip);
    let forward = async |transport: &str, ports: &str, to_port: u16| {
        let body = json!({
            "public_ip": ip, "transport": transport, "ports": ports, "vm": world.web, "to_port": to_port,
        });
        api.post("/v1/port-forwards", &body).await
    };
    let first = done(api, forward("tcp", "1-55535", 2).await).await;
    let problem = forward("udp", "1-2", 3).await.refused(409, "too_many_rules");
    assert!(text(&problem, "detail").contains("55536 ports of ranges that lead to other ports"), "{problem}");
    // One port is one piece, and so is a range that leads to the same.
    done(api, forward("udp", "1", 3).await).await;
    done(api, forward("udp", "2-60000", 2).await).await;
    let second = done(api, forward("udp", "60001-60002", 60_001).await).await;
    let second = format!("/v1/port-forwards/{second}");
    api.patch(&second, &json!({ "to_port": 1 })).await.refused(409, "too_many_rules");
    let first = format!("/v1/port-forwards/{first}");
    done(api, api.patch(&first, &json!({ "ports": "1-55534" })).await).await;
    done(api, api.patch(&second, &json!({ "to_port": 1 })).await).await;

    let ranges = |first: u8| (0..64).map(|number| format!("{first}.0.{number}.0/24")).collect::<Vec<_>>();
    let sources: Vec<String> = (0..64).map(|number| format!("10.1.1.{}", 4 * number)).collect();
    let egress = async |count: usize| {
        let body = json!({
            "network": world.net, "protocol": "tcp", "sources": sources[..count], "destinations": ranges(9),
        });
        api.post("/v1/egress-rules", &body).await
    };
    done(api, egress(64).await).await;
    egress(64).await.refused(409, "too_many_rules");
    let last = done(api, egress(35).await).await;
    egress(1).await.refused(409, "too_many_rules");
    let last = format!("/v1/egress-rules/{last}");
    api.patch(&last, &json!({ "sources": sources[..36] })).await.refused(409, "too_many_rules");
    done(api, api.patch(&last, &json!({ "sources": sources[..1] })).await).await;
    done(api, api.post("/v1/egress-rules", &world.body("egress-rules")).await).await;

    let sources: Vec<String> = (0..64).map(|number| format!("9.0.{number}.0/24")).collect();
    let ingress = async |count: usize| {
        let body = json!({ "public_ip": ip, "protocol": "tcp", "ports": "80", "sources": sources[..count] });
        api.post("/v1/firewall-rules", &body).await
    };
    // 64 sources each, of 6384 together: 99 such rules, and one with 48.
    let made = futures_util::future::join_all((0..96).map(|_| ingress(64))).await;
    made.into_iter().for_each(|answer| drop(answer.ok()));
    for _ in 0..3 {
        done(api, ingress(64).await).await;
    }
    let problem = ingress(64).await.refused(409, "too_many_rules");
    let detail = "the account can have 6384 sources in firewall rules with several in a zone: there are 6336, \
        and 64 more are too many";
    assert_eq!(text(&problem, "detail"), detail);
    let last = done(api, ingress(48).await).await;
    ingress(2).await.refused(409, "too_many_rules");
    let last = format!("/v1/firewall-rules/{last}");
    api.patch(&last, &json!({ "sources": sources[..49] })).await.refused(409, "too_many_rules");
    // One source is one piece.
    done(api, ingress(1).await).await;
    done(api, api.patch(&last, &json!({ "sources": sources[..1] })).await).await;
    done(api, ingress(47).await).await;

    // It takes all of that.
    api.start_vm(&world.web).await;
    let router = world.admin().list("/v1/routers").await.remove(0);
    let vm = text(&router, "vm").parse().unwrap();
    let machine = world.pod.hosts.iter().find_map(|host| host.router(vm)).unwrap();
    let document = machine.document().unwrap();
    assert_eq!((document.port_forwards.len(), document.egress.len()), (4, 3));
    assert_eq!(document.ingress.len(), 102);
    assert_eq!(document.problems(), vec![]);
}

#[tokio::test]
async fn rules_that_a_router_would_cut_in_too_many_pieces_are_refused() {
    const SOURCES: u32 = 64;
    let world = World::make().await;
    let (api, ip) = (world.api(), &world.ip);
    let allow = async |sources: &[String], ports: &str| {
        let body = json!({ "public_ip": ip, "protocol": "tcp", "ports": ports, "sources": sources });
        api.post("/v1/firewall-rules", &body).await
    };
    let everywhere = ["0.0.0.0/0".to_owned()];
    let some: Vec<String> = (0..SOURCES).map(|number| format!("9.0.{number}.0/24")).collect();
    let crossing = done(api, allow(&some, "1-65535").await).await;
    // Each port for everybody is a piece, and cuts those of each source once more.
    let most = (MAX_PIECES - SOURCES) / (SOURCES + 1);
    let ports: Vec<String> = (1..=most).map(|port| (2 * port).to_string()).collect();
    for ports in ports.chunks(50) {
        let made = futures_util::future::join_all(ports.iter().map(|port| allow(&everywhere, port))).await;
        made.into_iter().for_each(|answer| drop(answer.ok()));
    }
    let cut = format!(
        "the account's firewall rules in the zone would overlap so that its router might have to cut them in more than {} pieces",
        MAX_PIECES
    );
    let problem = allow(&everywhere, "60000").await.refused(409, "too_many_rules");
    assert_eq!(text(&problem, "detail"), cut);
    // Neither may it become so by a change.
    let harmless = done(api, allow(&everywhere, "2").await).await;
    let harmless = format!("/v1/firewall-rules/{harmless}");
    api.patch(&harmless, &json!({ "protocol": "tcp", "ports": "60000" }))
        .await
        .refused(409, "too_many_rules");

    // It helps that one goes, whichever.
    api.delete(&harmless).await.ok();
    allow(&everywhere, "60000").await.refused(409, "too_many_rules");
    api.delete(&format!("/v1/firewall-rules/{crossing}")).await.ok();
    done(api, allow(&everywhere, "60000").await).await;

    // Other kinds and other addresses have nothing to do with it.
    done(api, api.post("/v1/egress-rules", &world.body("egress-rules")).await).await;

    // The router takes it.
    api.start_vm(&world.web).await;
    let router = world.admin().list("/v1/routers").await.remove(0);
    let vm = text(&router, "vm").parse().unwrap();
    let machine = world.pod.hosts.iter().find_map(|host| host.router(vm)).unwrap();
    assert_eq!(machine.document().unwrap().ingress.len(), most as usize + 1);
}

#[tokio::test]
async fn lists_have_pages_of_1_to_500_things() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    for list in KINDS.map(|(kind, _)| kind).into_iter().chain(["public-ips", "routers"]) {
        for limit in ["0", "501"] {
            let answer = admin.get(&format!("/v1/{list}?limit={limit}")).await;
            assert_eq!(answer.refused(422, "invalid_field")["field"], "limit", "{list}");
        }
        assert_eq!(admin.list(&format!("/v1/{list}?limit=500")).await, Vec::<Value>::new());
        admin.get(&format!("/v1/{list}?ports=80")).await.refused(422, "unknown_parameter");
    }
}
