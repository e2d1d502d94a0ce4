//! The OpenAPI document.

use podzol_test_support::ControlPlane;

#[tokio::test]
async fn the_served_document_is_openapi_3_1_and_the_checked_in_file() {
    let control_plane = ControlPlane::start().await;

    let served = control_plane.admin.without_key().get("/v1/openapi.json").await.ok();

    let version = served["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1."), "{version}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../mgmt/api/openapi.json");
    let file = std::fs::read(path).unwrap_or_default();
    let kept: serde_json::Value = serde_json::from_slice(&file).unwrap_or_default();
    assert!(kept == served, "mgmt/api/openapi.json is old: podzol-mgmt openapi > mgmt/api/openapi.json");
}

#[tokio::test]
async fn every_operation_has_a_name_of_its_own_a_tag_and_an_error() {
    let control_plane = ControlPlane::start().await;
    let document = control_plane.admin.get("/v1/openapi.json").await.ok();
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(names.insert(name.to_owned()), "{method} {path}: the name {name:?} is taken");
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            assert!(["customers", "operators"].contains(&tag), "{method} {path}: the tag {tag:?}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path}: no error");
            assert!(operation["summary"].is_string(), "{method} {path}: no summary");
        }
    }
    assert!(names.len() > 40, "{names:?}");
}
