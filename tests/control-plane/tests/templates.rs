//! Templates: what is not the image that it should be is not kept anywhere.

use std::path::Path;

use podzol_image_signature::SigningKey;
use podzol_sim::SimPod;
use podzol_test_support::{ControlPlane, SOON, image, text, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A web server that gives these bytes to everybody, whatever the path. Its URL.
async fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("http://user:secret@{address}/tiny.qcow2")
}

fn uploads(control_plane: &ControlPlane) -> Vec<String> {
    let entries =
        std::fs::read_dir(control_plane.data_dir().join("templates")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn create(control_plane: &ControlPlane, body: Value) -> String {
    text(&control_plane.admin.post("/v1/templates", &body).await.ok(), "id")
}

#[tokio::test]
async fn an_upload_with_another_digest_is_refused_and_leaves_no_file() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let (uploaded, in_pool) = (uploads(&control_plane), pod.storage.templates("pool"));
    let right = image::qcow2(64, "right");
    let id = create(&control_plane, json!({ "name": "t", "sha256": image::sha256(&right) })).await;

    let answer = admin.put(&format!("/v1/templates/{id}/data"), &image::qcow2(64, "wrong")).await;

    assert_eq!(answer.refused(422, "invalid_field")["field"], "body");
    assert_eq!(admin.get(&format!("/v1/templates/{id}")).await.ok()["state"], "awaiting_upload");
    assert_eq!((uploads(&control_plane), pod.storage.templates("pool")), (uploaded, in_pool));
    admin.put(&format!("/v1/templates/{id}/data"), &right).await.ok();
    admin.in_state(&format!("/v1/templates/{id}"), "ready").await;
    admin.put(&format!("/v1/templates/{id}/data"), &right).await.refused(409, "no_upload_awaited");
}

#[tokio::test]
async fn an_upload_may_be_larger_than_other_bodies() {
    let control_plane = ControlPlane::start().await;
    let _pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let mut large = image::qcow2(64, "large");
    large.resize(3 << 20, 0);
    let id = create(&control_plane, json!({ "name": "t", "sha256": image::sha256(&large) })).await;

    admin.put(&format!("/v1/templates/{id}/data"), &large).await.ok();

    let template = admin.in_state(&format!("/v1/templates/{id}"), "ready").await;
    assert_eq!(
        (&template["size_bytes"], &template["virtual_size_bytes"]),
        (&json!(3 << 20), &json!(64 << 20))
    );
}

#[tokio::test]
async fn an_upload_that_is_no_image_or_reaches_outside_fails_and_is_not_in_the_pool() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let in_pool = pod.storage.templates("pool");
    let mut outside = image::qcow2(64, "outside");
    outside[15] = 112;
    for (name, bytes, reason) in
        [("a", b"nonsense".to_vec(), "no qcow2 image"), ("b", outside, "a backing file")]
    {
        let id = create(&control_plane, json!({ "name": name, "sha256": image::sha256(&bytes) })).await;
        admin.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        let failed = admin.in_state(&format!("/v1/templates/{id}"), "failed").await;
        assert!(text(&failed, "error").contains(reason), "{failed}");
    }
    assert_eq!(pod.storage.templates("pool"), in_pool);
}

#[tokio::test]
async fn an_import_with_another_digest_fails_and_leaves_no_file() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let in_pool = pod.storage.templates("pool");
    let url = serve(image::qcow2(64, "wrong")).await;
    let sha256 = image::sha256(&image::qcow2(64, "right"));

    let id = create(&control_plane, json!({ "name": "t", "sha256": sha256, "url": url })).await;

    let failed = admin.in_state(&format!("/v1/templates/{id}"), "failed").await;
    assert!(text(&failed, "error").contains("SHA-256"), "{failed}");
    assert_eq!(pod.storage.templates("pool"), in_pool);
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    admin.vm("web", &pod.offering, &id, &network).await.refused(409, "template_not_ready");
    let shown = [admin.get("/v1/templates").await.body, admin.get("/v1/operations").await.body];
    assert!(
        shown.iter().all(|shown| !shown.to_string().contains("secret")),
        "a password is shown: {shown:?}"
    );
}

