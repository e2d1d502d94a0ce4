use podzol_vocab::{ByteSize, ErrorCode, PoolId, Sha256, VolumeId};

use super::*;
use crate::testing::{iso, owner, pool};

fn template(pool: &Pool) -> Sha256 {
    let sha256 = Sha256::from_bytes([7; 32]);
    let image = qcow2::image(ByteSize::from_mib(64), None).unwrap();
    std::fs::write(pool.incoming_file(sha256, TemplateFormat::Qcow2), image).unwrap();
    pool.accept_template(sha256, TemplateFormat::Qcow2).unwrap();
    sha256
}

fn iso_template(pool: &Pool) -> Sha256 {
    let sha256 = Sha256::from_bytes([9; 32]);
    std::fs::write(pool.incoming_file(sha256, TemplateFormat::Iso), iso()).unwrap();
    pool.accept_template(sha256, TemplateFormat::Iso).unwrap();
    sha256
}

fn plan(template: Option<Sha256>, mib: u64) -> VolumePlan {
    VolumePlan { template, size: ByteSize::from_mib(mib) }
}

#[test]
fn a_template_whose_file_is_damaged_takes_nothing_else_of_the_pool_away() {
    let (_folder, pool) = pool();
    let (damaged, iso) = (template(&pool), iso_template(&pool));
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 1)).unwrap();
    let file = pool.path().join("templates").join(format!("{damaged}.qcow2"));
    let length = std::fs::metadata(&file).unwrap().len() as usize;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, vec![0; length]).unwrap();

    let pool = Pool::open(pool.id, pool.path(), owner()).unwrap();

    let contents = pool.contents().unwrap();
    assert_eq!((contents.volumes, contents.templates), (vec![volume], vec![iso]));
    // Hosts may have it open.
    let image = qcow2::image(ByteSize::from_mib(64), None).unwrap();
    std::fs::write(pool.incoming_file(damaged, TemplateFormat::Qcow2), image).unwrap();
    let refused = pool.accept_template(damaged, TemplateFormat::Qcow2).unwrap_err();
    assert!(refused.message.starts_with("its file in the pool is damaged"), "{refused:?}");
    std::fs::remove_file(&file).unwrap();
    template(&pool);
}

#[test]
fn a_volume_is_made_once_and_destroyed_once() {
    let (_folder, pool) = pool();
    let plan = plan(Some(template(&pool)), 100);
    let volume = VolumeId::new();
    for _ in 0..2 {
        let status = pool.volume_put(volume, &plan).unwrap();
        assert!(pool.path().join(status.file).exists());
    }
    assert_eq!(pool.contents().unwrap().volumes, [volume]);
    for _ in 0..2 {
        pool.volume_delete(volume).unwrap();
    }
    assert_eq!(std::fs::read_dir(pool.path().join("volumes")).unwrap().count(), 0);
}

#[test]
fn a_volume_is_at_least_as_large_as_its_template() {
    let (_folder, pool) = pool();
    let small = plan(Some(template(&pool)), 63);
    assert_eq!(pool.volume_put(VolumeId::new(), &small).unwrap_err().code, ErrorCode::Invalid);
    let missing = plan(Some(Sha256::from_bytes([8; 32])), 100);
    assert_eq!(pool.volume_put(VolumeId::new(), &missing).unwrap_err().code, ErrorCode::NotFound);
    assert!(pool.contents().unwrap().volumes.is_empty());
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
    assert!(pool.contents().unwrap().templates.is_empty());
}

#[test]
fn what_is_on_a_disk_that_is_not_mounted_is_not_gone() {
    let (_folder, pool) = pool();
    let sha256 = template(&pool);
    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path().join("disk");
    std::fs::rename(pool.path(), &there).unwrap();
    std::fs::create_dir(pool.path()).unwrap();
    assert!(pool.template(sha256).is_some());
    assert_eq!(pool.contents().unwrap_err().code, ErrorCode::Unavailable);
    std::fs::remove_dir(pool.path()).unwrap();
    std::fs::rename(&there, pool.path()).unwrap();
    assert_eq!(pool.contents().unwrap().templates, [sha256]);
}

