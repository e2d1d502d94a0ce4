//! How soon the template is ready: its control API listens, with its rules loaded and its link up.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use podzol_netns_tests::seed_drive;

use crate::figures::{Aims, Figures};
use crate::machine::{Clock, Machine, first_mac};
use crate::{debian, need, template, yardstick};

/// By the machine's own clock, of which two boots differ by less than a hundredth.
const COUNTED: usize = 3;
const BY_THE_WALL: usize = 7;

const MEMORY_MIB: u32 = 128;

/// What the appliance logs.
const READY: &str = " ready address=";

pub(crate) fn run(aims: &mut Aims) -> Result<()> {
    need("qemu-system-x86_64", "qemu-system-x86")?;
    let folder = tempfile::tempdir()?;
    let (template, seed) = (template()?, folder.path().join("seed"));
    std::fs::write(&seed, seed_drive(first_mac()))?;
    let bare = yardstick::make(&template, folder.path())?;
    let router = Machine { image: &template, seed: &seed, memory_mib: MEMORY_MIB, ready: READY };
    let bare = Machine { image: &bare, ready: yardstick::READY, ..router };

    let debian = PathBuf::from("target/images/debian/debian.qcow2");
    ensure!(debian.exists(), "{} is not there; make it with: podzol-image build debian", debian.display());
    let system = debian::make(&debian, folder.path())?;
    let (memory_mib, ready) = (debian::MEMORY_MIB, debian::READY);
    let system = Machine { image: &system, ready, memory_mib, ..router };

    println!(
        "{:<18} router  bare kernel, busybox  times as long  spread  Debian, systemd, dnsmasq  of that",
        "to ready"
    );
    for (name, clock, rounds) in
        [("counted, s", Clock::Counted, COUNTED), ("by the wall, s", Clock::Wall, BY_THE_WALL)]
    {
        let (mut routers, mut bares, mut systems) =
            (Figures::default(), Figures::default(), Figures::default());
        for _ in 0..rounds {
            routers.add(router.boot(clock)?);
            bares.add(bare.boot(clock)?);
            systems.add(system.boot(clock)?);
        }
        let (ratios, of_system) = (routers.over(&bares), routers.over(&systems));
        println!(
            "{name:<18} {:>6.2} {:>21.2} {:>14.3} {:>6.1}% {:>24.2} {:>8.3}",
            routers.median(),
            bares.median(),
            ratios.median(),
            ratios.spread() * 100.0,
            systems.median(),
            of_system.median()
        );
        aims.at_most(&format!("boot, {name}, router ÷ bare kernel"), ratios.median(), 1.15);
    }
    with_cloud_init(&debian, folder.path())
}

/// The template as customers get it, once.
fn with_cloud_init(image: &Path, folder: &Path) -> Result<()> {
    const READY: &str = "the system is ready";
    let seed = folder.join("debian-seed");
    let user_data = format!("#cloud-config\nruncmd:\n- echo {READY} > /dev/ttyS0\n");
    let files: [(&str, &[u8]); 2] =
        [("meta-data", b"instance-id: bench\n"), ("user-data", user_data.as_bytes())];
    std::fs::write(&seed, podzol_cidata::image(&files)?)?;
    let machine = Machine { image, seed: &seed, memory_mib: debian::MEMORY_MIB, ready: READY };
    println!("the debian template with cloud-init, by the wall: {:.1} s", machine.boot(Clock::Wall)?);
    Ok(())
}
