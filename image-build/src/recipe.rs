//! What all recipes share: finding the inputs, skipping what is up to date, and placing the outputs with a manifest.

mod debian;
mod debs;
mod inputs;
mod lab_host;
mod router;
mod system;
mod tiny;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::BuildError;
use crate::apt::Apt;
use crate::files;
use crate::manifest::{self, Manifest, ManifestError, Output, Package};
use crate::parts::Part;
use crate::recipe::inputs::hash;
use crate::sbom;
use crate::signature;
use crate::steps::Steps;
use crate::tools::{self, Tool};

pub use debian::Debian;
pub use debs::Debs;
pub use inputs::{Inputs, Programs};
pub use lab_host::LabHost;
pub use router::{Router, RouterKind};
pub use tiny::Tiny;

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

/// What a recipe has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    names: Vec<String>,
    kernel: Option<String>,
    image: Option<String>,
}

impl Made {
    /// Files of these names in the folder `finished`.
    pub fn files<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), kernel: None, image: None }
    }

    /// In them is a kernel of this version.
    pub fn with_kernel(self, version: String) -> Self {
        Self { kernel: Some(version), ..self }
    }

    /// They say that they are the image of this id.
    pub fn with_image(self, id: String) -> Self {
        Self { image: Some(id), ..self }
    }
}

/// One kind of output.
pub trait Recipe {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What VMs of its output can do beside what all of their kind can, sorted.
    fn extensions(&self) -> &'static [&'static str] {
        &[]
    }
    /// The programs that it runs.
    fn tools(&self) -> Vec<Tool>;
    /// Whether its files are of several owners: it is built where that can be, see [`crate::owners`].
    fn has_owners(&self) -> bool {
        false
    }
    /// How many steps it has, those of [`Recipe::files`] and [`Recipe::packages`] included.
    fn steps(&self) -> usize;
    /// The programs of Podzol's own that go in.
    fn programs(&self) -> Programs {
        Programs::None
    }
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
    /// What goes in beside packages, crates and files. Asked before those are made.
    ///
    /// # Errors
    /// When that cannot be known.
    fn parts(&self) -> Result<Vec<Part>, BuildError> {
        Ok(Vec::new())
    }
    /// Makes the outputs in the folder `finished` of the working folder.
    ///
    /// # Errors
    /// When a step fails.
    fn make(&self, inputs: &Inputs, shop: &Shop<'_>, steps: &mut Steps<'_>) -> Result<Made, BuildError>;
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

/// What is mounted in it is not its own: removing goes through mounts.
impl Drop for Shop<'_> {
    fn drop(&mut self) {
        let has_mounts = mounts().map_or(true, |mounts| is_mounted_in(&mounts, self.folder.path()));
        self.folder.disable_cleanup(has_mounts);
    }
}

/// Builds a recipe, unless its outputs are up to date: made of the same inputs, and untouched since. What packages the
/// mirrors have is asked again after [`PACKAGES_HOLD`]. Progress goes to `steps`.
///
/// # Errors
/// When a tool is missing or a step fails. The output folder is then as it was; only if its files could not be moved to
/// their places, it has no manifest.
pub fn build(recipe: &mut dyn Recipe, place: &Place, steps: &mut Steps<'_>) -> Result<Outcome, BuildError> {
    let built = try_to_build(recipe, place, steps);
    if built.is_err() {
        Apt::forget_indexes(&place.cache);
    }
    built
}

fn try_to_build(
    recipe: &mut dyn Recipe,
    place: &Place,
    steps: &mut Steps<'_>,
) -> Result<Outcome, BuildError> {
    let tools = recipe.tools();
    let programs = tools::require(&tools)?;
    files::create_folder(&place.cache)?;
    let _lock = lock(recipe.name(), &place.cache, steps)?;
    remove_leftovers(&place.out, steps)?;
    let (own_programs, parts) = (recipe.programs(), recipe.parts()?);
    let files = recipe.files(place, steps)?;
    let mut inputs = Inputs { packages: Vec::new(), files, crates: own_programs.crates()? };
    let hash_of = |inputs: &Inputs| hash(recipe.name(), place.epoch, inputs, &tools, &programs);
    let before = usable_manifest(&place.out)?.filter(|manifest| manifest.is_untouched(&place.out));
    let is_fresh = Manifest::age(&place.out).is_some_and(|age| age < PACKAGES_HOLD);
    if let Some(manifest) = before.as_ref().filter(|_| is_fresh) {
        inputs.packages.clone_from(&manifest.packages);
        if manifest.inputs == hash_of(&inputs)? {
            return Ok(Outcome::UpToDate);
        }
    }
    inputs.packages = recipe.packages(place, steps)?;
    let hash = hash_of(&inputs)?;
    if let Some(manifest) = before.filter(|manifest| manifest.inputs == hash) {
        manifest.write(&place.out)?;
        return Ok(Outcome::UpToDate);
    }
    files::create_folder(&place.out)?;
    let folder = tempfile::Builder::new().prefix(WORK).tempdir_in(&place.out);
    let shop = Shop { place, folder: folder.map_err(files::context("create a folder in", &place.out))? };
    files::create_folder(&shop.path("finished"))?;
    let mut made = recipe.make(&inputs, &shop, steps)?;
    let bill = sbom::text(recipe.name(), place.epoch, &inputs, &parts, &own_programs, &hash);
    files::write(&shop.output(sbom::FILE_NAME), bill)?;
    made.names.push(sbom::FILE_NAME.to_owned());
    made.names.sort();
    let manifest = Manifest {
        recipe: recipe.name().to_owned(),
        extensions: recipe.extensions().iter().map(|extension| (*extension).to_owned()).collect(),
        inputs: hash,
        epoch: place.epoch,
        kernel: made.kernel,
        image: made.image,
        cargo_lock: inputs.crates.map(|crates| crates.lock),
        files: place_outputs(&made.names, &shop)?,
        packages: inputs.packages,
    };
    manifest.write(&place.out)?;
    Ok(Outcome::Built)
}