#[test]
fn a_template_that_is_there_keeps_its_file() {
    use std::os::unix::fs::MetadataExt;
    let (_folder, pool) = pool();
    let sha256 = template(&pool);
    let file = pool.folder.template_file(sha256, TemplateFormat::Qcow2);
    let inode = || std::fs::metadata(&file).unwrap().ino();
    let before = inode();
    pool.state().templates.clear();
    assert_eq!(template(&pool), sha256);
    assert_eq!(inode(), before);
}

#[test]
fn no_volume_is_made_of_an_iso_and_it_is_still_one_after_a_restart() {
    let (_folder, pool) = pool();
    let sha256 = iso_template(&pool);
    for pool in [&pool, &Pool::open(pool.id, pool.path(), owner()).unwrap()] {
        assert_eq!(pool.template(sha256).map(|template| template.format), Some(TemplateFormat::Iso));
        let refused = pool.volume_put(VolumeId::new(), &plan(Some(sha256), 100)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Invalid);
        assert!(refused.message.contains("is an ISO"), "{refused}");
    }
    assert_eq!(pool.contents().unwrap().templates, [sha256]);
    pool.template_delete(sha256).unwrap();
    assert_eq!(std::fs::read_dir(pool.path().join("templates")).unwrap().count(), 0);
}

#[test]
fn what_a_crash_left_half_done_is_removed_at_the_next_start() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 10)).unwrap();
    std::fs::write(pool.folder.volume_file(VolumeId::new()), "half made").unwrap();
    for half in [format!("{volume}.json.new"), format!("{}.qcow2.new", VolumeId::new())] {
        std::fs::write(pool.path().join("volumes").join(half), "half written").unwrap();
    }
    for format in [TemplateFormat::Qcow2, TemplateFormat::Iso] {
        let file = pool.incoming_file(Sha256::from_bytes([1; 32]), format);
        std::fs::write(file, "half imported").unwrap();
    }

    let again = Pool::open(pool.id, pool.path(), owner()).unwrap();

    assert_eq!(again.contents().unwrap().volumes, [volume]);
    assert_eq!(std::fs::read_dir(pool.path().join("volumes")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(pool.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_folder_of_somebody_else_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "do not lose").unwrap();
    assert_eq!(Pool::create(PoolId::new(), folder.path(), owner()).unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let (_other, pool) = pool();
    assert_eq!(Pool::create(PoolId::new(), pool.path(), owner()).unwrap_err().code, ErrorCode::Conflict);
}

#[test]
fn a_folder_in_which_a_crash_left_half_a_mark_is_made_a_pool() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    std::fs::write(folder.path().join(".podzol-pool.new"), "019").unwrap();
    Pool::create(PoolId::new(), folder.path(), owner()).unwrap();
    assert!(!folder.path().join(".podzol-pool.new").exists());
}

#[test]
fn a_folder_without_the_mark_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        assert_eq!(Pool::open(PoolId::new(), &path, owner()).unwrap_err().code, ErrorCode::Unavailable);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_pool_with_a_description_that_cannot_be_read_is_not_opened_and_loses_nothing() {
    for spoil in [
        |plan: &Path| std::fs::write(plan, "{").unwrap(),
        |plan: &Path| {
            std::fs::remove_file(plan).unwrap();
            std::fs::create_dir(plan).unwrap();
        },
    ] {
        let (_folder, pool) = pool();
        let volume = VolumeId::new();
        pool.volume_put(volume, &plan(None, 10)).unwrap();
        std::fs::write(pool.folder.volume_file(VolumeId::new()), "half made").unwrap();
        spoil(&pool.folder.plan_file(volume));

        Pool::open(pool.id, pool.path(), owner()).unwrap_err();

        assert_eq!(std::fs::read_dir(pool.path().join("volumes")).unwrap().count(), 3);
    }
}

#[test]
fn a_volume_that_is_worked_on_is_left_alone_and_keeps_its_template() {
    let (_folder, pool) = pool();
    let sha256 = template(&pool);
    let (volume, plan) = (VolumeId::new(), plan(Some(sha256), 100));
    let turn = pool.begin_put(volume, &plan).unwrap();
    assert_eq!(pool.volume_put(volume, &plan).unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(pool.volume_delete(volume).unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(pool.template_delete(sha256).unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(pool.close().unwrap_err().code, ErrorCode::Unavailable);
    drop(turn);
    pool.volume_put(volume, &plan).unwrap();
    let turn = pool.begin_delete(volume).unwrap();
    assert_eq!(pool.template_delete(sha256).unwrap_err().code, ErrorCode::Unavailable);
    drop(turn);
    assert_eq!(pool.contents().unwrap().volumes, [volume]);
}

#[test]
fn a_template_that_is_being_removed_is_the_base_of_no_new_volume() {
    let (_folder, pool) = pool();
    let sha256 = template(&pool);
    pool.begin_template_delete(sha256).unwrap();
    let put = pool.volume_put(VolumeId::new(), &plan(Some(sha256), 100));
    assert_eq!(put.unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(pool.accept_template(sha256, TemplateFormat::Qcow2).unwrap_err().code, ErrorCode::Unavailable);
}

#[test]
fn calls_that_meet_leave_memory_and_disk_in_agreement() {
    let (_folder, pool) = pool();
    let sha256 = template(&pool);
    let volume = VolumeId::new();
    let refused = |answer: Result<(), WireError>| {
        let expected = [ErrorCode::Unavailable, ErrorCode::NotFound, ErrorCode::Conflict];
        assert!(answer.as_ref().err().is_none_or(|error| expected.contains(&error.code)), "{answer:?}");
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..40 {
                    refused(pool.volume_put(volume, &plan(Some(sha256), 100)).map(drop));
                }
            });
            scope.spawn(|| (0..40).for_each(|_| refused(pool.volume_delete(volume))));
        }
        scope.spawn(|| {
            for _ in 0..40 {
                refused(pool.template_delete(sha256));
                template(&pool);
            }
        });
    });
    assert_eq!(pool.contents(), Pool::open(pool.id, pool.path(), owner()).unwrap().contents());
    pool.volume_delete(volume).unwrap();
    pool.volume_put(volume, &plan(Some(sha256), 100)).unwrap();
    assert!(
        pool.folder.volume_file(volume).exists()
            && pool.path().join(format!("templates/{sha256}.qcow2")).exists()
    );
}

#[test]
fn a_volume_that_cannot_be_made_leaves_nothing_and_can_be_made_later() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    // In the place of its description, so that its image is written before it fails.
    let in_its_way = pool.folder.plan_file(volume).join("x");
    std::fs::create_dir_all(&in_its_way).unwrap();
    pool.volume_put(volume, &plan(None, 10)).unwrap_err();
    assert!(pool.contents().unwrap().volumes.is_empty());
    std::fs::remove_dir_all(pool.folder.plan_file(volume)).unwrap();
    pool.volume_put(volume, &plan(None, 10)).unwrap();
}

