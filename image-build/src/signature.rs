//! Signed outputs: `manifest.sig` beside the manifest, which is an Ed25519 signature over the bytes of `manifest.json`, in
//! Base64 with a newline. As the manifest has the SHA-256 of every file, it vouches for all of them.
//!
//! A private key is read from a file and is nowhere else: not in an argument, nor in what is printed or fails.
//! A build removes the signature of the build before, so there is never one of another manifest.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use podzol_image_signature::{PublicKey, Signature, SignatureError, SigningKey};
use podzol_vocab::Secret;

use crate::BuildError;
use crate::files;
use crate::manifest::{self, Manifest};

/// The signature's name in the output folder.
pub const FILE_NAME: &str = "manifest.sig";
/// The private key's file.
pub const PRIVATE_KEY: &str = "signing.key";
/// The public key's file.
pub const PUBLIC_KEY: &str = "signing.pub";
/// A private key that is being written.
const HALF_KEY: &str = "signing.key.new";

/// A key or a signature cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// No key can be made.
    #[error("cannot make a key")]
    Generate(#[source] SignatureError),
    /// There is a key already.
    #[error("{path} is there already; a key is never written over", path = .0.display())]
    Exists(PathBuf),
    /// A file is not what it should be, or does not fit the manifest.
    #[error("{path}", path = path.display())]
    File {
        /// The key's or the signature's file.
        path: PathBuf,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// There is no signature.
    #[error("{folder} is not signed: it has no {FILE_NAME}", folder = .0.display())]
    NotSigned(PathBuf),
    /// There is nothing to sign.
    #[error("{folder} has no {name}", folder = .0.display(), name = manifest::FILE_NAME)]
    NoManifest(PathBuf),
}

/// Makes a key in a folder: [`PRIVATE_KEY`], which its owner alone may read, and [`PUBLIC_KEY`]. Gives the latter's path. Of a
/// private key that is there alone, the public one is made.
///
/// # Errors
/// When both are there already, or the public one alone, or they cannot be written.
pub fn make_key(folder: &Path) -> Result<PathBuf, BuildError> {
    let (private, public) = (folder.join(PRIVATE_KEY), folder.join(PUBLIC_KEY));
    if private.exists() && !public.exists() {
        // A crash came between the two.
        files::remove(&folder.join(HALF_KEY))?;
        files::write(&public, read_key(&private)?.public_key().to_string())?;
        return Ok(public);
    }
    if let Some(path) = [&private, &public].into_iter().find(|path| path.exists()) {
        return Err(SigningError::Exists(path.clone()).into());
    }
    let (text, key) = SigningKey::generate().map_err(SigningError::Generate)?;
    files::create_folder(folder)?;
    // Whole or not at all, and never over another one: a half that a crash leaves is of no name that anybody reads.
    let half = folder.join(HALF_KEY);
    files::remove(&half)?;
    let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half);
    let mut file = create.map_err(files::context("create", &half))?;
    let written = file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all());
    written.map_err(files::context("write", &half))?;
    std::fs::hard_link(&half, &private).map_err(files::context("create", &private))?;
    files::remove(&half)?;
    files::write(&public, key.public_key().to_string())?;
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(files::context("write", folder))?;
    Ok(public)
}

/// Reads a private key.
///
/// # Errors
/// When the file is none.
pub fn read_key(path: &Path) -> Result<SigningKey, BuildError> {
    let text = Secret::new(files::read_text(path)?);
    Ok(SigningKey::from_pem(&text).map_err(in_file(path))?)
}

/// Reads a public key.
///
/// # Errors
/// When the file is none.
pub fn read_public_key(path: &Path) -> Result<PublicKey, BuildError> {
    Ok(PublicKey::from_pem(&files::read_text(path)?).map_err(in_file(path))?)
}

/// Signs an output folder whose files fit its manifest.
///
/// # Errors
/// When they do not, or the signature cannot be written.
pub fn sign(folder: &Path, key: &SigningKey) -> Result<(), BuildError> {
    let (text, manifest) = read_manifest(folder)?;
    manifest.verify(folder)?;
    let partial = folder.join(".manifest.sig.partial");
    files::write(&partial, format!("{}\n", key.sign(&text)))?;
    Ok(files::rename(&partial, &folder.join(FILE_NAME))?)
}

/// Checks that a folder's manifest was signed with a key, and gives the manifest. Whether the files fit it is another
/// question: see [`Manifest::verify`].
///
/// # Errors
/// When there is no signature, or it is not that of this manifest by this key.
pub fn verify(folder: &Path, key: &PublicKey) -> Result<Manifest, BuildError> {
    let (text, manifest) = read_manifest(folder)?;
    let path = folder.join(FILE_NAME);
    if !path.exists() {
        return Err(SigningError::NotSigned(folder.to_owned()).into());
    }
    let signature: Signature = files::read_text(&path)?.parse().map_err(in_file(&path))?;
    key.verify(&text, &signature).map_err(in_file(&path))?;
    Ok(manifest)
}

