//! The disk of the database is full for a while.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use podzol_test_support::wait_for;
use serde_json::json;
use tempfile::TempDir;

use crate::service::{self, Service, configure};

/// The program, in a mount namespace of its own in which its data folder is a small disk. All of it goes with the process.
struct OnSmallDisk {
    service: Service,
    folder: TempDir,
}

impl OnSmallDisk {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        let (config, address) = configure(folder.path(), &data)?;
        let script = "mount -t tmpfs -o size=4m,mode=700 none \"$0\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script]).arg(&data);
        let program = service::program(&config);
        command.arg(program.get_program()).args(program.get_args()).stderr(Stdio::null());
        Ok(Self { service: Service { process: command.spawn()?, address }, folder })
    }

    /// Its data folder, as it sees it.
    fn data(&self) -> PathBuf {
        let inside = format!("/proc/{}/root", self.service.process.id());
        let folder = self.folder.path();
        Path::new(&inside).join(folder.strip_prefix("/").unwrap_or(folder)).join("data")
    }
}

const AT_ONCE: usize = 16;

#[tokio::test]
async fn while_the_disk_is_full_changes_are_refused_and_all_goes_on_when_there_is_room() {
    let must_run = std::env::var_os("PODZOL_MUST_RUN").is_some();
    if !must_run
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| !status.success())
    {
        eprintln!("not run: it needs a mount namespace");
        return;
    }
    let service = OnSmallDisk::start().unwrap();
    let api = service::api(&service.service, &service.data()).await;
    api.post("/v1/accounts", &json!({ "name": "before" })).await.ok();
    let filler = service.data().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    drop(file);

    let mut accounts = vec!["before".to_owned()];
    let refused = loop {
        // What is left of the file's last page is taken first.
        let name = format!("account-{}", accounts.len());
        let answer = api.post("/v1/accounts", &json!({ "name": name })).await;
        if answer.status >= 300 {
            break answer;
        }
        accounts.push(name);
        assert!(accounts.len() < 2000, "the disk does not become full");
    };

    let problem = refused.refused(507, "disk_full");
    assert!(problem["detail"].as_str().unwrap().contains("disk is full"), "{problem}");
    // Again and again, whichever of its connections the service takes; and what it has is still to be read.
    for _ in 0..20 {
        api.post("/v1/accounts", &json!({ "name": "refused" })).await.refused(507, "disk_full");
        assert_eq!(api.list("/v1/accounts?name=before").await.len(), 1);
    }

    // Those that would commit together, too.
    let refused = |number: usize| format!("refused-{number}");
    let together: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let (api, body) = (api.clone(), json!({ "name": refused(number) }));
            tokio::spawn(async move { api.post("/v1/accounts", &body).await })
        })
        .collect();
    for answer in together {
        answer.await.unwrap().refused(507, "disk_full");
    }

    fs::remove_file(&filler).unwrap();
    wait_for("the service to go on", Duration::from_secs(60), async || {
        let answer = api.post("/v1/accounts", &json!({ "name": "after" })).await;
        if answer.status < 300 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
    accounts.push("after".into());
    for name in &accounts {
        let found = api.list(&format!("/v1/accounts?name={name}")).await;
        assert_eq!(found.len(), 1, "{name}");
    }
    for number in 0..AT_ONCE {
        assert_eq!(api.list(&format!("/v1/accounts?name={}", refused(number))).await.len(), 0);
    }
    // Every connection sees the same.
    for _ in 0..20 {
        assert_eq!(api.list("/v1/accounts?name=after").await.len(), 1);
        assert_eq!(api.list("/v1/accounts?name=refused").await.len(), 0);
    }
}
