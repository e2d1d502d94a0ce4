//! Carrying out what is asked of templates.

use std::path::Path;

use anyhow::Context;
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use podzol_vocab::Sha256;
use serde_json::{Value, json};
use sha2::Digest;
use tokio_util::io::ReaderStream;

use super::{Session, without_nulls};
use crate::arguments::{TemplateCreate, TemplateVerb, Wait};
use crate::things::{OPERATION, TEMPLATE};

impl Session {
    pub(super) async fn template(&self, verb: TemplateVerb) -> anyhow::Result<()> {
        match verb {
            TemplateVerb::Create(new) => self.template_create(new).await,
            TemplateVerb::Import { file, name, wait } => self.template_import(&file, name, wait).await,
            TemplateVerb::Upload { which, file, wait } => {
                let id = TEMPLATE.id(&self.api, &which).await?;
                self.answered(TEMPLATE, self.upload(&id, &file).await?, Some(wait)).await
            }
            TemplateVerb::List(list) => self.list(TEMPLATE, list).await,
            TemplateVerb::Show(which) => self.print(&TEMPLATE.show(&self.api, &which.which).await?).await,
            TemplateVerb::Delete(delete) => self.delete(TEMPLATE, delete).await,
        }
    }

    async fn template_create(&self, new: TemplateCreate) -> anyhow::Result<()> {
        let sha256 = match (&new.sha256, &new.file) {
            (Some(sha256), _) => sha256.clone(),
            (None, Some(file)) => digest(file)?.to_string(),
            (None, None) => anyhow::bail!("--sha256 is needed with a URL"),
        };
        let signed = match (&new.manifest, &new.signature) {
            (Some(manifest), Some(signature)) => {
                json!({"manifest": read(manifest)?, "signature": read(signature)?.trim()})
            }
            _ => Value::Null,
        };
        let body = json!({
            "name": new.name, "sha256": sha256, "format": new.format, "os": new.os, "url": new.template_url,
            "role": new.role, "extensions": new.extensions, "signed": signed,
        });
        let template = self.api.post(TEMPLATE.path, &without_nulls(body)).await?;
        let id = template["id"].as_str().unwrap_or_default();
        let Some(file) = new.file else {
            let operations = self.api.list(OPERATION.path, &[("subject".into(), id.to_owned())]).await?;
            let operation = operations.into_iter().next_back().unwrap_or_default();
            return self
                .answered(TEMPLATE, json!({"object": template, "operation": operation}), Some(new.wait))
                .await;
        };
        let answer = self.upload(id, &file).await?;
        self.answered(TEMPLATE, answer, Some(new.wait)).await
    }

    /// Imports an image with what stands beside it: the manifest says what it is, and a signature who made it.
    async fn template_import(&self, file: &Path, name: Option<String>, wait: Wait) -> anyhow::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let (manifest, signature) = (folder.join("manifest.json"), folder.join("manifest.sig"));
        let told: Value = match manifest.exists() {
            true => serde_json::from_str(&read(&manifest)?)
                .with_context(|| format!("{} cannot be read", manifest.display()))?,
            false => Value::Null,
        };
        let sha256 = digest(file)?.to_string();
        let own = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let listed = told["files"].as_array().into_iter().flatten().find(|listed| listed["name"] == *own);
        if let Some(listed) = listed
            && listed["sha256"] != *sha256
        {
            anyhow::bail!("{} is not the file that {} lists", file.display(), manifest.display());
        }
        let recipe = told["recipe"].as_str().filter(|_| listed.is_some());
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        let name = name.or_else(|| recipe.or(stem).map(str::to_owned)).context("--name is needed")?;
        let is_router = recipe.is_some_and(|recipe| recipe == "router" || recipe.starts_with("router-"));
        let is_signed = listed.is_some() && signature.exists();
        let new = TemplateCreate {
            name,
            file: Some(file.to_owned()),
            template_url: None,
            sha256: Some(sha256),
            format: if own.ends_with(".iso") { "iso" } else { "qcow2" }.into(),
            os: recipe.unwrap_or_default().to_owned(),
            role: match recipe {
                Some("console-proxy") => Some("console_proxy".to_owned()),
                _ => is_router.then(|| "router".to_owned()),
            },
            extensions: extensions(&told, recipe),
            manifest: is_signed.then_some(manifest),
            signature: is_signed.then_some(signature),
            wait,
        };
        self.template_create(new).await
    }

    async fn upload(&self, id: &str, path: &Path) -> anyhow::Result<Value> {
        let file =
            tokio::fs::File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
        let length = file.metadata().await?.len();
        let bar = ProgressBar::new(length);
        let style = "uploading {bar:30} {bytes} of {total_bytes} ({bytes_per_sec})";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
        let counted = bar.clone();
        let stream = ReaderStream::with_capacity(file, 256 << 10)
            .inspect_ok(move |chunk| counted.inc(chunk.len() as u64));
        let path = format!("{}/data", TEMPLATE.at(id));
        let answer = self.api.upload(&path, length, reqwest::Body::wrap_stream(stream)).await;
        bar.finish_and_clear();
        Ok(answer?)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What an image has beside what all have: as its manifest says, or, where it says nothing of that, as its recipe is.
fn extensions(manifest: &Value, recipe: Option<&str>) -> Vec<String> {
    match (recipe, manifest["extensions"].as_array()) {
        (Some(_), Some(own)) => own.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        (Some("router-l7"), None) => vec!["l7".to_owned()],
        _ => vec![],
    }
}

fn digest(path: &Path) -> anyhow::Result<Sha256> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut digest = sha2::Sha256::new();
    std::io::copy(&mut file, &mut digest).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sha256::from_bytes(digest.finalize().into()))
}
