//! `podzol-image`: builds Podzol's images and packages, signs them, and checks what was built.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use podzol_image::manifest::{FILE_NAME, Manifest};
use podzol_image::owners;
use podzol_image::recipe::{
    self, DEFAULT_EPOCH, Debian, Debs, LabHost, Outcome, Place, Recipe, Router, RouterKind, Tiny,
};
use podzol_image::signature;
use podzol_image::steps::Steps;
use podzol_image_signature::SigningKey;

/// Builds Podzol's VM templates, lab host image and Debian packages, byte for byte reproducible, and signs them.
///
/// Beside its outputs, each folder has a manifest (manifest.json: what went in, and SHA-256 of every file) and a bill of
/// materials (sbom.cdx.json: CycloneDX 1.6).
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds a recipe, unless its outputs are up to date.
    Build(Build),
    /// Signs a folder whose files fit its manifest: writes manifest.sig.
    ///
    /// The signature is over the bytes of manifest.json, made with Ed25519 and written in Base64. OpenSSL checks it so:
    /// `base64 -d manifest.sig > sig && openssl pkeyutl -verify -pubin -inkey signing.pub -rawin -in manifest.json
    /// -sigfile sig`.
    Sign {
        /// The output folder of a build.
        folder: PathBuf,
        /// The private key: Ed25519, PKCS#8, PEM.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Compares the files of a folder with its manifest, and with a key, the manifest with its signature.
    Verify {
        /// The output folder of a build.
        folder: PathBuf,
        /// The public key with whose private half the manifest must have been signed.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Keys for signing.
    #[command(subcommand)]
    Key(Key),
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Makes a key: signing.key, which stays with who signs, and signing.pub for those who verify.
    New {
        /// The folder for both; keys in it are never written over.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Build {
    /// What to build.
    recipe: RecipeName,
    /// Where the outputs go; with `all`, in a folder each below it [default: images/<RECIPE>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where fetched packages and compiled programs are kept for the next build [default: images/.cache].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The time that outputs carry, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", default_value_t = DEFAULT_EPOCH)]
    epoch: u64,
    /// Podzol's source tree (tiny, routers: the init's source; debs: the `package/` folders).
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// tiny, routers: a compiled init, to be taken instead of compiling it. Its crates are then not known.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// console-proxy: a compiled console proxy, to be taken instead of compiling it.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// debs: the folder with the compiled programs.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    bin_dir: PathBuf,
    /// Signs the outputs as the last step, with this private key (see `sign`).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// all: how many are built at a time [default: as many as there are processors].
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    /// Other builds show their progress beside.
    #[arg(long, hide = true)]
    beside_others: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RecipeName {
    /// Router, router-l7, console-proxy, tiny, debian and lab-host, side by side.
    All,
    /// The tiny test VM's template.
    Tiny,
    /// The root file system, kernel and initramfs of the lab's emulated servers.
    LabHost,
    /// The template of a Debian VM with cloud-init.
    Debian,
    /// The template of the routing appliance.
    Router,
    /// The same with haproxy, for balancers of HTTP.
    RouterL7,
    /// The template of console proxies.
    ConsoleProxy,
    /// Podzol's own Debian packages.
    Debs,
}

/// What `all` is, the longest first: nobody waits for one that was begun last.
const ALL: [RecipeName; 6] = [
    RecipeName::LabHost,
    RecipeName::Debian,
    RecipeName::RouterL7,
    RecipeName::ConsoleProxy,
    RecipeName::Router,
    RecipeName::Tiny,
];

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Build(build) => run(build),
        Command::Sign { folder, key } => sign(&folder, &key),
        Command::Verify { folder, public_key } => verify(&folder, public_key.as_deref()),
        Command::Key(Key::New { out }) => key_new(&out),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("podzol-image: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(build: Build) -> anyhow::Result<()> {
    // For the programs that the recipes run, such as the packages' own scripts: an image does not depend on the builder.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Before anything takes minutes.
    let key = build.key.as_deref().map(signature::read_key).transpose()?;
    let names = if build.recipe == RecipeName::All { &ALL[..] } else { &[build.recipe] };
    anyhow::ensure!(build.init.is_none() || names.len() == 1, "--init: is for one recipe, and not for all");
    if let [name] = names {
        return build_one(&build, *name, key.as_ref(), build.beside_others);
    }
    let jobs = build.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (left, failed) = (Mutex::new(names.iter()), Mutex::new(0));
    // One that fails keeps no other from being built.
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(names.len()) {
            scope.spawn(|| {
                while let Some(name) = next(&left) {
                    if let Err(error) = build_one(&build, *name, key.as_ref(), true) {
                        eprintln!("podzol-image: {error:#}");
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    anyhow::ensure!(failed == 0, "{failed} of {} were not built, see above", names.len());
    Ok(())
}

fn next<'a>(left: &Mutex<std::slice::Iter<'a, RecipeName>>) -> Option<&'a RecipeName> {
    left.lock().unwrap_or_else(PoisonError::into_inner).next()
}

fn build_one(
    build: &Build,
    name: RecipeName,
    key: Option<&SigningKey>,
    beside_others: bool,
) -> anyhow::Result<()> {
    let mut recipe = build.recipe(name)?;
    let (name, place) = (recipe.name(), build.place(recipe.name())?);
    if recipe.has_owners() && !owners::are_free() {
        return build_free(name, &place, build.key.as_deref(), beside_others);
    }
    let mut shown = std::io::stderr();
    let mut steps = Steps::new(&mut shown, recipe.steps());
    if beside_others {
        steps = steps.labelled(name);
    }
    let outcome = recipe::build(recipe.as_mut(), &place, &mut steps).context(name)?;
    if let Some(key) = key {
        signature::sign(&place.out, key)?;
    }
    match outcome {
        Outcome::Built => verify(&place.out, None)?,
        Outcome::UpToDate => println!("{} is up to date", place.out.display()),
    }
    Ok(())
}

/// Builds a recipe by this program once more, where its files can be of several owners.
fn build_free(recipe: &str, place: &Place, key: Option<&Path>, beside_others: bool) -> anyhow::Result<()> {
    let mut command = owners::free(&std::env::current_exe().context("this program's own path")?)?;
    command.args(["build", recipe, "--epoch", &place.epoch.to_string()]);
    command.arg("--out").arg(&place.out).arg("--cache").arg(&place.cache);
    if let Some(key) = key {
        command.arg("--key").arg(key);
    }
    if beside_others {
        command.arg("--beside-others");
    }
    let status = command.status().context("cannot start setpriv")?;
    anyhow::ensure!(status.success(), "{recipe}: was not built, see above ({status})");
    Ok(())
}

impl Build {
    fn recipe(&self, name: RecipeName) -> anyhow::Result<Box<dyn Recipe>> {
        let source = absolute(&self.source)?;
        let init = self.init.as_deref().map(absolute).transpose()?;
        Ok(match name {
            RecipeName::All => anyhow::bail!("all: is not one recipe"),
            RecipeName::Tiny => Box::new(Tiny { source, init }),
            RecipeName::LabHost => Box::new(LabHost),
            RecipeName::Debian => Box::new(Debian),
            RecipeName::Router => Box::new(Router { kind: RouterKind::Plain, source, init, proxy: None }),
            RecipeName::RouterL7 => Box::new(Router { kind: RouterKind::L7, source, init, proxy: None }),
            RecipeName::ConsoleProxy => {
                let proxy = self.proxy.as_deref().map(absolute).transpose()?;
                Box::new(Router { kind: RouterKind::ConsoleProxy, source, init, proxy })
            }
            RecipeName::Debs => Box::new(Debs { source, binaries: absolute(&self.bin_dir)? }),
        })
    }

    fn place(&self, recipe: &str) -> anyhow::Result<Place> {
        let out = match &self.out {
            Some(out) if self.recipe != RecipeName::All => out.clone(),
            Some(out) => out.join(recipe),
            None => Path::new("images").join(recipe),
        };
        let cache = self.cache.as_deref().unwrap_or(Path::new("images/.cache"));
        Ok(Place { out: absolute(&out)?, cache: absolute(cache)?, epoch: self.epoch })
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}", path.display()))
}

fn verify(folder: &Path, public_key: Option<&Path>) -> anyhow::Result<()> {
    let manifest = match public_key {
        Some(key) => signature::verify(folder, &signature::read_public_key(key)?)?,
        None => {
            Manifest::read(folder)?.with_context(|| format!("{} has no {FILE_NAME}", folder.display()))?
        }
    };
    manifest.verify(folder)?;
    for file in &manifest.files {
        println!("{}  {} ({} bytes)", file.sha256, folder.join(&file.name).display(), file.size);
    }
    let signature = folder.join(signature::FILE_NAME);
    match public_key {
        Some(key) => println!("signed with the key of {}", key.display()),
        None if signature.exists() => println!("signed; `podzol-image verify --public-key` says by whom"),
        None => {}
    }
    Ok(())
}

fn sign(folder: &Path, key: &Path) -> anyhow::Result<()> {
    signature::sign(folder, &signature::read_key(key)?)?;
    println!("{}", folder.join(signature::FILE_NAME).display());
    Ok(())
}

fn key_new(out: &Path) -> anyhow::Result<()> {
    let public = signature::make_key(out)?;
    println!("{}\n{}", out.join(signature::PRIVATE_KEY).display(), public.display());
    Ok(())
}
