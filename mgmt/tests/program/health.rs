//! What a supervisor asks, without a key.

use crate::service::{Service, api, configure, program};

#[tokio::test]
async fn it_says_that_it_lives_and_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (config, address) = configure(folder.path(), &data).unwrap();
    let service = Service { process: program(&config).spawn().unwrap(), address };
    let anybody = api(&service, &data).await.without_key();
    for (path, says) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        assert_eq!(anybody.get(path).await.ok(), says, "{path}");
    }
    assert_eq!(anybody.get("/metrics").await.status, 401);
}
