//! Debian packages from the mirrors, through apt with a state of its own: the machine's installed packages, pins and
//! locks play no part, and an ordinary user can run it. apt checks the signatures of what it fetches.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BuildError;
use crate::files;
use crate::manifest::Package;
use crate::program::Program;
use crate::sources::{self, Source};
use crate::tools::Tool;

/// What this module runs.
pub const TOOLS: [Tool; 3] =
    [Tool::new("apt-get", "apt"), Tool::new("apt-cache", "apt"), Tool::new("dpkg-deb", "dpkg")];

/// The Debian release of all images.
pub const RELEASE: &str = "bookworm";

/// What no configuration of the machine may change: what is chosen, and that what is fetched is signed.
const SETTINGS: [&str; 11] = [
    "Dir::Etc::SourceList=/dev/null",
    "Dir::Etc::Preferences=/dev/null",
    "Dir::Etc::PreferencesParts=/dev/null",
    "APT::Architecture=amd64",
    "APT::Install-Recommends=false",
    "APT::Install-Suggests=false",
    "APT::Sandbox::User=root",
    "APT::Get::AllowUnauthenticated=false",
    "Acquire::AllowInsecureRepositories=false",
    "Acquire::AllowWeakRepositories=false",
    "Acquire::Languages=none",
];

/// apt's answer is not understood.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A package has no dependency that begins so.
    #[error("{package} depends on nothing that begins with {prefix}")]
    NoDependency {
        /// The package.
        package: String,
        /// The wanted beginning.
        prefix: String,
    },
    /// A line about a package to fetch is of another form.
    #[error("apt-get --print-uris said what is not understood: {0}")]
    Line(String),
    /// What was fetched is not what the index promised.
    #[error("{file} has another sha256 than the mirror's index says")]
    Hash {
        /// The fetched file.
        file: String,
    },
}

/// How long indexes hold: as long as it takes to build all that there is.
const HOLD: Duration = Duration::from_secs(600);

/// In the cache.
const FOLDER: &str = "apt";

/// Has what the indexes are of, once they are there.
fn updated(cache: &Path) -> PathBuf {
    cache.join(FOLDER).join("updated")
}

/// Whether that was written a short while ago, of these mirrors.
fn is_of(updated: &Path, mirrors: &str) -> bool {
    let written = std::fs::metadata(updated).and_then(|about| about.modified()).ok();
    let is_fresh = written.and_then(|at| at.elapsed().ok()).is_some_and(|age| age < HOLD);
    is_fresh && files::read_text(updated).is_ok_and(|text| text == mirrors)
}

/// A private apt state with fresh package indexes. Several builds share it; as long as one has it, no other replaces the indexes.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    /// Locked until it is closed.
    held: File,
}

/// The file that names the mirrors, in deb822 form.
pub fn sources_file(cache: &Path) -> PathBuf {
    cache.join(FOLDER).join("sources.d/debian.sources")
}

impl Apt {
    /// Sets the state up in the cache folder and fetches the mirrors' indexes, if they changed: once in a build, so that
    /// all of it sees the same packages, and so do builds that follow soon.
    ///
    /// # Errors
    /// When the machine has no Debian mirror or it does not answer.
    pub fn open(cache: &Path) -> Result<Self, BuildError> {
        let found = sources::find(Path::new("/etc/apt"), RELEASE)?;
        let text = found.iter().map(Source::paragraph).collect::<Vec<_>>().join("\n");
        for folder in ["state/lists/partial", "cache/archives/partial", "sources.d", "packages"] {
            files::create_folder(&cache.join(FOLDER).join(folder))?;
        }
        loop {
            let apt = Self::opened(cache)?;
            if is_of(&updated(cache), &text) {
                return Ok(apt);
            }
            apt.held.unlock().and_then(|()| apt.held.lock()).map_err(files::context("lock", &apt.folder))?;
            // Somebody else may have fetched them meanwhile.
            if is_of(&updated(cache), &text) {
                continue;
            }
            apt.update(cache, &text)?;
            let shared = apt.held.unlock().and_then(|()| apt.held.lock_shared());
            shared.map_err(files::context("lock", &apt.folder))?;
            return Ok(apt);
        }
    }

