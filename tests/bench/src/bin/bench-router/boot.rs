//! How soon the template is ready: its control API listens, with its rules loaded and its link up.

use std::path::{Path, PathBuf};

use anyhow::Result;
use podzol_netns_tests::seed_drive;

use crate::figures::{Aims, Figures};
use crate::machine::{Clock, Machine, first_mac};
use crate::{need, template, yardstick};

/// By the machine's own clock, of which two boots differ by less than a hundredth.
const COUNTED: usize = 3;
const BY_THE_WALL: usize = 7;

const MEMORY_MIB: u32 = 128;

/// What the appliance logs.
const READY: &str = " ready address=";

/// What Debian with systemd and dnsmasq takes under emulation, measured once on another machine of this kind, on
/// 2026-11-22; with cloud-init it was 34 to 37 s.
const RECORDED_DEBIAN: &str = "15 to 18 s";

pub(crate) fn run(aims: &mut Aims) -> Result<()> {
    need("qemu-system-x86_64", "qemu-system-x86")?;
    let folder = tempfile::tempdir()?;
    let (template, seed) = (template()?, folder.path().join("seed"));
    std::fs::write(&seed, seed_drive(first_mac()))?;
    let bare = yardstick::make(&template, folder.path())?;
    let router = Machine { image: &template, seed: &seed, memory_mib: MEMORY_MIB, ready: READY };
    let bare = Machine { image: &bare, ready: yardstick::READY, ..router };

    println!("{:<34} router  bare kernel, busybox  times as long  spread", "to ready");
    for (name, clock, rounds) in
        [("counted, s", Clock::Counted, COUNTED), ("by the wall, s", Clock::Wall, BY_THE_WALL)]
    {
        let (mut routers, mut bares) = (Figures::default(), Figures::default());
        for _ in 0..rounds {
            routers.add(router.boot(clock)?);
            bares.add(bare.boot(clock)?);
        }
        let ratios = routers.over(&bares);
        println!(
            "{name:<34} {:>6.2} {:>21.2} {:>14.3} {:>6.1}%",
            routers.median(),
            bares.median(),
            ratios.median(),
            ratios.spread() * 100.0
        );
        aims.at_most(&format!("boot, {name}, router ÷ bare kernel"), ratios.median(), 1.15);
    }
    debian(folder.path())
}

/// A whole system, once.
fn debian(folder: &Path) -> Result<()> {
    const READY: &str = "the system is ready";
    println!("Debian with systemd and dnsmasq, as recorded before: {RECORDED_DEBIAN}");
    let image = PathBuf::from("target/images/debian/debian.qcow2");
    if !image.exists() {
        println!("the debian template is not there, and is not booted");
        return Ok(());
    }
    let seed = folder.join("debian-seed");
    let user_data = format!("#cloud-config\nruncmd:\n- echo {READY} > /dev/ttyS0\n");
    let files: [(&str, &[u8]); 2] =
        [("meta-data", b"instance-id: bench\n"), ("user-data", user_data.as_bytes())];
    std::fs::write(&seed, podzol_cidata::image(&files)?)?;
    let machine = Machine { image: &image, seed: &seed, memory_mib: 512, ready: READY };
    println!("the debian template with cloud-init, by the wall: {:.1} s", machine.boot(Clock::Wall)?);
    Ok(())
}