/// Moves the outputs to their places. Until the new manifest is there, the folder has none, nor a signature.
fn place_outputs(names: &[String], shop: &Shop<'_>) -> Result<Vec<Output>, BuildError> {
    let out = &shop.place.out;
    for name in [signature::FILE_NAME, manifest::FILE_NAME] {
        files::remove(&out.join(name))?;
    }
    for name in names {
        files::rename(&shop.output(name), &out.join(name))?;
    }
    names.iter().map(|name| Output::of(out, name)).collect()
}

/// One build of a recipe at a time uses a cache; builds of several recipes do side by side.
fn lock(recipe: &str, cache: &Path, steps: &mut Steps<'_>) -> Result<File, BuildError> {
    let path = cache.join(format!("{recipe}.lock"));
    let file = File::create(&path).map_err(files::context("create", &path))?;
    if file.try_lock().is_err() {
        steps.say(&format!("waiting for another build of {recipe} that uses {}", cache.display()));
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

/// What is mounted where, as the kernel says.
fn mounts() -> Result<String, BuildError> {
    Ok(files::read_text(Path::new("/proc/self/mounts"))?)
}

/// Whether something is mounted in a working folder. The name that tempfile gives it has no character that the kernel would
/// escape.
fn is_mounted_in(mounts: &str, folder: &Path) -> bool {
    folder.file_name().is_none_or(|name| mounts.contains(&*name.to_string_lossy()))
}

/// Removes the working folders of builds that were killed, if nothing is mounted in them: mmdebstrap mounts the machine's
/// own `/dev`.
fn remove_leftovers(out: &Path, steps: &mut Steps<'_>) -> Result<(), BuildError> {
    let is_work = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WORK));
    let mounts = mounts()?;
    for path in files::list(out)?.into_iter().filter(|path| is_work(path)) {
        if is_mounted_in(&mounts, &path) {
            steps.say(&format!("{} is left there: something is mounted in it", path.display()));
        } else {
            files::remove(&path)?;
        }
    }
    Ok(())
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
        ) -> Result<Made, BuildError> {
            files::write(&shop.output("copy"), self.0)?;
            Ok(Made::files(["copy"]).with_kernel("6.1.0".to_owned()))
        }
    }

    fn check(place: &Place, content: &'static str, expected: Outcome) {
        let mut shown = Vec::new();
        assert_eq!(build(&mut Copying(content), place, &mut Steps::new(&mut shown, 0)).unwrap(), expected);
        assert_eq!(files::read_text(&place.out.join("copy")).unwrap(), content);
        let left: Vec<PathBuf> = files::list(&place.out).unwrap();
        let names = ["copy", manifest::FILE_NAME, sbom::FILE_NAME];
        assert_eq!(left, names.map(|name| place.out.join(name)));
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
    fn the_manifest_has_the_bill_of_materials_and_the_kernel_and_fits() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path());
        check(&place, "one", Outcome::Built);
        let manifest = Manifest::read(&place.out).unwrap().unwrap();
        manifest.verify(&place.out).unwrap();
        let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["copy", sbom::FILE_NAME]);
        assert_eq!((manifest.kernel.as_deref(), manifest.cargo_lock), (Some("6.1.0"), None));
    }

    #[test]
    fn a_signature_goes_with_the_outputs_that_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path());
        check(&place, "one", Outcome::Built);
        files::write(&place.out.join(signature::FILE_NAME), "of the first").unwrap();
        check(&place, "two", Outcome::Built);
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