    /// Fetches the indexes of mirrors. Nobody else has this state.
    fn update(&self, cache: &Path, text: &str) -> Result<(), BuildError> {
        let (updated, sources) = (updated(cache), sources_file(cache));
        files::remove(&updated)?;
        files::write(&self.folder.join("status"), "")?;
        // mmdebstrap may be reading it.
        if files::read_text(&sources).ok().is_none_or(|before| before != text) {
            files::write(&sources, text)?;
        }
        self.program("apt-get").args(["update", "--error-on=any"]).run()?;
        Ok(files::write(&updated, text)?)
    }

    /// Has the next build ask the mirrors for their indexes anew: something in one went wrong.
    pub fn forget_indexes(cache: &Path) {
        // Without it they are asked in any case.
        let _ = std::fs::remove_file(updated(cache));
    }

    /// The state that [`Apt::open`] has set up earlier in this build.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn opened(cache: &Path) -> Result<Self, BuildError> {
        let folder = cache.join(FOLDER);
        let path = folder.join("lock");
        let held = File::create(&path).map_err(files::context("create", &path))?;
        held.lock_shared().map_err(files::context("lock", &path))?;
        Ok(Self { folder, held })
    }

    /// The first dependency of a package whose name begins so: how a meta package is followed to the real one.
    ///
    /// # Errors
    /// When there is none.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String, BuildError> {
        let text = self.program("apt-cache").args(["depends", package]).run()?;
        let dependencies = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = dependencies.map(str::trim).find(|name| name.starts_with(prefix));
        let missing = || AptError::NoDependency { package: package.to_owned(), prefix: prefix.to_owned() };
        Ok(found.ok_or_else(missing)?.to_owned())
    }

    /// Just these packages, in the versions that the mirrors have now.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn resolve(&self, names: &[&str]) -> Result<Vec<Package>, BuildError> {
        parse(&self.program("apt-get").args(["download", "--print-uris"]).args(names.iter().copied()).run()?)
    }

    /// These packages and all that an otherwise empty system needs for them. apt counts itself among the
    /// essential ones, which mmdebstrap does not: who wants the same from both lists it.
    ///
    /// # Errors
    /// When one does not exist or they cannot be installed together.
    pub fn resolve_system(&self, names: &[&str]) -> Result<Vec<Package>, BuildError> {
        self.resolve_with_needs(&[&["?essential"], names].concat())
    }

    /// These packages and all that they depend on.
    ///
    /// # Errors
    /// When one does not exist or they cannot be installed together.
    pub fn resolve_with_needs(&self, names: &[&str]) -> Result<Vec<Package>, BuildError> {
        let install = self.program("apt-get").args(["install", "--yes", "--print-uris"]);
        let text = install.args(names.iter().copied()).run()?;
        // For an installation apt prints MD5 sums, for a download SHA-256.
        let files =
            text.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split(' ').nth(1));
        let exact =
            files.filter_map(from_file_name).map(|package| format!("{}={}", package.name, package.version));
        self.resolve(&exact.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Fetches a package, if the cache does not have it yet, and gives its file. One at a time, as several builds may want the same.
    ///
    /// # Errors
    /// When it cannot be fetched or is not the one that was resolved.
    pub fn fetch(&self, package: &Package) -> Result<PathBuf, BuildError> {
        let lock = self.folder.join("packages.lock");
        let fetching = File::create(&lock).map_err(files::context("create", &lock))?;
        fetching.lock().map_err(files::context("lock", &lock))?;
        let folder = self.folder.join("packages");
        let path = folder.join(package.file_name());
        if path.exists() && files::hash_file(&path)?.0 == package.sha256 {
            return Ok(path);
        }
        files::remove(&path)?;
        let wanted = format!("{}={}", package.name, package.version);
        self.program("apt-get").args(["download", &wanted]).folder(&folder).run()?;
        match files::hash_file(&path)?.0 == package.sha256 {
            true => Ok(path),
            false => Err(AptError::Hash { file: package.file_name() }.into()),
        }
    }

    /// The machine's own apt configuration still holds for the rest, such as a proxy or how old an index may be.
    fn program(&self, name: &str) -> Program {
        let folder = self.folder.display();
        let own = [
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::State::Lists={folder}/state/lists"),
            format!("Dir::Cache={folder}/cache"),
            format!("Dir::Cache::Archives={folder}/cache/archives"),
            // Machines in containers often have none, and read all indexes at each question.
            format!("Dir::Cache::pkgcache={folder}/cache/pkgcache.bin"),
            format!("Dir::Cache::srcpkgcache={folder}/cache/srcpkgcache.bin"),
            format!("Dir::Etc::SourceParts={folder}/sources.d"),
        ];
        let settings = own.into_iter().chain(SETTINGS.map(str::to_owned));
        // On the command line, as files of the machine are read after one that is named by `APT_CONFIG`.
        Program::new(name).args(settings.flat_map(|setting| ["-o".to_owned(), setting]))
    }
}