#[test]
fn a_pool_with_volumes_is_not_closed_and_nothing_is_made_in_a_closed_one() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 10)).unwrap();
    assert_eq!(pool.close().unwrap_err().code, ErrorCode::Conflict);
    pool.volume_delete(volume).unwrap();
    pool.close().unwrap();
    assert_eq!(pool.volume_put(volume, &plan(None, 10)).unwrap_err().code, ErrorCode::NotFound);
    for _ in 0..2 {
        remove(pool.id, pool.path()).unwrap();
    }
    assert_eq!(std::fs::read_dir(pool.path()).unwrap().count(), 0);
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let (_folder, pool) = pool();
    let volume = VolumeId::new();
    pool.volume_put(volume, &plan(None, 10)).unwrap();
    assert_eq!(pool.volume_put(volume, &plan(None, 20)).unwrap().size, plan(None, 20).size);
    assert_eq!(pool.space().unwrap().allocated, plan(None, 20).size);

    let again = Pool::open(pool.id, pool.path(), owner()).unwrap();

    assert_eq!(again.space().unwrap().allocated, plan(None, 20).size);
    again.volume_put(volume, &plan(None, 20)).unwrap();
    let bytes = std::fs::read(again.folder.volume_file(volume)).unwrap();
    assert_eq!(crate::qcow2::read_header(&bytes), Ok(plan(None, 20).size));
    let code = |plan: VolumePlan| again.volume_put(volume, &plan).unwrap_err().code;
    assert_eq!(code(plan(None, 10)), ErrorCode::Conflict);
    assert_eq!(code(plan(Some(Sha256::from_bytes([1; 32])), 30)), ErrorCode::Conflict);
    // An image that is not there cannot grow, and the volume stays what it was.
    std::fs::remove_file(again.folder.volume_file(volume)).unwrap();
    assert!(again.volume_put(volume, &plan(None, 30)).is_err());
    assert_eq!(again.space().unwrap().allocated, plan(None, 20).size);
}
