//! The wildcard certificate: of the own authority, or brought by an operator.

use podzol_test_support::certificate::certificate;
use reqwest::Method;

use super::*;

#[tokio::test]
async fn proxies_show_the_authoritys_certificate_until_an_operator_brings_another() {
    let world = World::make().await;
    let opened = world.open().await;
    let (_, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);
    let own = world.admin().get("/v1/console-certificate").await.ok();
    assert_eq!((&own["uploaded"], text(&own, "domain").as_str()), (&json!(false), "console.example.org"));
    let shown = || machine.document().unwrap().certificate;
    assert_eq!(shown().chain, text(&own, "certificates"));

    let body = certificate("*.console.example.org");
    let certificates = text(&body, "certificates");
    let put = world.admin().send_json(Method::PUT, "/v1/console-certificate", &body).await.ok();
    assert_eq!((&put["uploaded"], put.get("key")), (&json!(true), None));
    wait_for("the new one to be shown", SOON, async || {
        if shown().chain == certificates { Ok(()) } else { Err(shown().chain) }
    })
    .await;
    assert_eq!(machine.sessions().len(), 1, "sessions go on");

    world.admin().delete("/v1/console-certificate").await.ok();
    wait_for("one of the own authority to be shown", SOON, async || {
        if shown().chain == certificates { Err(shown().chain) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_would_not_work_is_refused() {
    let world = World::make().await;
    let put = async |certificates: &str, key: &str| {
        let body = json!({ "certificates": certificates, "key": key });
        let answer = world.admin().send_json(Method::PUT, "/v1/console-certificate", &body).await;
        answer.refused(422, "invalid_field")
    };
    let pair = |body: Value| (text(&body, "certificates"), text(&body, "key"));
    let (good, key) = pair(certificate("*.console.example.org"));
    let (other, other_key) = pair(certificate("www.example.org"));
    let refused = put(&other, &other_key).await;
    assert!(text(&refused, "detail").contains("must be for *.console.example.org"), "{refused}");
    assert_eq!(put(&good, &other_key).await["field"], "key");
    assert_eq!(put("x", &key).await["field"], "certificates");
    let shown = world.admin().get("/v1/console-certificate").await.ok();
    assert_eq!(shown["uploaded"], json!(false));
}
