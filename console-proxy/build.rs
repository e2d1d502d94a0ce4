//! Puts the built page (`viewer/dist`) into the program. Without it, the program says that there is none: node is needed only for
//! whoever builds the page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const MISSING: &str = "<!doctype html><meta charset=\"utf-8\"><title>Console</title>\
    <p>This console proxy was built without its page: build <code>console-proxy/viewer</code> first.</p>";

fn main() -> io::Result<()> {
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("viewer/dist");
    println!("cargo::rerun-if-changed=viewer/dist");
    println!("cargo::rerun-if-changed=build.rs");
    let mut code = String::new();
    let document = dist.join("index.html");
    let text = if document.exists() { format!("include_str!({document:?})") } else { format!("{MISSING:?}") };
    writeln!(code, "/// The document.\nconst DOCUMENT: &str = {text};").map_err(io::Error::other)?;
    writeln!(code, "/// Assets by their names.\nconst ASSETS: &[(&str, &[u8])] = &[")
        .map_err(io::Error::other)?;
    for (name, path) in assets(&dist.join("assets"))? {
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
    }
    writeln!(code, "];").map_err(io::Error::other)?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("viewer.rs"), code)
}

/// The files in a folder, by their names in order, so that the same ones make the same program.
fn assets(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
            }
        }
    }
    found.sort();
    Ok(found)
}
