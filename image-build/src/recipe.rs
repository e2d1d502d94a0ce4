//! What all recipes share: finding the inputs, skipping what is up to date, and placing the outputs with a manifest.

mod debian;
mod debs;
mod lab_host;
mod router;
mod system;
mod tiny;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::BuildError;
use crate::files;
use crate::manifest::{self, Manifest, ManifestError, Output, Package};
use crate::steps::Steps;
use crate::tools::{self, Tool};

pub use debian::Debian;
pub use debs::Debs;
pub use lab_host::LabHost;
pub use router::Router;
pub use tiny::Tiny;

/// SHA-256 of this crate's code and recipes.
const CODE: &str = env!("PODZOL_IMAGE_CODE");

/// The time that outputs carry unless another is asked for: 2025-10-09, the day of Debian's images that the recipes
/// were first made with. Any fixed time would do.
pub const DEFAULT_EPOCH: u64 = 1_760_000_000;

/// How the folder's name begins in which a build works, in its output folder.
const WORK: &str = ".work-";

/// How long it holds what packages the mirrors had.
pub const PACKAGES_HOLD: Duration = Duration::from_secs(3600);

/// Where a build works, and for which time.
#[derive(Debug, Clone)]
pub struct Place {
    /// The output folder.
    pub out: PathBuf,
    /// The folder for what later builds can use again. Its content never changes an output.
    pub cache: PathBuf,
    /// The time that outputs carry, in seconds since 1970.
    pub epoch: u64,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The outputs are new.
    Built,
    /// The outputs were already made of these inputs.
    UpToDate,
}

/// All that decides about a recipe's outputs.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The Debian packages that go in.
    pub packages: Vec<Package>,
    /// Other files, each by a name that does not depend on the machine, with its SHA-256.
    pub files: Vec<(String, String)>,
}

/// One kind of output.
pub trait Recipe {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// The programs that it runs.
    fn tools(&self) -> Vec<Tool>;
    /// How many steps it has, those of [`Recipe::files`] and [`Recipe::packages`] included.
    fn steps(&self) -> usize;
    /// Finds out which files go in beside packages, making them if need be.
    ///
    /// # Errors
    /// When that cannot be known.
    fn files(&mut self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError>;
    /// Asks the mirrors which packages go in, in which versions.
    ///
    /// # Errors
    /// When they do not say.
    fn packages(&self, _place: &Place, _steps: &mut Steps<'_>) -> Result<Vec<Package>, BuildError> {
        Ok(Vec::new())
    }
    /// Makes the outputs in the folder `finished` of the working folder, and gives their names.
    ///
    /// # Errors
    /// When a step fails.
    fn make(
        &self,
        inputs: &Inputs,
        shop: &Shop<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<Vec<String>, BuildError>;
}

/// Where a recipe works.
#[derive(Debug)]
pub struct Shop<'a> {
    /// The build's place.
    pub place: &'a Place,
    folder: TempDir,
}

impl Shop<'_> {
    /// A path in the working folder, which is gone after the build.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path of an output.
    pub fn output(&self, name: &str) -> PathBuf {
        self.path("finished").join(name)
    }
}

/// Builds a recipe, unless its outputs are up to date: made of the same inputs, and untouched since. What packages the
/// mirrors have is asked again after [`PACKAGES_HOLD`]. Progress goes to `steps`.
///
/// # Errors
/// When a tool is missing or a step fails. The output folder is then as it was; only if its files could not be moved to
/// their places, it has no manifest.
pub fn build(recipe: &mut dyn Recipe, place: &Place, steps: &mut Steps<'_>) -> Result<Outcome, BuildError> {
    let tools = recipe.tools();
    let programs = tools::require(&tools)?;
    files::create_folder(&place.cache)?;
    let _lock = lock(&place.cache, steps)?;
    remove_leftovers(&place.out, steps)?;
    let files = recipe.files(place, steps)?;
    let before = usable_manifest(&place.out)?.filter(|manifest| manifest.is_untouched(&place.out));
    let hash_with =
        |packages: &[Package]| hash(recipe.name(), place.epoch, packages, &files, &tools, &programs);
    if let Some(manifest) = &before
        && Manifest::age(&place.out).is_some_and(|age| age < PACKAGES_HOLD)
        && manifest.inputs == hash_with(&manifest.packages)?
    {
        return Ok(Outcome::UpToDate);
    }
    let packages = recipe.packages(place, steps)?;
    let hash = hash_with(&packages)?;
    if let Some(manifest) = before.filter(|manifest| manifest.inputs == hash) {
        manifest.write(&place.out)?;
        return Ok(Outcome::UpToDate);
    }
    let inputs = Inputs { packages, files };
    files::create_folder(&place.out)?;
    let folder = tempfile::Builder::new().prefix(WORK).tempdir_in(&place.out);
    let shop = Shop { place, folder: folder.map_err(files::context("create a folder in", &place.out))? };
    files::create_folder(&shop.path("finished"))?;
    let mut names = recipe.make(&inputs, &shop, steps)?;
    names.sort();
    files::remove(&place.out.join(manifest::FILE_NAME))?;
    for name in &names {
        files::rename(&shop.output(name), &place.out.join(name))?;
    }
    let files = names.iter().map(|name| Output::of(&place.out, name)).collect::<Result<_, _>>()?;
    let recipe = recipe.name().to_owned();
    Manifest { recipe, inputs: hash, epoch: place.epoch, files, packages: inputs.packages }
        .write(&place.out)?;
    Ok(Outcome::Built)
}

