//! Templates, and their uploads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use podzol_mgmt_api::template::{Template, TemplateCreate, TemplateExtension, TemplateRole, TemplateState};
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::{JsonCol, Tx, find, now, template};
use podzol_vocab::{ByteSize, Sha256, TemplateId};
use sha2::Digest;
use tokio::io::AsyncWriteExt;

use crate::error::Meaning;
use crate::operation::NewOperation;
use crate::place::is_full;
use crate::{Actor, App, AppError, Once, Secretive, operation, view};

impl Secretive for Template {}

/// How long an import may take.
const IMPORT: Duration = Duration::from_secs(6 * 3600);

/// How long whoever uploads may send nothing.
const UPLOAD_STALL: Duration = Duration::from_secs(60);

/// After how many bytes of an upload it is looked again whether the disk has room.
const LOOK_FOR_ROOM: u64 = 64 << 20;

/// Refuses an upload to a disk that is full: the database may be on it too.
fn must_have_room(folder: &Path) -> std::io::Result<Result<(), AppError>> {
    let disk = nix::sys::statvfs::statvfs(folder)?;
    let bytes = |blocks| blocks * disk.fragment_size();
    let (all, free) = (bytes(disk.blocks()), bytes(disk.blocks_available()));
    if !is_full(all as i64, (all - free) as i64) {
        return Ok(Ok(()));
    }
    let detail = format!("the management service has only {} left for uploads", ByteSize(free));
    Ok(Err(AppError::Exhausted { code: "no_room_for_upload", detail, reasons: vec![] }))
}

fn must_await_upload(row: &template::Model) -> Result<(), AppError> {
    let awaits = matches!(row.state.0, TemplateState::AwaitingUpload | TemplateState::Failed);
    if awaits && row.url.is_none() {
        return Ok(());
    }
    let detail = "this template awaits no upload".into();
    Err(AppError::Conflict { code: "no_upload_awaited", detail })
}

impl App {
    /// Creates a template. With a URL, an operation brings it into the pools; without, its upload does.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, or the URL is not one.
    pub async fn template_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: TemplateCreate,
    ) -> Result<Template, AppError> {
        actor.must_be_admin()?;
        if let Some(url) = &body.url {
            let parsed = reqwest::Url::parse(url).ok();
            if !parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
                return Err(AppError::invalid("url", "must be an http or https URL"));
            }
        }
        if body.os.len() > 200 || body.os.chars().any(char::is_control) {
            return Err(AppError::invalid("os", "must be at most 200 bytes of text on one line"));
        }
        check_signed(&body)?;
        check_extensions(&body)?;
        self.create(actor, once, async |tx| {
            let uploaded = body.url.is_none();
            let row = template::Model {
                id: TemplateId::new().into(),
                name: body.name.clone().into(),
                sha256: body.sha256.into(),
                format: JsonCol(body.format),
                os: body.os.clone(),
                url: body.url.clone(),
                state: JsonCol(if uploaded {
                    TemplateState::AwaitingUpload
                } else {
                    TemplateState::Importing
                }),
                size_bytes: None,
                virtual_size_bytes: None,
                error: None,
                created_at: now().0,
                role: body.role.map(JsonCol),
                signed: body.signed.clone().map(JsonCol),
                extensions: JsonCol(body.extensions.clone()),
            };
            tx.template_create(row.clone()).await.or_taken(|| AppError::taken("template", &body.name))?;
            if !uploaded {
                operation::start(tx, import(&row)).await?;
            }
            self.record(tx, actor, "template.create", None, "template", row.id.0, &body.name).await?;
            Ok(view::template(row))
        })
        .await
    }

    /// Takes the bytes of a template that awaits them. They are kept for pools that come later.
    ///
    /// # Errors
    /// When they do not have the template's digest: then nothing of them is kept.
    pub async fn template_upload<E: std::error::Error + Send + Sync + 'static>(
        &self,
        actor: &Actor,
        id: TemplateId,
        bytes: impl Stream<Item = Result<impl AsRef<[u8]>, E>> + Unpin,
    ) -> Result<Created<Template>, AppError> {
        actor.must_be_admin()?;
        let row = self.template_row(id).await?;
        must_await_upload(&row)?;
        self.receive(&row, bytes).await?;
        let tx = self.db.begin().await?;
        let mut row =
            find::<template::Entity>(tx.reader(), id).await?.ok_or(AppError::NotFound("template"))?;
        // Another upload of it may have ended meanwhile.
        must_await_upload(&row)?;
        row.state = JsonCol(TemplateState::Importing);
        row.error = None;
        tx.template_update(row.clone()).await?;
        let operation = operation::start(&tx, import(&row)).await?;
        self.record(&tx, actor, "template.upload", None, "template", id, &row.name.0).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: view::template(row), operation: view::operation(operation) })
    }

    async fn receive<E: std::error::Error + Send + Sync + 'static>(
        &self,
        row: &template::Model,
        mut bytes: impl Stream<Item = Result<impl AsRef<[u8]>, E>> + Unpin,
    ) -> Result<(), AppError> {
        let failed =
            |error: std::io::Error| AppError::Unavailable(format!("cannot keep the upload: {error}"));
        let folder = &self.settings.template_folder;
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        let partial = Partial(folder.join(format!("{}.{}.partial", row.sha256.0, uuid_suffix())));
        let mut file = tokio::fs::File::create(&partial.0).await.map_err(failed)?;
        let mut digest = sha2::Sha256::new();
        let (mut written, mut looked) = (0_u64, None);
        let silent =
            |_| AppError::invalid("body", format!("nothing of it came for {} s", UPLOAD_STALL.as_secs()));
        while let Some(chunk) = tokio::time::timeout(UPLOAD_STALL, bytes.next()).await.map_err(silent)? {
            if looked.is_none_or(|looked| written - looked >= LOOK_FOR_ROOM) {
                must_have_room(folder).map_err(failed)??;
                looked = Some(written);
            }
            let chunk =
                chunk.map_err(|error| AppError::invalid("body", format!("ended too early: {error}")))?;
            digest.update(chunk.as_ref());
            file.write_all(chunk.as_ref()).await.map_err(failed)?;
            written += chunk.as_ref().len() as u64;
        }
        // What the last write ran into is told here, and by nothing after.
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        let found = Sha256::from_bytes(digest.finalize().into());
        if found != row.sha256.0 {
            let rule = format!("must have the SHA-256 digest {}, not {found}", row.sha256.0);
            return Err(AppError::invalid("body", rule));
        }
        tokio::fs::rename(&partial.0, self.template_file(row.sha256.0)).await.map_err(failed)?;
        tokio::fs::File::open(folder).await.map_err(failed)?.sync_all().await.map_err(failed)
    }

    /// The file of an uploaded template.
    pub fn template_file(&self, sha256: Sha256) -> PathBuf {
        self.settings.template_folder.join(sha256.to_string())
    }

    /// The templates.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn template_list(&self, query: &PageQuery) -> Result<Page<Template>, AppError> {
        let page = view::page_of(query)?;
        let rows = template::list(self.db.reader(), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::template).collect(), |template| {
            template.id.to_string()
        }))
    }

    /// A template.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none.
    pub async fn template_show(&self, id: TemplateId) -> Result<Template, AppError> {
        Ok(view::template(self.template_row(id).await?))
    }

    /// Deletes a template of which there is no VM, and which is in no VM's drive. Its copies in pools are removed by the
    /// reconciler of leftovers.
    ///
    /// # Errors
    /// When there is one.
    pub async fn template_delete(&self, actor: &Actor, id: TemplateId) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let row = self.template_row(id).await?;
        let tx = self.db.begin().await?;
        tx.template_delete(id).await.or_referred(|| {
            AppError::in_use("there are still VMs of this template, or with it in their drives")
        })?;
        self.record(&tx, actor, "template.delete", None, "template", id, &row.name.0).await?;
        Ok(tx.commit().await?)
    }

    /// Has a template brought into the pools once more.
    pub(crate) async fn template_import_again(&self, tx: &Tx, row: &template::Model) -> Result<(), AppError> {
        operation::start(tx, import(row)).await?;
        Ok(())
    }

    async fn template_row(&self, id: TemplateId) -> Result<template::Model, AppError> {
        find::<template::Entity>(self.db.reader(), id).await?.ok_or(AppError::NotFound("template"))
    }
}