#[tokio::test]
async fn an_import_with_the_right_digest_becomes_ready() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let bytes = image::qcow2(64, "right");
    let url = serve(bytes.clone()).await;

    let id =
        create(&control_plane, json!({ "name": "t", "sha256": image::sha256(&bytes), "url": url })).await;

    let template = admin.in_state(&format!("/v1/templates/{id}"), "ready").await;
    assert_eq!(template["size_bytes"], bytes.len());
    assert!(!text(&template, "url").contains("secret"), "{template}");
    let file =
        pod.storage.pool_folder("pool").join("templates").join(format!("{}.qcow2", image::sha256(&bytes)));
    assert!(Path::exists(&file));
}

#[tokio::test]
async fn a_failed_import_is_retried_when_it_is_asked_for() {
    let control_plane = ControlPlane::start().await;
    let _pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let url = serve(image::qcow2(64, "wrong")).await;
    let sha256 = image::sha256(&image::qcow2(64, "right"));
    let id = create(&control_plane, json!({ "name": "t", "sha256": sha256, "url": url })).await;
    admin.in_state(&format!("/v1/templates/{id}"), "failed").await;
    let operations = admin.list(&format!("/v1/operations?subject={id}")).await;
    let operation = text(&operations[0], "id");

    let ended = admin.ended(&operation).await;
    assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("failed"), &json!("import_failed")));
    admin.post(&format!("/v1/operations/{operation}/retry"), &Value::Null).await.ok();

    let again = admin.ended(&operation).await;
    assert!(again["attempts"].as_u64() > ended["attempts"].as_u64(), "{again}");
    admin.in_state(&format!("/v1/templates/{id}"), "failed").await;
}

#[tokio::test]
async fn bad_templates_are_refused() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let good = json!({ "name": "t", "sha256": "0".repeat(64), "os": "Debian" });
    let digest = "must be a SHA-256 digest";
    let url = "must be an http or https URL";
    for (field, value, message) in [
        ("name", json!("T"), "must be 1 to 63"),
        ("sha256", json!("0".repeat(63)), digest),
        ("sha256", json!("0".repeat(65)), digest),
        ("sha256", json!("g".repeat(64)), digest),
        ("sha256", json!(7), ""),
        ("url", json!("nonsense"), url),
        ("url", json!("ftp://example.org/x"), url),
        ("url", json!("file:///etc/shadow"), url),
        ("url", json!("http://"), url),
        ("url", json!(7), ""),
        ("os", json!("x".repeat(201)), "must be at most 200 bytes"),
        ("os", json!("a\nb"), "must be at most 200 bytes"),
        ("format", json!("raw"), "unknown variant"),
        ("colour", json!("red"), "unknown field"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let problem = admin.post("/v1/templates", &body).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(text(&problem, "detail").contains(message), "{problem}");
    }
    assert!(admin.list("/v1/templates").await.is_empty());
    admin.post("/v1/templates", &good).await.ok();
    admin.post("/v1/templates", &good).await.refused(409, "name_taken");
}

#[tokio::test]
async fn what_a_vm_is_made_of_and_stands_on_stays() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    for path in [
        format!("/v1/templates/{}", pod.template),
        format!("/v1/offerings/{}", pod.offering),
        format!("/v1/pools/{}", pod.pool),
        format!("/v1/zones/{}", pod.zone),
        format!("/v1/pods/{}", pod.pod),
        format!("/v1/storage-servers/{}", pod.storage.id),
        format!("/v1/hosts/{}", text(&admin.show_vm(&vm).await, "host")),
    ] {
        admin.delete(&path).await.refused(409, "in_use");
        admin.get(&path).await.ok();
    }
    admin.delete_vm(&vm).await;
    admin.delete(&format!("/v1/templates/{}", pod.template)).await.ok();
    admin.delete(&format!("/v1/offerings/{}", pod.offering)).await.ok();
}

/// Removes all templates' files from the pool, as somebody does by mistake.
fn vanish_from_pool(pod: &SimPod) {
    std::fs::remove_dir_all(pod.storage.pool_folder("pool").join("templates")).expect("it is there");
    std::fs::create_dir(pod.storage.pool_folder("pool").join("templates")).expect("it can be made again");
}

#[tokio::test]
async fn a_template_that_vanished_from_its_pool_is_brought_there_again() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let before = pod.storage.templates("pool");
    vanish_from_pool(&pod);

    pod.vm(admin, "web", &network).await;

    assert_eq!(pod.storage.templates("pool"), before);
}

