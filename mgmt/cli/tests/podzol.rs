//! `podzol` as people and scripts use it, against the real service with real agents on a simulated pod.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::{ControlPlane, image};
use serde_json::json;
use trycmd::TestCases;

/// Commands and what they print, one after another on one cloud. `TRYCMD=overwrite` writes what they print now.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_what_it_should_and_ends_with_its_code() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan {
        hosts: vec![("h1", 2048)],
        vlan_ranges: vec!["100-101"],
        vxlan_ranges: vec![],
        ..PodPlan::default()
    };
    let _pod = SimPod::with(&control_plane, plan).await;
    control_plane.admin.iso("installer").await;
    check(&control_plane, "tests/session.trycmd").await;
}

/// The same for networks with routers.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_about_routers_and_rules_prints_what_it_should() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let _pod = SimPod::with(&control_plane, plan).await;
    control_plane.admin.router_template("router").await;
    control_plane.admin.account("acme").await;
    check(&control_plane, "tests/routers.trycmd").await;
}

async fn check(control_plane: &ControlPlane, case: &'static str) {
    let url = control_plane.admin.base().to_owned();
    let data = control_plane.data_dir().to_owned();
    tokio::task::spawn_blocking(move || {
        TestCases::new()
            .env("PODZOL_URL", url)
            .env("PODZOL_CA_FILE", data.join("ca.pem").display().to_string())
            .env("PODZOL_KEY_FILE", data.join("admin.key").display().to_string())
            .case(case);
    })
    .await
    .unwrap();
}