/// One build at a time uses a cache.
fn lock(cache: &Path, steps: &mut Steps<'_>) -> Result<File, BuildError> {
    let path = cache.join("lock");
    let file = File::create(&path).map_err(files::context("create", &path))?;
    if file.try_lock().is_err() {
        steps.say(&format!("waiting for another build that uses {}", cache.display()));
        file.lock().map_err(files::context("lock", &path))?;
    }
    Ok(file)
}

/// The manifest of a folder. One that is no manifest today, but may have been to an older version, is as good as none.
fn usable_manifest(folder: &Path) -> Result<Option<Manifest>, BuildError> {
    match Manifest::read(folder) {
        Err(BuildError::Manifest(ManifestError::Invalid { .. })) => Ok(None),
        read => read,
    }
}

/// Removes the working folders of builds that were killed, if nothing is mounted in them: mmdebstrap mounts the machine's
/// own `/dev`.
fn remove_leftovers(out: &Path, steps: &mut Steps<'_>) -> Result<(), BuildError> {
    let is_work = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WORK));
    let mounts = files::read_text(Path::new("/proc/self/mounts"))?;
    for path in files::list(out)?.into_iter().filter(|path| is_work(path)) {
        // The name that tempfile gives has no character that the kernel would escape.
        if mounts.contains(&*path.file_name().unwrap_or_default().to_string_lossy()) {
            steps.say(&format!("{} is left there: something is mounted in it", path.display()));
        } else {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// SHA-256 of all that decides about the outputs. Tools count by their content, because another mkfs writes other bytes.
fn hash(
    recipe: &str,
    epoch: u64,
    packages: &[Package],
    files: &[(String, String)],
    tools: &[Tool],
    programs: &[PathBuf],
) -> Result<String, BuildError> {
    let mut text = format!("recipe {recipe}\ncode {CODE}\nepoch {epoch}\n");
    for package in packages {
        text.push_str(&format!("package {} {}\n", package.file_name(), package.sha256));
    }
    for (name, sha256) in files {
        text.push_str(&format!("file {name} {sha256}\n"));
    }
    for (tool, path) in tools.iter().zip(programs) {
        text.push_str(&format!("tool {} {}\n", tool.program, files::hash_file(path)?.0));
    }
    Ok(files::hash(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recipe of one file.
    struct Copying(&'static str);

    impl Recipe for Copying {
        fn name(&self) -> &'static str {
            "copying"
        }

        fn tools(&self) -> Vec<Tool> {
            Vec::new()
        }

        fn steps(&self) -> usize {
            0
        }

        fn files(
            &mut self,
            _place: &Place,
            _steps: &mut Steps<'_>,
        ) -> Result<Vec<(String, String)>, BuildError> {
            Ok(vec![("content".into(), files::hash(self.0))])
        }

        fn make(
            &self,
            _inputs: &Inputs,
            shop: &Shop<'_>,
            _steps: &mut Steps<'_>,
        ) -> Result<Vec<String>, BuildError> {
            files::write(&shop.output("copy"), self.0)?;
            Ok(vec!["copy".to_owned()])
        }
    }

    fn check(place: &Place, content: &'static str, expected: Outcome) {
        let mut shown = Vec::new();
        assert_eq!(build(&mut Copying(content), place, &mut Steps::new(&mut shown, 0)).unwrap(), expected);
        assert_eq!(files::read_text(&place.out.join("copy")).unwrap(), content);
        let left: Vec<PathBuf> = files::list(&place.out).unwrap();
        assert_eq!(left, [place.out.join("copy"), place.out.join(manifest::FILE_NAME)]);
    }

    #[test]
    fn the_same_inputs_are_built_once_and_others_or_damaged_outputs_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path());
        check(&place, "one", Outcome::Built);
        check(&place, "one", Outcome::UpToDate);
        check(&place, "two", Outcome::Built);
        check(&Place { epoch: 2, ..place.clone() }, "two", Outcome::Built);
        files::write(&place.out.join("copy"), "damaged").unwrap();
        check(&Place { epoch: 2, ..place }, "two", Outcome::Built);
    }

    fn place_in(folder: &Path) -> Place {
        Place { out: folder.join("out"), cache: folder.join("cache"), epoch: 1 }
    }

    #[test]
    fn what_a_killed_build_left_is_removed_even_if_there_is_nothing_to_build() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path());
        check(&place, "one", Outcome::Built);
        files::write(&place.out.join(".work-killed/root/etc/hosts"), "").unwrap();
        check(&place, "one", Outcome::UpToDate);
    }

    #[test]
    fn outputs_with_a_manifest_of_an_older_form_are_built_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path());
        check(&place, "one", Outcome::Built);
        files::write(&place.out.join(manifest::FILE_NAME), "{\"version\": 0}").unwrap();
        check(&place, "one", Outcome::Built);
    }
}