/// The largest manifest in bytes: ten times as much as the largest one of a template of the project's own.
const MAX_MANIFEST: usize = 1 << 20;

fn check_signed(body: &TemplateCreate) -> Result<(), AppError> {
    let Some(signed) = &body.signed else { return Ok(()) };
    if signed.manifest.len() > MAX_MANIFEST {
        return Err(AppError::invalid("signed.manifest", format!("must be at most {MAX_MANIFEST} bytes")));
    }
    if signed.signature.len() > 256 {
        return Err(AppError::invalid("signed.signature", "must be an Ed25519 signature in Base64"));
    }
    if !signed.manifest.contains(&body.sha256.to_string()) {
        return Err(AppError::invalid("signed.manifest", "must list the image's SHA-256"));
    }
    Ok(())
}

/// The recipes of routers, and what templates of them can do beside what all can (`podzol-image`), where the manifest does not
/// say that itself: those of version 0.2.0.
const ROUTERS: [(&str, &[TemplateExtension]); 2] = [("router", &[]), ("router-l7", &[TemplateExtension::L7])];

/// Refuses extensions of what has none, and others than a signed manifest says.
fn check_extensions(body: &TemplateCreate) -> Result<(), AppError> {
    if body.role != Some(TemplateRole::Router) {
        return match body.extensions.is_empty() {
            true => Ok(()),
            false => Err(AppError::invalid("extensions", "must be left out but of routers")),
        };
    }
    let manifest =
        body.signed.as_ref().map(|signed| serde_json::from_str::<serde_json::Value>(&signed.manifest));
    let Some(Ok(manifest)) = manifest else { return Ok(()) };
    if let Ok(own) = serde_json::from_value::<BTreeSet<TemplateExtension>>(manifest["extensions"].clone()) {
        return match body.extensions == own {
            true => Ok(()),
            false => Err(AppError::invalid("extensions", "must be those that the signed manifest says")),
        };
    }
    let recipe = ROUTERS.iter().find(|(recipe, _)| manifest["recipe"] == **recipe);
    match recipe {
        Some((recipe, own)) if !body.extensions.iter().eq(*own) => {
            let rule = format!("must be those of {recipe}, which the signed manifest says that it is");
            Err(AppError::invalid("extensions", rule))
        }
        _ => Ok(()),
    }
}

/// A file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn uuid_suffix() -> String {
    podzol_vocab::OperationId::new().to_string()
}

/// The operation that brings a template into the pools.
pub(crate) fn import(row: &template::Model) -> NewOperation {
    NewOperation {
        kind: "template.import",
        account: None,
        subject_kind: "template",
        subject: row.id.to_string(),
        goal: None,
        queue: String::new(),
        deadline: Some(IMPORT),
    }
}
