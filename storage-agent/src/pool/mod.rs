//! A pool: what is in its folder, and who works on what.
//!
//! The folder is read once, when the pool is opened. From then on memory says what is there: a call decides and notes
//! what it works on under one short lock, works on the disk outside it, and notes how that ended under it again.
//!
//! ```text
//!   volume     absent --put--> busy --made--> whole --delete--> busy --destroyed--> absent
//!                                \--failed--> absent              \--failed--> whole, or absent once its plan is gone
//!   template   absent --accept--> moving --in its place--> there --delete--> moving --removed--> absent
//! ```
//! A call for what another call works on is answered "unavailable", and may be made again. So a call whose caller went
//! away and the next of the same kind never share files, and a template stays as long as a volume over it is being made.

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use podzol_storage_api::{Contents, TemplateFormat, VolumePlan, VolumeStatus};
use podzol_vocab::{ByteSize, ErrorCode, PoolId, Sha256, VolumeId, WireError};

use crate::pool::folder::{Folder, failed};
use crate::qcow2;

/// A pool that is open. There is one of it, which is shared.
#[derive(Debug)]
pub struct Pool {
    /// Which pool.
    pub id: PoolId,
    folder: Folder,
    state: Mutex<State>,
}

/// A template that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// What it is.
    pub format: TemplateFormat,
    /// The size of the file.
    pub size: ByteSize,
    /// The size of the disk in it, or of the file system in an ISO.
    pub virtual_size: ByteSize,
}

/// One part in so many of a pool's disk is left free by templates.
const RESERVE: u64 = 50;

/// The space of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// How much its file system holds.
    pub capacity: ByteSize,
    /// How much of that is used.
    pub used: ByteSize,
    /// The sum of the volumes' sizes.
    pub allocated: ByteSize,
}

#[derive(Debug, Default)]
struct State {
    /// The volumes that are whole.
    volumes: BTreeMap<VolumeId, VolumePlan>,
    /// The volumes that a call works on, and what they are or will be.
    busy: BTreeMap<VolumeId, Option<VolumePlan>>,
    templates: BTreeMap<Sha256, Template>,
    /// The templates that a call puts in their place or removes.
    moving: BTreeSet<Sha256>,
    /// Whether the pool was closed for good.
    removed: bool,
}

/// A volume that one call works on alone, until this is dropped.
struct Turn<'a> {
    pool: &'a Pool,
    volume: VolumeId,
    /// What the volume is, if it is whole when this is dropped.
    whole: Option<VolumePlan>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.busy.remove(&self.volume);
        if let Some(plan) = self.whole.take() {
            state.volumes.insert(self.volume, plan);
        }
    }
}

impl Pool {
    /// Makes a pool in an empty folder, and opens it; or opens it, when it is there.
    ///
    /// # Errors
    /// When the folder holds something else, and as [`Pool::open`].
    pub fn create(id: PoolId, folder: &Path, owner: u32) -> Result<Self, WireError> {
        Folder::initialise(id, folder)?;
        Self::open(id, folder, owner)
    }

    /// Opens a pool that is in this folder, and removes what a crash has left half done.
    ///
    /// # Errors
    /// When the folder does not bear the pool's mark, or anything of it cannot be read.
    pub fn open(id: PoolId, folder: &Path, owner: u32) -> Result<Self, WireError> {
        let (folder, found) = Folder::open(id, folder, owner)?;
        let state = State { volumes: found.volumes, templates: found.templates, ..State::default() };
        Ok(Self { id, folder, state: Mutex::new(state) })
    }

