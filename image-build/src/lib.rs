//! Builds what Podzol ships: the templates of the routing appliance, of the tiny test VM and of a Debian VM, the lab's host
//! image and the Debian packages.
//!
//! A recipe converges an output folder to its inputs: it first finds out what those are (the packages that the mirror
//! has now, the binaries, the tools, the source epoch and the recipe itself), and if the folder's manifest names the same
//! ones, nothing is done. Otherwise it builds in a folder of its own beside the outputs, moves the files to their places and
//! writes the manifest last. An interrupted build leaves the outputs of the one before, or if it was moving files, no
//! manifest: so it is never taken for a finished one. What else it leaves, the next build removes.
//!
//! The same inputs give the same bytes, whatever the folder, the user or the clock. Nothing is fetched but from the
//! Debian mirrors in the machine's own apt sources, and apt checks their signatures.
//!
//! Beside its outputs a folder has a bill of materials ([`sbom`]), and if an operator's key was given, a signature over the
//! manifest ([`signature`]).
//!
//! This crate does not know what runs in the images, nor how a template gets to a storage server. It fails with the
//! program, its arguments and what it said; with the file; or with all missing tools at once.
//!
//! # Design notes
//! Programs run one after another and nothing waits for the network but apt, so this crate is synchronous. `podzol-rpc`
//! has a helper of the same kind for the daemons; it would bring TLS and an async runtime into a build tool.

pub mod apt;
pub mod cpio;
pub mod crates;
pub mod deb;
pub mod disk;
pub mod elf;
pub mod files;
pub mod grub;
pub mod init;
pub mod kernel;
pub mod libraries;
pub mod manifest;
pub mod owners;
pub mod parts;
pub mod program;
pub mod recipe;
pub mod sbom;
pub mod seed;
pub mod signature;
pub mod sources;
pub mod steps;
pub mod tools;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Programs that the recipe needs are not installed.
    #[error(transparent)]
    Tools(#[from] tools::MissingTools),
    /// The machine's apt sources have no mirror for it.
    #[error(transparent)]
    Sources(#[from] sources::SourcesError),
    /// The console proxy would have no page in it.
    #[error("{} is not there: build the console's page first, in console-proxy/viewer, with npm ci and npm run build", .0.display())]
    NoPage(std::path::PathBuf),
    /// A program failed.
    #[error(transparent)]
    Program(#[from] program::ProgramError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// apt answered what is not understood.
    #[error(transparent)]
    Apt(#[from] apt::AptError),
    /// A library of a program is missing.
    #[error(transparent)]
    Library(#[from] libraries::MissingLibrary),
    /// A kernel module is missing or in an unknown form.
    #[error(transparent)]
    Kernel(#[from] kernel::KernelError),
    /// A program is not of the kind that the image needs.
    #[error(transparent)]
    Elf(#[from] elf::ElfError),
    /// The disk cannot be put together.
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    /// The boot loader cannot be put in its place.
    #[error(transparent)]
    Grub(#[from] grub::GrubError),
    /// A Debian package cannot be put together.
    #[error(transparent)]
    Deb(#[from] deb::DebError),
    /// The outputs do not fit their manifest.
    #[error(transparent)]
    Manifest(#[from] manifest::ManifestError),
    /// The crates of a program cannot be known.
    #[error(transparent)]
    Crates(#[from] crates::CratesError),
    /// What else is in an image cannot be known.
    #[error(transparent)]
    Parts(#[from] parts::PartsError),
    /// A key or a signature cannot be used.
    #[error(transparent)]
    Signing(#[from] signature::SigningError),
    /// What was installed is not what was resolved.
    #[error("the mirror changed while the image was built; try again. Differences: {}", differences.join(", "))]
    Moved {
        /// The packages that differ.
        differences: Vec<String>,
    },
}
