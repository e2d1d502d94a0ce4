//! The command line of VMs and volumes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Delete, List, Wait, Which};

#[derive(Debug, Subcommand)]
pub(crate) enum VmVerb {
    /// Creates one and starts it.
    Create(VmCreate),
    /// Lists them.
    List(List),
    /// Shows one, with how long each step of its start took.
    Show(Which),
    /// Deletes one, by force if it runs. It can be recovered for a while, and goes for good with its root volume then.
    /// Its data volumes stay.
    Delete {
        /// Its name or id.
        which: String,
        /// Has it go for good at once.
        #[arg(long)]
        expunge: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Recovers a deleted one: it is stopped then.
    Recover(Delete),
    /// Gives a stopped one another offering.
    Resize {
        /// Its name or id.
        which: String,
        #[arg(long)]
        offering: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Starts one.
    Start(Delete),
    /// Stops one.
    Stop {
        /// Its name or id.
        which: String,
        /// How long its operating system has to shut down before it is ended by force, in seconds.
        #[arg(long)]
        grace: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Shows where one would go if it were started or moved now, and why not elsewhere.
    Explain(Which),
    /// Reboots one.
    Reboot(Delete),
    /// Has one stand still; it keeps its memory.
    Pause(Delete),
    /// Has a paused one run on.
    Resume(Delete),
    /// Moves a running one to another host.
    Migrate {
        /// Its name or id.
        which: String,
        /// The host; chosen as for a new VM if left out.
        #[arg(long = "to", value_name = "HOST")]
        to: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Gives one a new password, and prints it: it is shown only here. The VM sets it at its next boot, if it asks its
    /// router for one.
    ResetPassword(Delete),
    /// Gives one a network interface, or takes one from it, while it runs too.
    #[command(subcommand)]
    Nic(NicVerb),
    /// Puts an ISO into the CD drive of one, or takes it out, while it runs too.
    #[command(subcommand)]
    Iso(IsoVerb),
    /// Prints the end of what one wrote to its serial port.
    ConsoleLog {
        /// Its name or id.
        which: String,
        /// The most bytes.
        #[arg(long, default_value_t = 65536)]
        bytes: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct VmCreate {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) offering: String,
    #[arg(long)]
    pub(crate) template: String,
    /// A network; may be given several times.
    #[arg(long = "network", required = true)]
    pub(crate) networks: Vec<String>,
    /// A file with SSH public keys, one a line.
    #[arg(long)]
    pub(crate) ssh_key_file: Option<PathBuf>,
    /// A file with cloud-init user-data.
    #[arg(long)]
    pub(crate) user_data_file: Option<PathBuf>,
    /// The affinity group that it is in.
    #[arg(long)]
    pub(crate) affinity_group: Option<String>,
    /// Shows where it would go and why not elsewhere, and creates nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Its account; your own if left out.
    #[arg(long)]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NicVerb {
    /// Gives a VM a network interface.
    Add {
        /// The VM's name or id.
        which: String,
        /// The network, of the VM's account and zone.
        #[arg(long)]
        network: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Changes whether one may send what is not from its own addresses, as a router in a VM does.
    Route {
        /// The interface's id, as `vm show` tells it.
        nic: String,
        /// `on` or `off`.
        #[arg(value_parser = ["on", "off"])]
        switch: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Takes a network interface from its VM.
    Remove {
        /// The interface's id, as `vm show` tells it.
        nic: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IsoVerb {
    /// Puts an ISO into a VM's CD drive.
    Attach {
        /// The VM's name or id.
        which: String,
        /// The name or id of the ISO, which is a template.
        iso: String,
        /// Has the VM boot from it, from its next start on.
        #[arg(long)]
        boot: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Takes the ISO out of a VM's CD drive.
    Detach(Delete),
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Creates an empty one.
    Create(VolumeCreate),
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Destroys one that no VM has.
    Delete(Delete),
    /// Gives one a larger size, while its VM runs too.
    Resize {
        /// Its name or id.
        which: String,
        /// Its new size.
        #[arg(long)]
        size_gib: u64,
        #[command(flatten)]
        wait: Wait,
    },
    /// Gives one to a VM, while it runs too.
    Attach {
        /// Its name or id.
        which: String,
        /// The VM's name or id.
        #[arg(long)]
        vm: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Takes one from its VM.
    Detach(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct VolumeCreate {
    pub(crate) name: String,
    /// Its size.
    #[arg(long)]
    pub(crate) size_gib: u64,
    /// The zone whose VMs may have it.
    #[arg(long)]
    pub(crate) zone: String,
    /// Its account; your own if left out.
    #[arg(long)]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