    /// Closes the pool for good: nothing is made in it any more. The same again is success.
    ///
    /// # Errors
    /// When there are volumes in it.
    pub fn close(&self) -> Result<(), WireError> {
        let mut state = self.state();
        if !state.volumes.is_empty() {
            return Err(WireError::new(ErrorCode::Conflict, "there are volumes in the pool"));
        }
        if let Some(volume) = state.busy.keys().next() {
            return Err(being_worked_on(*volume));
        }
        state.removed = true;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// The file that an import is written to.
    pub(crate) fn incoming_file(&self, sha256: Sha256, format: TemplateFormat) -> PathBuf {
        self.folder.incoming_file(sha256, format)
    }

    /// A template, if it is here.
    pub fn template(&self, sha256: Sha256) -> Option<Template> {
        self.still_there(&mut self.state(), sha256)
    }

    /// A template, if its file is there too. One whose file somebody has removed is forgotten, and can be imported again.
    fn still_there(&self, state: &mut State, sha256: Sha256) -> Option<Template> {
        let template = state.templates.get(&sha256).copied()?;
        // What is on a disk that is not mounted is not gone.
        if self.folder.has_template(sha256, &template) || self.folder.must_be_of(self.id).is_err() {
            return Some(template);
        }
        tracing::warn!(%sha256, pool = %self.id, "the file of a template has vanished from the pool");
        state.templates.remove(&sha256);
        None
    }

    /// Puts an imported file in its place, if it is an image that may be one.
    pub(crate) fn accept_template(
        &self,
        sha256: Sha256,
        format: TemplateFormat,
    ) -> Result<Template, WireError> {
        // Hosts may have it open: another file in its place would be gone for them.
        if let Some(there) = self.begin_accept(sha256)? {
            return Ok(there);
        }
        let accepted = self.folder.accept_template(sha256, format);
        let mut state = self.state();
        state.moving.remove(&sha256);
        state.templates.extend(accepted.iter().map(|template| (sha256, *template)));
        accepted
    }

    /// The template that is there already, if it is.
    fn begin_accept(&self, sha256: Sha256) -> Result<Option<Template>, WireError> {
        let mut state = self.state();
        self.must_be_open(&state)?;
        state.must_not_be_moving(sha256)?;
        let there = self.still_there(&mut state, sha256);
        if there.is_none() {
            state.moving.insert(sha256);
        }
        Ok(there)
    }

    /// Removes a template, if no volume is based on it; success when it is not there.
    ///
    /// # Errors
    /// When one is, or is being made or destroyed.
    pub fn template_delete(&self, sha256: Sha256) -> Result<(), WireError> {
        let template = self.begin_template_delete(sha256)?;
        let removed = self.folder.remove_template(sha256);
        let mut state = self.state();
        state.moving.remove(&sha256);
        removed.map_err(|error| {
            state.templates.extend(template.map(|template| (sha256, template)));
            failed("remove the template", &error)
        })
    }

    fn begin_template_delete(&self, sha256: Sha256) -> Result<Option<Template>, WireError> {
        let mut state = self.state();
        self.must_be_open(&state)?;
        state.must_not_be_moving(sha256)?;
        let based = |plan: &VolumePlan| plan.template == Some(sha256);
        if let Some((volume, _)) = state.volumes.iter().find(|(_, plan)| based(plan)) {
            return Err(WireError::new(ErrorCode::Conflict, format!("volume {volume} is based on it")));
        }
        if let Some((volume, _)) = state.busy.iter().find(|(_, plan)| plan.as_ref().is_some_and(based)) {
            return Err(being_worked_on(*volume));
        }
        state.moving.insert(sha256);
        Ok(state.templates.remove(&sha256))
    }

    /// Makes a volume, or gives it a larger size; the same again is success, and puts right a size that somebody else has
    /// changed. A volume that a VM has open has its new size
    /// from there first; then this only notes it.
    ///
    /// # Errors
    /// When it is there with a larger size or another template, another call works on it, its template is not there or an
    /// ISO, or the disk is full.
    pub fn volume_put(&self, volume: VolumeId, plan: &VolumePlan) -> Result<VolumeStatus, WireError> {
        let status = VolumeStatus { file: format!("volumes/{volume}.qcow2"), size: plan.size };
        let Some(mut turn) = self.begin_put(volume, plan)? else { return Ok(status) };
        if turn.whole.is_some() {
            self.folder.grow_volume(volume, plan).map_err(|error| failed("resize the volume", &error))?;
            turn.whole = Some(plan.clone());
            return Ok(status);
        }
        let backing = plan.template.map(|sha256| format!("../templates/{sha256}.qcow2"));
        let image = qcow2::image(plan.size, backing.as_deref())
            .map_err(|rule| WireError::new(ErrorCode::Invalid, rule))?;
        if let Err(error) = self.folder.make_volume(volume, plan, &image) {
            // While its plan is there it counts as whole at the next start, so its image stays too.
            let _ = self.folder.remove_plan(volume).and_then(|()| self.folder.remove_image(volume));
            return Err(failed("make the volume", &error));
        }
        turn.whole = Some(plan.clone());
        Ok(status)
    }

    /// The turn to make or grow a volume, or nothing if it is there as it should be.
    fn begin_put(&self, volume: VolumeId, plan: &VolumePlan) -> Result<Option<Turn<'_>>, WireError> {
        let mut state = self.state();
        self.must_be_open(&state)?;
        state.must_not_be_busy(volume)?;
        match state.volumes.get(&volume) {
            Some(there)
                if there == plan && self.folder.volume_size(volume).is_none_or(|size| size >= plan.size) =>
            {
                return Ok(None);
            }
            Some(there) if there.template == plan.template && there.size <= plan.size => {
                let whole = state.volumes.remove(&volume);
                state.busy.insert(volume, Some(plan.clone()));
                return Ok(Some(Turn { pool: self, volume, whole }));
            }
            Some(_) => {
                let rule = "the volume is there with a larger size or another template";
                return Err(WireError::new(ErrorCode::Conflict, rule));
            }
            None => {}
        }
        if let Some(sha256) = plan.template {
            state.must_not_be_moving(sha256)?;
            let template = self.still_there(&mut state, sha256).ok_or_else(|| {
                WireError::new(ErrorCode::NotFound, format!("template {sha256} is not in the pool"))
            })?;
            if template.format == TemplateFormat::Iso {
                let rule = format!("template: {sha256} is an ISO, of which no volume can be made");
                return Err(WireError::new(ErrorCode::Invalid, rule));
            }
            if plan.size < template.virtual_size {
                let rule = format!("size: must be at least the template's, {}", template.virtual_size);
                return Err(WireError::new(ErrorCode::Invalid, rule));
            }
        }
        state.busy.insert(volume, Some(plan.clone()));
        Ok(Some(Turn { pool: self, volume, whole: None }))
    }

