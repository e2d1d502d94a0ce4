use std::os::unix::fs::OpenOptionsExt;

use podzol_storage_api::{SignedManifest, TemplateFormat};
use podzol_vocab::ByteSize;

use super::*;
use crate::testing::{Hosts, config, image, manifest, signing_key, source, store, with_body};

fn plan(config: &Config, name: &str) -> PoolPlan {
    let path = config.pool_roots[0].join(name).display().to_string();
    PoolPlan { path, hosts: vec!["10.0.0.11".into()] }
}

fn code<T: std::fmt::Debug>(answer: Result<T, WireError>) -> ErrorCode {
    answer.unwrap_err().code
}

#[tokio::test]
async fn a_pool_whose_disk_is_not_mounted_is_not_made_anew_and_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts, id, volume) =
        (config(folder.path()), Hosts::default(), PoolId::new(), VolumeId::new());
    let plan = plan(&config, "p");
    let before = store(&config, &hosts);
    before.pool_put(id, plan.clone()).await.unwrap();
    let wanted = VolumePlan { template: None, size: ByteSize::from_mib(1) };
    before.volume_put(id, volume, wanted.clone()).await.unwrap();
    let (path, away) = (PathBuf::from(&plan.path), folder.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();

    let store = store(&config, &hosts);

    for _ in 0..2 {
        assert_eq!(code(store.pool_put(id, plan.clone()).await), ErrorCode::Unavailable);
        assert_eq!(code(store.volume_put(id, volume, wanted.clone()).await), ErrorCode::Unavailable);
        assert_eq!(code(store.volume_delete(id, volume).await), ErrorCode::Unavailable);
        assert_eq!(code(store.contents(id).await), ErrorCode::Unavailable);
        assert_eq!(code(store.pool_delete(id).await), ErrorCode::Unavailable);
        assert!(store.statuses().await[0].1.is_err());
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(store.contents(id).await.unwrap().volumes, [volume]);
    store.pool_put(id, plan).await.unwrap();
}

#[tokio::test]
async fn a_pool_is_neither_within_another_ones_folder_nor_around_it() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts, id) = (config(folder.path()), Hosts::default(), PoolId::new());
    let store = store(&config, &hosts);
    store.pool_put(id, plan(&config, "a/p")).await.unwrap();
    for name in ["a/p/volumes", "a/p/volumes/fast", "a"] {
        let refused = store.pool_put(PoolId::new(), plan(&config, name)).await.unwrap_err();
        let rule = format!("path: the folder is that of pool {id}, within it, or around it");
        assert_eq!((refused.code, &*refused.message), (ErrorCode::Conflict, &*rule), "{name}");
    }
    for name in ["a/pp", "b"] {
        store.pool_put(PoolId::new(), plan(&config, name)).await.unwrap();
    }
    assert_eq!(store.statuses().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_disk_does_not_answer_while_it_is_made_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts, id) = (config(folder.path()), Hosts::default(), PoolId::new());
    let (store, plan) = (store(&config, &hosts), |name: &str| plan(&config, name));
    // Whoever reads it waits for somebody who writes, as for a disk.
    let mark = config.pool_roots[0].join("hangs/.podzol-pool");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&mark, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hanging = tokio::spawn({
        let (store, plan) = (store.clone(), plan("hangs"));
        async move { store.pool_put(id, plan).await }
    });
    let mut writes = std::fs::OpenOptions::new();
    writes.write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let reads = loop {
        match writes.open(&mark) {
            Ok(file) => break file,
            // Nobody reads yet.
            Err(_) => tokio::task::yield_now().await,
        }
    };

    let other = PoolId::new();
    store.pool_put(other, plan("other")).await.unwrap();
    assert_eq!(code(store.pool_put(PoolId::new(), plan("hangs/within")).await), ErrorCode::Conflict);
    assert_eq!(code(store.pool_put(id, plan("hangs")).await), ErrorCode::Unavailable);
    store.pool_delete(other).await.unwrap();
    assert!(!hanging.is_finished());

    drop(reads);
    assert_eq!(code(hanging.await.unwrap()), ErrorCode::Conflict);
    std::fs::remove_file(&mark).unwrap();
    store.pool_put(id, plan("hangs")).await.unwrap();
}

#[tokio::test]
async fn a_pool_that_is_unmounted_while_it_is_open_is_not_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts, id) = (config(folder.path()), Hosts::default(), PoolId::new());
    let store = store(&config, &hosts);
    store.pool_put(id, plan(&config, "p")).await.unwrap();
    std::fs::rename(config.pool_roots[0].join("p"), folder.path().join("away")).unwrap();
    assert_eq!(code(store.pool_put(id, plan(&config, "p")).await), ErrorCode::Unavailable);
    assert_eq!(code(store.statuses().await.remove(0).1), ErrorCode::Unavailable);
}

#[tokio::test]
async fn pools_are_exported_again_after_a_start_until_that_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let (config, id) = (config(folder.path()), PoolId::new());
    store(&config, &Hosts::default()).pool_put(id, plan(&config, "p")).await.unwrap();
    let hosts = Hosts::default();
    let store = store(&config, &hosts);
    hosts.fail(true);
    assert_eq!(store.export_rest().await.len(), 1);
    hosts.fail(false);
    assert_eq!(store.export_rest().await, []);
    assert_eq!(hosts.of(id), Some(vec!["10.0.0.11".into()]));
}

