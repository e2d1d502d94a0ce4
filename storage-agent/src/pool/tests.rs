use podzol_vocab::{ByteSize, ErrorCode, PoolId, Sha256, VolumeId};

use super::*;

fn pool() -> (tempfile::TempDir, Pool) {
    let folder = tempfile::tempdir().unwrap();
    let pool =
        Pool::open(PoolId::new(), &folder.path().join("pool"), nix::unistd::geteuid().as_raw()).unwrap();
    (folder, pool)
}

fn template(pool: &Pool) -> Sha256 {
    let sha256 = Sha256::from_bytes([7; 32]);
    let image = qcow2::image(ByteSize::from_mib(64), None).unwrap();
    std::fs::write(pool.incoming_file(sha256), image).unwrap();
    pool.accept_template(sha256).unwrap();
    sha256
}

fn plan(template: Option<Sha256>, mib: u64) -> VolumePlan {
    VolumePlan { template, size: ByteSize::from_mib(mib) }
}

#[test]
fn a_volume_is_made_once_and_destroyed_once() {
    let (_folder, pool) = pool();
    let plan = plan(Some(template(&pool)), 100);
    let volume = VolumeId::new();
    for _ in 0..2 {
        let status = pool.volume_put(volume, &plan).unwrap();
        assert!(pool.folder.join(status.file).exists());
    }
    assert_eq!(pool.contents().volumes, [volume]);
    for _ in 0..2 {
        pool.volume_delete(volume).unwrap();
    }
    assert_eq!(std::fs::read_dir(pool.folder.join("volumes")).unwrap().count(), 0);
}

#[test]
fn a_volume_is_not_changed_by_another_description() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 100)).unwrap();
    assert_eq!(pool.volume_put(volume, &plan(None, 200)).unwrap_err().code, ErrorCode::Conflict);
}

#[test]
fn a_volume_is_at_least_as_large_as_its_template() {
    let (_folder, pool) = pool();
    let small = plan(Some(template(&pool)), 63);
    assert_eq!(pool.volume_put(VolumeId::new(), &small).unwrap_err().code, ErrorCode::Invalid);
    let missing = plan(Some(Sha256::from_bytes([8; 32])), 100);
    assert_eq!(pool.volume_put(VolumeId::new(), &missing).unwrap_err().code, ErrorCode::NotFound);
    assert!(pool.contents().volumes.is_empty());
}

#[test]
fn a_template_stays_while_a_volume_is_based_on_it() {
    let (_folder, pool) = pool();
    let sha256 = template(&pool);
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(Some(sha256), 100)).unwrap();
    assert_eq!(pool.template_delete(sha256).unwrap_err().code, ErrorCode::Conflict);
    pool.volume_delete(volume).unwrap();
    pool.template_delete(sha256).unwrap();
    assert!(pool.contents().templates.is_empty());
}

#[test]
fn what_a_crash_left_half_done_is_removed_at_the_next_start() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 10)).unwrap();
    std::fs::write(pool.volume_file(VolumeId::new()), "half made").unwrap();
    std::fs::write(pool.incoming_file(Sha256::from_bytes([1; 32])), "half imported").unwrap();

    let again = Pool::open(pool.id, &pool.folder, nix::unistd::geteuid().as_raw()).unwrap();

    assert_eq!(again.contents().volumes, [volume]);
    assert_eq!(std::fs::read_dir(pool.folder.join("volumes")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(pool.folder.join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_folder_of_somebody_else_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "do not lose").unwrap();
    let owner = nix::unistd::geteuid().as_raw();
    assert_eq!(Pool::open(PoolId::new(), folder.path(), owner).unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let (_other, pool) = pool();
    assert_eq!(Pool::open(PoolId::new(), &pool.folder, owner).unwrap_err().code, ErrorCode::Conflict);
}

#[test]
fn a_pool_with_volumes_is_not_removed() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 10)).unwrap();
    assert_eq!(pool.remove().unwrap_err().code, ErrorCode::Conflict);
    pool.volume_delete(volume).unwrap();
    pool.remove().unwrap();
    assert_eq!(std::fs::read_dir(&pool.folder).unwrap().count(), 0);
}