    /// Destroys a volume; success when it is not there.
    ///
    /// # Errors
    /// When another call works on it, and what the operating system says.
    pub fn volume_delete(&self, volume: VolumeId) -> Result<(), WireError> {
        let io = |error| failed("destroy the volume", &error);
        let mut turn = self.begin_delete(volume)?;
        self.folder.remove_plan(volume).map_err(io)?;
        turn.whole = None;
        self.folder.remove_image(volume).map_err(io)
    }

    /// The turn to destroy a volume, whether it is there or not: a call that failed may have left some of it.
    fn begin_delete(&self, volume: VolumeId) -> Result<Turn<'_>, WireError> {
        let mut state = self.state();
        self.must_be_open(&state)?;
        state.must_not_be_busy(volume)?;
        let whole = state.volumes.remove(&volume);
        state.busy.insert(volume, whole.clone());
        Ok(Turn { pool: self, volume, whole })
    }

    fn must_be_open(&self, state: &State) -> Result<(), WireError> {
        if state.removed { Err(no_pool(self.id)) } else { Ok(()) }
    }

    /// What is in the pool: the volumes that are whole, and the templates, as far as their files are there.
    ///
    /// # Errors
    /// When the pool's folder is not there any more.
    pub fn contents(&self) -> Result<Contents, WireError> {
        self.folder.must_be_of(self.id)?;
        let (mut volumes, mut templates) = {
            let state = self.state();
            let templates = state.templates.iter().map(|(sha256, template)| (*sha256, *template));
            // One that grows is there all the time; whether another one is there yet or still, its file says.
            let busy = state.busy.iter().filter(|(_, plan)| plan.is_some()).map(|(volume, _)| *volume);
            (state.volumes.keys().copied().chain(busy).collect::<Vec<_>>(), templates.collect::<Vec<_>>())
        };
        volumes.retain(|volume| self.folder.has_volume(*volume));
        templates.retain(|(sha256, template)| self.folder.has_template(*sha256, template));
        let templates = templates.into_iter().map(|(sha256, _)| sha256).collect();
        let size = |volume: &VolumeId| Some((*volume, self.folder.volume_size(*volume)?));
        let sizes = volumes.iter().filter_map(size).collect();
        Ok(Contents { volumes, templates, sizes, exported_to: None })
    }

    /// Refuses a template that would leave less than [`RESERVE`] of the disk, which running VMs write to.
    ///
    /// # Errors
    /// Exhausted if so; else see [`Pool::space`].
    pub fn must_have_room(&self, more: ByteSize) -> Result<(), WireError> {
        let Space { capacity, used, .. } = self.space()?;
        let free = ByteSize(capacity.0.saturating_sub(used.0));
        if free.0 >= more.0.saturating_add(capacity.0 / RESERVE) {
            return Ok(());
        }
        let message = format!(
            "it has {more}, and of the {free} that are free in the pool one {RESERVE}th of all is kept"
        );
        Err(WireError::new(ErrorCode::Exhausted, message))
    }

    /// Its space.
    ///
    /// # Errors
    /// When the disk cannot be asked, or the pool's folder is not there any more.
    pub fn space(&self) -> Result<Space, WireError> {
        self.folder.must_be_of(self.id)?;
        let (capacity, used) =
            self.folder.space().map_err(|error| failed("measure the pool's disk", &error))?;
        let state = self.state();
        let plans = state.volumes.values().chain(state.busy.values().flatten());
        let allocated = ByteSize(plans.map(|plan| plan.size.0).sum());
        Ok(Space { capacity, used, allocated })
    }
}

impl State {
    fn must_not_be_busy(&self, volume: VolumeId) -> Result<(), WireError> {
        if self.busy.contains_key(&volume) { Err(being_worked_on(volume)) } else { Ok(()) }
    }

    fn must_not_be_moving(&self, sha256: Sha256) -> Result<(), WireError> {
        if self.moving.contains(&sha256) {
            let problem = format!("template {sha256} is being worked on");
            return Err(WireError::new(ErrorCode::Unavailable, problem));
        }
        Ok(())
    }
}

/// Removes the files of a pool that was closed; what is removed already is no error.
///
/// # Errors
/// What the operating system says.
pub fn remove(id: PoolId, folder: &Path) -> Result<(), WireError> {
    Folder::remove(id, folder)
}

/// There is no pool with this id.
pub(crate) fn no_pool(id: PoolId) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("there is no pool {id}"))
}

fn being_worked_on(volume: VolumeId) -> WireError {
    WireError::new(ErrorCode::Unavailable, format!("volume {volume} is being worked on"))
}

#[cfg(test)]
mod tests;
