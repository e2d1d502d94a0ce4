//! `podzol-image`: builds Podzol's images and packages, and checks what was built.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use podzol_image::manifest::{FILE_NAME, Manifest};
use podzol_image::recipe::{
    self, DEFAULT_EPOCH, Debian, Debs, LabHost, Outcome, Place, Recipe, Router, Tiny,
};
use podzol_image::steps::Steps;

/// Builds Podzol's VM templates, lab host image and Debian packages, byte for byte reproducible.
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
    /// Compares the files of a folder with its manifest.
    Verify {
        /// The output folder of a build.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Build {
    /// What to build.
    recipe: RecipeName,
    /// Where the outputs go [default: images/<RECIPE>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where fetched packages and compiled programs are kept for the next build [default: images/.cache].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The time that outputs carry, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", default_value_t = DEFAULT_EPOCH)]
    epoch: u64,
    /// Podzol's source tree (tiny, router: the init's source; debs: the `package/` folders).
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// tiny, router: a compiled init, to be taken instead of compiling it.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// debs: the folder with the compiled programs.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    bin_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RecipeName {
    /// The tiny test VM's template.
    Tiny,
    /// The root file system, kernel and initramfs of the lab's emulated servers.
    LabHost,
    /// The template of a Debian VM with cloud-init.
    Debian,
    /// The template of the routing appliance.
    Router,
    /// Podzol's own Debian packages.
    Debs,
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Build(build) => run(build),
        Command::Verify { folder } => verify(&folder),
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
    let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| format!("{}", path.display()));
    let source = absolute(build.source)?;
    let mut recipe: Box<dyn Recipe> = match build.recipe {
        RecipeName::Tiny => Box::new(Tiny { source, init: build.init.map(absolute).transpose()? }),
        RecipeName::LabHost => Box::new(LabHost),
        RecipeName::Debian => Box::new(Debian),
        RecipeName::Router => Box::new(Router { source, init: build.init.map(absolute).transpose()? }),
        RecipeName::Debs => Box::new(Debs { source, binaries: absolute(build.bin_dir)? }),
    };
    let out = build.out.unwrap_or_else(|| PathBuf::from("images").join(recipe.name()));
    let cache = build.cache.unwrap_or_else(|| PathBuf::from("images/.cache"));
    let place = Place { out: absolute(out)?, cache: absolute(cache)?, epoch: build.epoch };
    let mut shown = std::io::stderr();
    let mut steps = Steps::new(&mut shown, recipe.steps());
    match recipe::build(recipe.as_mut(), &place, &mut steps)? {
        Outcome::Built => verify(&place.out),
        Outcome::UpToDate => {
            println!("{} is up to date", place.out.display());
            Ok(())
        }
    }
}

fn verify(folder: &std::path::Path) -> anyhow::Result<()> {
    let manifest =
        Manifest::read(folder)?.with_context(|| format!("{} has no {FILE_NAME}", folder.display()))?;
    manifest.verify(folder)?;
    for file in &manifest.files {
        println!("{}  {} ({} bytes)", file.sha256, folder.join(&file.name).display(), file.size);
    }
    Ok(())
}