#[tokio::test]
async fn a_template_that_is_nowhere_any_more_is_named_and_nothing_is_left_of_its_vm() {
    let control_plane = ControlPlane::with(|config| config.vm_start_secs = 20).await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    vanish_from_pool(&pod);
    let folder = control_plane.data_dir().join("templates");
    let aside = control_plane.folder().join("aside");
    std::fs::rename(&folder, &aside).expect("it can be moved");

    let made = admin.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let ended = admin.ended(&text(&made, "operation.id")).await;

    assert_eq!(ended["state"], "failed", "{ended:#}");
    let detail = text(&ended, "error.detail");
    assert!(detail.contains("pool pool: there is no upload with the digest"), "{detail}");
    let vm = text(&made, "object.id");
    pod.is_clean().await;
    wait_for("the VM to have no host", SOON, async || {
        let shown = admin.show_vm(&vm).await;
        if shown["host"].is_null() { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    // Somebody brings it back.
    std::fs::remove_dir_all(&folder).ok();
    std::fs::rename(&aside, &folder).expect("it can be moved back");
    admin.start_vm(&vm).await;
    admin.vm_in_state(&vm, "running").await;
}

#[tokio::test]
async fn what_routers_of_a_template_can_do_is_what_its_signed_manifest_says() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let digest = image::sha256(b"image");
    let body = |name: &str, extensions: Value| json!({ "name": name, "sha256": digest, "role": "router", "extensions": extensions });
    let signed = |recipe: &str, extensions: Value| {
        let mut body = body(recipe, extensions);
        let manifest =
            json!({ "recipe": recipe, "files": [{ "name": "x.qcow2", "sha256": digest }] }).to_string();
        body["signed"] = json!({ "manifest": manifest, "signature": "" });
        body
    };
    let mut of_nobody = body("x", json!(["l7"]));
    of_nobody["role"] = Value::Null;
    for (bad, rule) in [
        (of_nobody, "must be left out but of routers"),
        (signed("router", json!(["l7"])), "must be those of router, which the signed manifest says"),
        (signed("router-l7", json!([])), "must be those of router-l7"),
    ] {
        let problem = admin.post("/v1/templates", &bad).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], "extensions");
        assert!(text(&problem, "detail").contains(rule), "{problem}");
    }
    admin.post("/v1/templates", &body("x", json!(["l8"]))).await.refused(422, "invalid_field");
    for good in [
        signed("router", json!([])),
        signed("router-l7", json!(["l7"])),
        signed("own", json!(["l7"])),
        body("unsigned", json!(["l7"])),
    ] {
        let made = admin.post("/v1/templates", &good).await.ok();
        assert_eq!(made["extensions"], good["extensions"]);
    }
}

#[tokio::test]
async fn a_storage_server_that_wants_signed_templates_takes_no_others_and_is_given_the_signature() {
    let control_plane = ControlPlane::start().await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let (_, signer) = SigningKey::generate().unwrap();
    pod.storage.trust(&signer.public_key().to_string());
    let template = async |name: &str, sign: &dyn Fn(&str) -> Option<Value>| {
        let bytes = image::qcow2(64, name);
        let sha256 = image::sha256(&bytes);
        let manifest =
            json!({ "recipe": name, "files": [{ "name": "x.qcow2", "sha256": sha256 }] }).to_string();
        let body = json!({ "name": name, "sha256": sha256, "signed": sign(&manifest) });
        let id = create(&control_plane, body).await;
        admin.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        format!("/v1/templates/{id}")
    };
    let signed = |by: &SigningKey, manifest: &str| {
        let signature = by.sign(manifest.as_bytes()).to_string();
        Some(json!({ "manifest": manifest, "signature": signature }))
    };

    let good = template("good", &|manifest| signed(&signer, manifest)).await;
    admin.in_state(&good, "ready").await;
    let (_, stranger) = SigningKey::generate().unwrap();
    let unsigned = template("unsigned", &|_| None).await;
    let forged = template("forged", &|manifest| signed(&stranger, manifest)).await;
    for (bad, why) in
        [(unsigned, "signed: must be there"), (forged, "signed.signature: is not of this manifest")]
    {
        admin.in_state(&bad, "failed").await;
        let shown = admin.get(&bad).await.ok();
        assert!(shown.to_string().contains(why), "{shown}");
    }
}
