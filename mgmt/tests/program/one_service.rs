//! One service has the database.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use podzol_test_support::{SOON, wait_for};
use serde_json::json;

use crate::service::{Service, api, configure, program};

/// Starts a service on the data in a folder; what it says goes to a file in it.
fn start(folder: &Path, says: &str) -> anyhow::Result<Service> {
    let (config, address) = configure(folder, &folder.join("data"))?;
    let says = fs::File::create(folder.join(says))?;
    Ok(Service { process: program(&config).stderr(Stdio::from(says)).spawn()?, address })
}

#[tokio::test]
async fn a_second_service_on_the_same_data_says_so_and_one_after_a_killed_one_starts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut first = start(folder.path(), "first").unwrap();
    let asked = api(&first, &data).await;

    let mut second = start(folder.path(), "second").unwrap();
    let ended = wait_for("the second service to end", SOON, async || {
        let ended = second.process.try_wait().map_err(|error| error.to_string())?;
        ended.ok_or_else(|| "it runs".to_owned())
    })
    .await;
    let says = fs::read_to_string(folder.path().join("second")).unwrap();
    assert!(!ended.success() && says.contains("another management service has it open"), "{says}");
    asked.post("/v1/accounts", &json!({ "name": "acme" })).await.ok();

    first.process.kill().unwrap();
    let third = start(folder.path(), "third").unwrap();
    assert_eq!(api(&third, &data).await.list("/v1/accounts?name=acme").await.len(), 1);
}