#[tokio::test]
async fn a_pool_that_could_not_be_exported_is_exported_by_and_by() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts, id) = (config(folder.path()), Hosts::default(), PoolId::new());
    let store = store(&config, &hosts);
    hosts.fail(true);
    assert_eq!(code(store.pool_put(id, plan(&config, "p")).await), ErrorCode::Internal);
    hosts.fail(false);
    assert_eq!(store.export_rest().await, []);
    assert!(hosts.of(id).is_some());
}

#[tokio::test]
async fn a_removal_that_a_crash_broke_off_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts, id) = (config(folder.path()), Hosts::default(), PoolId::new());
    let before = store(&config, &hosts);
    before.pool_put(id, plan(&config, "p")).await.unwrap();
    let listed = Listed { removing: true, ..before.known(id).unwrap().listed };
    list::write(&before.0.list, BTreeMap::from([(id, listed.clone())])).unwrap();
    pool::remove(id, &listed.folder).unwrap();
    // Somebody else's by now.
    let (other, taken) = (PoolId::new(), PathBuf::from(&listed.folder));
    Pool::create(other, &taken, 0).unwrap();

    let store = store(&config, &hosts);

    assert_eq!(code(store.contents(id).await), ErrorCode::NotFound);
    assert_eq!(code(store.pool_put(id, plan(&config, "p")).await), ErrorCode::Unavailable);
    for _ in 0..2 {
        store.pool_delete(id).await.unwrap();
    }
    assert_eq!(hosts.of(id), None);
    assert_eq!(list::read(&store.0.list).unwrap(), BTreeMap::new());
    Pool::open(other, &taken, 0).unwrap();
}

#[tokio::test]
async fn a_pool_is_made_and_removed_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (config, hosts) = (config(folder.path()), Hosts::default());
    let store = store(&config, &hosts);
    for _ in 0..2 {
        let id = PoolId::new();
        let status = store.pool_put(id, plan(&config, "p")).await.unwrap();
        assert_eq!((status.server.as_str(), hosts.of(id).is_some()), ("10.0.0.9", true));
        store.pool_delete(id).await.unwrap();
        assert_eq!(hosts.of(id), None);
    }
}

#[tokio::test]
async fn a_pool_is_not_made_before_the_address_for_its_mounts_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { address: None, ..config(folder.path()) };
    let store = store(&config, &Hosts::default());
    let id = PoolId::new();
    assert_eq!(code(store.pool_put(id, plan(&config, "p")).await), ErrorCode::Unavailable);
    store.set_address("10.0.0.8".parse().unwrap());
    assert_eq!(store.pool_put(id, plan(&config, "p")).await.unwrap().server, "10.0.0.8");
}

#[tokio::test]
async fn a_path_that_exports_would_read_otherwise_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let store = store(&config, &Hosts::default());
    for bad in ["", "a b", "a\\040b", "\"a\"", "a#b", "a\n", "../x", "a/../../x", ".", "a//b", "a/", "ä"] {
        assert_eq!(
            code(store.pool_put(PoolId::new(), plan(&config, bad)).await),
            ErrorCode::Invalid,
            "{bad}"
        );
    }
    let elsewhere = PoolPlan { path: "/elsewhere".into(), hosts: vec![] };
    assert_eq!(code(store.pool_put(PoolId::new(), elsewhere).await), ErrorCode::Invalid);
    store.pool_put(PoolId::new(), plan(&config, "a/B_1.2-3")).await.unwrap();
}

#[tokio::test]
async fn where_templates_must_be_signed_another_one_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("images.pub");
    std::fs::write(&key, signing_key(1).public_key().to_string()).unwrap();
    let config = Config { template_keys: vec![key], ..config(folder.path()) };
    let (store, id) = (store(&config, &Hosts::default()), PoolId::new());
    store.pool_put(id, plan(&config, "p")).await.unwrap();
    let files = |part: &str| std::fs::read_dir(config.pool_roots[0].join("p").join(part)).unwrap().count();
    let (bytes, sha256) = image();
    let source = source(with_body(&bytes)).await;
    let manifest = manifest(sha256);
    let signed_with = |key: u8| {
        let signature = signing_key(key).sign(manifest.as_bytes()).to_string();
        Some(SignedManifest { manifest: manifest.clone(), signature })
    };
    let put = async |signed| {
        let format = TemplateFormat::Qcow2;
        let plan = TemplatePlan { source: source.clone(), format, signed, wait_ms: 30_000 };
        store.template_put(id, sha256, plan).await.unwrap()
    };

    for signed in [None, signed_with(2)] {
        let status = put(signed).await;
        assert!(matches!(&status, TemplateStatus::Failed { transient: false, .. }), "{status:?}");
        assert_eq!((files("templates"), files("incoming")), (0, 0));
    }
    let status = put(signed_with(1)).await;
    assert!(matches!(&status, TemplateStatus::Ready { .. }), "{status:?}");
    // Not even for one that is there.
    assert!(matches!(put(None).await, TemplateStatus::Failed { .. }));
    assert_eq!(files("templates"), 1);
}