/// Unpacks a package's files into a folder.
///
/// # Errors
/// When dpkg-deb fails.
pub fn unpack(package: &Path, to: &Path) -> Result<(), BuildError> {
    files::create_folder(to)?;
    Program::new("dpkg-deb").arg("--extract").arg(package).arg(to).run()?;
    Ok(())
}

/// The lines `'URI' NAME_VERSION_ARCHITECTURE.deb SIZE SHA256:HASH`, sorted; other lines are talk.
fn parse(text: &str) -> Result<Vec<Package>, BuildError> {
    let lines = text.lines().filter(|line| line.starts_with('\''));
    let packages: Option<Vec<Package>> = lines.clone().map(parse_line).collect();
    let mut packages = packages.ok_or_else(|| {
        let bad = lines.clone().find(|line| parse_line(line).is_none());
        AptError::Line(bad.unwrap_or_default().to_owned())
    })?;
    packages.sort();
    Ok(packages)
}

fn parse_line(line: &str) -> Option<Package> {
    let mut words = line.split(' ');
    let (file, hash) = (words.nth(1)?, words.nth(1)?.strip_prefix("SHA256:")?);
    Some(Package { sha256: hash.to_owned(), ..from_file_name(file)? })
}

/// What a file name tells of a package: all but the hash.
fn from_file_name(file: &str) -> Option<Package> {
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let package = Package {
        name: parts.next()?.to_owned(),
        // An epoch's colon is escaped in file names.
        version: parts.next()?.replace("%3a", ":"),
        architecture: parts.next()?.to_owned(),
        sha256: String::new(),
    };
    parts.next().is_none().then_some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_to_fetch_are_read_with_their_versions_and_hashes() {
        let text = "Reading package lists...\n'http://m/b.deb' busybox-static_1%3a1.35.0-4+b1_amd64.deb 928188 SHA256:3d3f\n\
            'http://m/a.deb' adduser_3.134_all.deb 1 SHA256:00\n";
        let packages = parse(text).unwrap();
        assert_eq!(packages[0].name, "adduser");
        assert_eq!(packages[1].version, "1:1.35.0-4+b1");
        assert_eq!(packages[1].file_name(), "busybox-static_1%3a1.35.0-4+b1_amd64.deb");
        assert_eq!(packages[1].sha256, "3d3f");
    }

    #[test]
    fn a_line_without_a_sha256_is_refused() {
        assert!(parse("'http://m/a.deb' a_1_all.deb 1 MD5Sum:00\n").is_err());
    }
}