#[test]
fn a_shell_completes_commands() {
    let script = "source <(\"$PODZOL\" completion bash); COMP_WORDS=(podzol vm con); COMP_CWORD=2; \
                  _podzol podzol con vm; echo \"${COMPREPLY[@]}\"";
    let said = Command::new("bash")
        .args(["-c", script])
        .env("PODZOL", env!("CARGO_BIN_EXE_podzol"))
        .output()
        .unwrap();
    assert_eq!(text(&said), "console-log\n");
    for shell in ["zsh", "fish"] {
        let said = Command::new(env!("CARGO_BIN_EXE_podzol")).args(["completion", shell]).output().unwrap();
        assert!(text(&said).contains("console-log"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let control_plane = ControlPlane::start().await;
    let data = control_plane.data_dir();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = Command::new(env!("CARGO_BIN_EXE_podzol"))
        .args(["account", "list", "--json"])
        .env("PODZOL_URL", control_plane.admin.base())
        .env("PODZOL_CA_FILE", data.join("ca.pem"))
        .env("PODZOL_KEY_FILE", data.join("admin.key"))
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stderr).as_ref()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_whose_upload_broke_off_is_uploaded_again() {
    let control_plane = ControlPlane::start().await;
    let _pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let (folder, bytes) = (tempfile::tempdir().unwrap(), image::qcow2(64, "again"));
    let file = folder.path().join("again.qcow2");
    std::fs::write(&file, &bytes).unwrap();
    // As `template create` leaves it that was killed before it had sent anything.
    let body = json!({ "name": "again", "sha256": image::sha256(&bytes) });
    control_plane.admin.post("/v1/templates", &body).await.ok();
    let data = control_plane.data_dir();
    let upload = || {
        Command::new(env!("CARGO_BIN_EXE_podzol"))
            .args(["template", "upload", "again", "--wait", "--file"])
            .arg(&file)
            .env("PODZOL_URL", control_plane.admin.base())
            .env("PODZOL_CA_FILE", data.join("ca.pem"))
            .env("PODZOL_KEY_FILE", data.join("admin.key"))
            .output()
            .unwrap()
    };
    assert!(text(&upload()).lines().any(|line| line.starts_with("state") && line.ends_with("ready")));
    let said = upload();
    assert!(String::from_utf8_lossy(&said.stderr).contains("this template awaits no upload"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_imported_as_what_stands_beside_it_says() {
    let control_plane = ControlPlane::start().await;
    let _pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let (built, bytes) = (tempfile::tempdir().unwrap(), image::qcow2(64, "router"));
    let manifest = json!({
        "recipe": "router", "files": [{ "name": "image.qcow2", "sha256": image::sha256(&bytes) }],
    });
    std::fs::write(built.path().join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(built.path().join("image.qcow2"), &bytes).unwrap();
    let data = control_plane.data_dir();
    let import = |file: &Path| {
        Command::new(env!("CARGO_BIN_EXE_podzol"))
            .args(["template", "import", "--wait"])
            .arg(file)
            .env("PODZOL_URL", control_plane.admin.base())
            .env("PODZOL_CA_FILE", data.join("ca.pem"))
            .env("PODZOL_KEY_FILE", data.join("admin.key"))
            .output()
            .unwrap()
    };
    let said = text(&import(&built.path().join("image.qcow2")));
    let field = |said: &str, name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.trim().to_owned())
    };
    assert_eq!(
        ["name", "role", "state"].map(|name| field(&said, name).unwrap_or_default()),
        ["router", "router", "ready"]
    );

    assert_eq!(field(&said, "extensions"), None);

    let (l7, bytes) = (tempfile::tempdir().unwrap(), image::qcow2(64, "router-l7"));
    let manifest = json!({
        "recipe": "router-l7", "files": [{ "name": "image.qcow2", "sha256": image::sha256(&bytes) }],
    });
    std::fs::write(l7.path().join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(l7.path().join("image.qcow2"), &bytes).unwrap();
    let said = text(&import(&l7.path().join("image.qcow2")));
    assert_eq!(
        ["name", "role", "extensions"].map(|name| field(&said, name).unwrap_or_default()),
        ["router-l7", "router", "l7"]
    );

    std::fs::write(built.path().join("image.qcow2"), image::qcow2(64, "another")).unwrap();
    let said = import(&built.path().join("image.qcow2"));
    assert!(String::from_utf8_lossy(&said.stderr).contains("is not the file that"), "{said:?}");

    // With nothing beside it that lists it, it is of the name of its file, and for everybody.
    let plain = built.path().join("debian.qcow2");
    std::fs::write(&plain, image::qcow2(64, "debian")).unwrap();
    let said = text(&import(&plain));
    assert_eq!((field(&said, "name"), field(&said, "role")), (Some("debian".into()), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_a_link_after_waiting_for_a_proxy_and_its_sessions_and_proxies_are_shown() {
    let control_plane = ControlPlane::with(|config| {
        let console = json!({
            "domain": "console.example.org", "api_origin": "https://cloud.example.org", "reserve_sessions": 0,
            "surplus_secs": 0, "margin_sessions": 0,
        });
        config.console = Some(serde_json::from_value(console).unwrap());
    });
    let control_plane = control_plane.await;
    let pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "net", "10.1.1.0/24").await;
    admin.zone_networks(&pod.zone).await;
    admin.console_proxy_template("console-proxy").await;
    pod.vm(admin, "web", &network).await;
    let (data, desktop) = (control_plane.data_dir(), tempfile::tempdir().unwrap());
    let podzol = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_podzol"))
            .args(arguments)
            .env("PODZOL_URL", control_plane.admin.base())
            .env("PODZOL_CA_FILE", data.join("ca.pem"))
            .env("PODZOL_KEY_FILE", data.join("admin.key"))
            .env("PATH", desktop.path())
            .output()
            .unwrap()
    };
    let link = text(&podzol(&["console", "web"]));
    assert!(link.starts_with("https://203-0-113-10.console.example.org/#") && link.ends_with('\n'), "{link}");
    let viewed = text(&podzol(&["console", "web", "--view-only", "--json"]));
    assert!(viewed.contains("\"view_only\": true") && viewed.contains("\"url\": \"https://"), "{viewed}");
    let said = podzol(&["console", "web", "--open"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("cannot run xdg-open"), "{said:?}");
    let opener = desktop.path().join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\necho \"$1\" > \"${0%/*}/opened\"\n").unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let shown = text(&podzol(&["console", "web", "--open"]));
    assert_eq!(std::fs::read_to_string(desktop.path().join("opened")).unwrap(), shown);
    assert!(shown.starts_with("https://203-0-113-10.console.example.org/#"), "{shown}");
    let sessions = text(&podzol(&["console-session", "list"]));
    assert!(sessions.contains("VM") && sessions.contains("web") && sessions.contains("admin"), "{sessions}");
    let proxies = text(&podzol(&["console-proxy", "list"]));
    assert!(
        proxies.contains("203.0.113.10") && proxies.contains("443") && proxies.contains("running"),
        "{proxies}"
    );
    let proxy = admin.list("/v1/console-proxies").await[0]["id"].as_str().unwrap().to_owned();
    assert!(text(&podzol(&["console-proxy", "show", &proxy])).contains("simulated"));
    assert!(text(&podzol(&["console-proxy", "drain", &proxy])).contains("draining"));
    let session = admin.list("/v1/console-sessions").await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(text(&podzol(&["console-session", "close", &session])), "");
    assert_eq!(admin.list("/v1/console-sessions").await.len(), 3);
    assert!(text(&podzol(&["console-certificate", "show"])).contains("console.example.org"));
    let said = podzol(&["console", "nobody"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("there is no VM named nobody"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_of_https_has_its_certificate_from_files_and_shows_no_key() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let admin = &control_plane.admin;
    admin.zone_networks(&pod.zone).await;
    admin.router_template_with("router-l7", &["l7"]).await;
    let made = admin.post("/v1/public-ips", &json!({ "zone": pod.zone })).await.ok();
    let address = made["object"]["address"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("shop.pem"), folder.path().join("shop.key"));
    let own = podzol_test_support::certificate::certificate("shop.example");
    std::fs::write(&certificate, own["certificates"].as_str().unwrap()).unwrap();
    std::fs::write(&key, own["key"].as_str().unwrap()).unwrap();
    let data = control_plane.data_dir();
    let podzol = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_podzol"))
            .arg("load-balancer")
            .args(arguments)
            .env("PODZOL_URL", control_plane.admin.base())
            .env("PODZOL_CA_FILE", data.join("ca.pem"))
            .env("PODZOL_KEY_FILE", data.join("admin.key"))
            .output()
            .unwrap()
    };
    let files =
        ["--certificate-file", certificate.to_str().unwrap(), "--private-key-file", key.to_str().unwrap()];
    let new = [
        "create",
        "shop",
        "--public-ip",
        &address,
        "--port",
        "443",
        "--protocol",
        "https",
        "--cookie",
        "SRV",
    ];
    let said = text(&podzol(&[&new[..], &files, &["--wait"]].concat()));
    assert!(said.contains("names shop.example") && said.contains("cookie SRV"), "{said}");
    let said = text(&podzol(
        &[&["update", "shop", "--no-cookie", "--idle-secs", "90", "--wait"][..], &files].concat(),
    ));
    assert!(said.contains("idle_secs 90") && !said.contains("cookie"), "{said}");
    let said = text(&podzol(&["show", "shop", "--json"]));
    assert!(said.contains("shop.example") && !said.contains("PRIVATE KEY"), "{said}");
    let said = text(&podzol(&["list"]));
    assert!(said.contains("CERTIFICATE"), "{said}");
    let said = podzol(&[
        "create",
        "x",
        "--public-ip",
        &address,
        "--port",
        "80",
        "--protocol",
        "http",
        files[0],
        files[1],
        files[2],
        files[3],
    ]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("--certificate-file: must come with --protocol https"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_it_waits_has_a_code_of_its_own_and_goes_on() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let acme = control_plane.admin.customer("acme").await;
    let network = pod.network(&acme.api, "net", "10.1.1.0/24").await;
    let vm = pod.vm(&acme.api, "web", &network).await;
    let data = control_plane.data_dir();
    let said = Command::new(env!("CARGO_BIN_EXE_podzol"))
        .args(["vm", "reboot", &vm, "--wait", "--timeout", "0"])
        .env("PODZOL_URL", control_plane.admin.base())
        .env("PODZOL_CA_FILE", data.join("ca.pem"))
        .env("PODZOL_KEY_FILE", data.join("admin.key"))
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(4), "{says}");
    assert!(says.contains("has not ended in 0 s; it goes on"), "{says}");
    let operation = says.split_whitespace().nth(2).unwrap();
    acme.api.succeeded(operation).await;
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
