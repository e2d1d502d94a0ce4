//! A Debian system in a folder, and an ext4 file system made of it: what the recipes of whole systems share.
//!
//! # Design notes
//! mke2fs 1.47.0 copies each file's time of change from the build machine and takes its own time for others, so all of
//! them are set afterwards with debugfs; then the file system is the same in every folder (tried on ext4 and on tmpfs).
//!
//! Installing packages takes four fifths of a build, and what comes of it depends on the packages alone; so it is kept, see [`kept`].

mod kept;

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BuildError;
use crate::apt;
use crate::files;
use crate::manifest::Package;
use crate::program::Program;
use crate::recipe::{Place, Shop};
use crate::tools::Tool;

/// What this module runs.
pub(super) const TOOLS: [Tool; 6] = [
    Tool::new("mmdebstrap", "mmdebstrap"),
    Tool::new("dpkg-query", "dpkg"),
    Tool::new("tar", "tar"),
    Tool::new("zstd", "zstd"),
    Tool::new("mkfs.ext4", "e2fsprogs"),
    Tool::new("debugfs", "e2fsprogs"),
];

/// Installing took 35-85 s on two cores; a far mirror or a loaded machine takes longer.
const DEADLINE: Duration = Duration::from_secs(1800);
const HASH_SEED: &str = "6f4c7c1e-0000-4000-8000-000000000001";

/// What a Debian system is made of.
#[derive(Debug)]
pub(super) struct System {
    /// By what it is kept.
    pub(super) name: &'static str,
    /// Its packages, one a line, beside Debian's essential ones.
    pub(super) packages: &'static str,
    /// Files of packages that are not wanted: patterns of dpkg's `path-exclude`, one a line.
    pub(super) excluded: &'static str,
    /// Further options of mmdebstrap.
    pub(super) hooks: &'static [&'static str],
}

impl System {
    /// Its packages.
    pub(super) fn packages(&self) -> Vec<&'static str> {
        self.packages.lines().collect()
    }

    /// Has it in a folder, as installing these packages, which are all of its packages, makes it.
    pub(super) fn install(
        &self,
        packages: &[&Package],
        root: &Path,
        shop: &Shop<'_>,
    ) -> Result<(), BuildError> {
        let arguments = self.arguments();
        let kept = kept::find(self.name, &arguments, packages, shop.place)?;
        if !kept.exists() {
            let fresh = shop.path("installed");
            self.bootstrap(arguments, &fresh, shop.place)?;
            check_installed(packages, &fresh)?;
            kept::pack(&fresh, &kept)?;
            files::remove(&fresh)?;
        }
        kept::unpack(&kept, root)
    }

    /// What mmdebstrap is told, but for places.
    fn arguments(&self) -> Vec<String> {
        let fixed = ["--mode=root", "--variant=essential", "--format=directory", "--arch=amd64"];
        let include = format!("--include={}", self.packages().join(","));
        let excluded = self.excluded.lines().map(|pattern| format!("--dpkgopt=path-exclude={pattern}"));
        let hooks = self.hooks.iter().map(|hook| (*hook).to_owned());
        fixed.map(str::to_owned).into_iter().chain([include]).chain(excluded).chain(hooks).collect()
    }

    fn bootstrap(&self, arguments: Vec<String>, root: &Path, place: &Place) -> Result<(), BuildError> {
        Program::new("mmdebstrap")
            .args(arguments)
            .arg(apt::RELEASE)
            .arg(root)
            .arg(apt::sources_file(&place.cache))
            .epoch(place.epoch)
            .deadline(DEADLINE)
            .run()?;
        Ok(())
    }
}

/// What was installed must be what was resolved, or the manifest would lie.
fn check_installed(resolved: &[&Package], root: &Path) -> Result<(), BuildError> {
    let query = Program::new("dpkg-query").arg("--admindir").arg(root.join("var/lib/dpkg"));
    let text = query.args(["--show", "--showformat=${Package} ${Version}\\n"]).run()?;
    let installed: Vec<&str> = text.lines().collect();
    let expected: Vec<String> =
        resolved.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
    let missing =
        expected.iter().filter(|line| !installed.contains(&line.as_str())).map(|line| format!("-{line}"));
    let surplus = installed.iter().filter(|line| !expected.iter().any(|other| other == *line));
    let differences: Vec<String> = missing.chain(surplus.map(|line| format!("+{line}"))).collect();
    if differences.is_empty() { Ok(()) } else { Err(BuildError::Moved { differences }) }
}

/// Removes what the installation left that is different each time: keys and logs.
pub(super) fn remove_machine_state(root: &Path) -> Result<(), BuildError> {
    for path in files::list(&root.join("etc/ssh"))? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            files::remove(&path)?;
        }
    }
    for path in files::walk(&root.join("var/log"))? {
        if path.is_file() {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// Settings for mke2fs: those of Debian 12, whatever the machine's own are.
const SETTINGS: &str = "[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = 4096
inode_size = 256
inode_ratio = 16384
[fs_types]
ext4 = {
features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}
small = {
blocksize = 1024
inode_ratio = 4096
}
";

/// An ext4 file system.
#[derive(Debug)]
pub(super) struct FileSystem {
    /// Its size in bytes.
    pub(super) size: u64,
    pub(super) label: &'static str,
    pub(super) uuid: &'static str,
    /// Features of mke2fs that differ from its defaults.
    pub(super) features: &'static str,
}

impl FileSystem {
    /// Makes an image of a root folder, with one time for all that is newer.
    pub(super) fn make(&self, root: &Path, image: &Path, shop: &Shop<'_>) -> Result<(), BuildError> {
        let epoch = shop.place.epoch;
        let paths = files::walk(root)?;
        let newer = format!("@{epoch}");
        Program::new("find")
            .arg(root)
            .args(["-newermt", &newer, "-exec", "touch", "--no-dereference", "--date", &newer, "{}", "+"])
            .run()?;
        let file = File::create(image).map_err(files::context("create", image))?;
        file.set_len(self.size).map_err(files::context("write", image))?;
        let settings = shop.path("mke2fs.conf");
        files::write(&settings, SETTINGS)?;
        let extended = format!("lazy_itable_init=1,nodiscard,hash_seed={HASH_SEED}");
        Program::new("mkfs.ext4")
            .args(["-q", "-F", "-O", self.features, "-N", "65536", "-m", "0", "-E", &extended])
            .args(["-U", self.uuid, "-L", self.label, "-d"])
            .arg(root)
            .arg(image)
            .env("MKE2FS_CONFIG", settings)
            .epoch(epoch)
            .run()?;
        let script = shop.path("times");
        files::write(&script, time_script(root, &paths, epoch))?;
        Program::new("debugfs").arg("-w").arg("-f").arg(&script).arg(image).epoch(epoch).run()?;
        Ok(())
    }
}

/// What has debugfs set the times that mke2fs took from the build machine.
fn time_script(root: &Path, paths: &[PathBuf], epoch: u64) -> String {
    let mut script = String::new();
    let inside =
        paths.iter().filter_map(|path| path.strip_prefix(root).ok()).map(|path| path.display().to_string());
    for path in inside.chain([String::new()]) {
        for field in ["ctime", "atime", "crtime"] {
            // Writing to a string cannot fail.
            let _ = writeln!(script, "set_inode_field \"/{path}\" {field} @{epoch}");
            let _ = writeln!(script, "set_inode_field \"/{path}\" {field}_extra 0");
        }
    }
    script
}
