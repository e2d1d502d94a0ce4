//! The command line of templates.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Delete, List, Wait, Which};

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateVerb {
    /// Creates one.
    Create(TemplateCreate),
    /// Imports one that `podzol-image` has built: its name, what it is for and who has signed it stand beside it.
    Import {
        /// Its image file.
        file: PathBuf,
        /// Its name; that of its recipe if left out.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Uploads the file of one whose upload broke off.
    Upload {
        /// Its name or id.
        which: String,
        /// Its image file.
        #[arg(long)]
        file: PathBuf,
        #[command(flatten)]
        wait: Wait,
    },
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Deletes one.
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct TemplateCreate {
    pub(crate) name: String,
    /// An image file on this machine, to be uploaded.
    #[arg(long, group = "source")]
    pub(crate) file: Option<PathBuf>,
    /// A URL from which the storage servers get it.
    #[arg(long, group = "source", requires = "sha256")]
    pub(crate) template_url: Option<String>,
    /// SHA-256 of the image file; computed here for a file if left out.
    #[arg(long)]
    pub(crate) sha256: Option<String>,
    /// What the image file is.
    #[arg(long, default_value = "qcow2", value_parser = ["qcow2", "iso"])]
    pub(crate) format: String,
    /// The operating system in it, in words.
    #[arg(long, default_value = "")]
    pub(crate) os: String,
    /// What VMs of it are for, if that is a part of Podzol: then customers can make none of it.
    #[arg(long, value_parser = ["router", "console_proxy"])]
    pub(crate) role: Option<String>,
    /// What they can do beside what all of that role can: balance HTTP, or know IPv6; may be given several times.
    #[arg(long = "extension", requires = "role", value_parser = ["l7", "ipv6"])]
    pub(crate) extensions: Vec<String>,
    /// The manifest that lists the image file, if it is signed.
    #[arg(long, requires = "signature")]
    pub(crate) manifest: Option<PathBuf>,
    /// The signature over the manifest.
    #[arg(long, requires = "manifest")]
    pub(crate) signature: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