/// A folder's manifest, and its very bytes.
fn read_manifest(folder: &Path) -> Result<(Vec<u8>, Manifest), BuildError> {
    let path = folder.join(manifest::FILE_NAME);
    if !path.exists() {
        return Err(SigningError::NoManifest(folder.to_owned()).into());
    }
    let text = files::read(&path)?;
    let manifest = Manifest::parse(&path, &text)?;
    Ok((text, manifest))
}

fn in_file(path: &Path) -> impl FnOnce(SignatureError) -> SigningError {
    move |source| SigningError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::manifest::Output;

    /// A folder with a file, its manifest and a key's two files.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files::write(&folder.path().join("disk"), "content").unwrap();
        let manifest = Manifest {
            recipe: "r".into(),
            extensions: Vec::new(),
            inputs: "i".into(),
            epoch: 1,
            kernel: None,
            image: None,
            cargo_lock: None,
            files: vec![Output::of(folder.path(), "disk").unwrap()],
            packages: Vec::new(),
        };
        manifest.write(folder.path()).unwrap();
        make_key(folder.path()).unwrap();
        folder
    }

    fn keys(folder: &Path) -> (SigningKey, PublicKey) {
        let public = read_public_key(&folder.join(PUBLIC_KEY)).unwrap();
        (read_key(&folder.join(PRIVATE_KEY)).unwrap(), public)
    }

    /// The error with its causes.
    fn told<T: std::fmt::Debug>(result: Result<T, BuildError>) -> String {
        format!("{:#}", anyhow::Error::from(result.unwrap_err()))
    }

    #[test]
    fn a_signed_folder_is_accepted_and_signing_again_changes_nothing() {
        let folder = folder();
        let (key, public) = keys(folder.path());
        sign(folder.path(), &key).unwrap();
        let first = files::read(&folder.path().join(FILE_NAME)).unwrap();
        sign(folder.path(), &key).unwrap();
        assert_eq!(files::read(&folder.path().join(FILE_NAME)).unwrap(), first);
        assert_eq!(verify(folder.path(), &public).unwrap().recipe, "r");
    }

    #[test]
    fn a_changed_manifest_is_refused() {
        let folder = folder();
        let (key, public) = keys(folder.path());
        sign(folder.path(), &key).unwrap();
        let path = folder.path().join(manifest::FILE_NAME);
        files::write(&path, files::read_text(&path).unwrap() + " ").unwrap();
        let text = told(verify(folder.path(), &public));
        assert!(
            text.ends_with("manifest.sig: the signature was made with another key or of other content"),
            "{text}"
        );
    }

    #[test]
    fn another_key_and_a_broken_and_an_absent_signature_are_refused() {
        let folder = folder();
        let (key, public) = keys(folder.path());
        assert!(told(verify(folder.path(), &public)).ends_with("is not signed: it has no manifest.sig"));
        sign(folder.path(), &key).unwrap();
        let other = tempfile::tempdir().unwrap();
        make_key(other.path()).unwrap();
        let text = told(verify(folder.path(), &keys(other.path()).1));
        assert!(text.ends_with("another key or of other content"), "{text}");
        files::write(&folder.path().join(FILE_NAME), "!").unwrap();
        let text = told(verify(folder.path(), &public));
        assert!(text.ends_with("manifest.sig: must be an Ed25519 signature: 64 bytes in Base64"), "{text}");
    }

    #[test]
    fn what_does_not_fit_its_manifest_is_not_signed() {
        let folder = folder();
        files::write(&folder.path().join("disk"), "CONTENT").unwrap();
        let text = told(sign(folder.path(), &keys(folder.path()).0));
        assert!(text.contains("disk: has sha256"), "{text}");
        assert!(!folder.path().join(FILE_NAME).exists());
        let empty = tempfile::tempdir().unwrap();
        assert!(told(sign(empty.path(), &keys(folder.path()).0)).ends_with("has no manifest.json"));
    }

    #[test]
    fn a_private_key_is_its_owners_alone_and_never_written_over() {
        let folder = folder();
        let path = folder.path().join(PRIVATE_KEY);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let before = files::read(&path).unwrap();
        let text = told(make_key(folder.path()));
        assert!(text.ends_with("signing.key is there already; a key is never written over"), "{text}");
        assert_eq!(files::read(&path).unwrap(), before);
    }

    #[test]
    fn what_a_crash_left_of_a_key_is_made_whole() {
        let folder = folder();
        let public = folder.path().join(PUBLIC_KEY);
        let before = files::read(&public).unwrap();
        files::remove(&public).unwrap();
        assert_eq!(make_key(folder.path()).unwrap(), public);
        assert_eq!(files::read(&public).unwrap(), before);
        let other = tempfile::tempdir().unwrap();
        files::write(&other.path().join(HALF_KEY), "-----BEGIN").unwrap();
        make_key(other.path()).unwrap();
        assert!(!other.path().join(HALF_KEY).exists());
        assert_eq!(other.path().join(PRIVATE_KEY).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_public_key_is_not_taken_for_the_private_one() {
        let folder = folder();
        let text = told(read_key(&folder.path().join(PUBLIC_KEY)));
        assert!(text.contains("signing.pub: must be an Ed25519 private key"), "{text}");
    }
}
