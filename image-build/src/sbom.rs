//! What is in an image, for programs that look for known flaws: a bill of materials in CycloneDX 1.6's JSON form
//! (ECMA-424). Of the same inputs it is the same to the byte.
//!
//! Its components are the Debian packages, the Rust crates of programs that were compiled for the image, and what else is in it
//! (the boot loader, the packages of a page), each with the name by which databases know it (a package URL, ECMA-427) and a
//! digest of its file, where that is known. Crates of Podzol's own are in no
//! registry and have neither. Where a program was given ready-made, its crates are not known; the bill then says of itself
//! that it is incomplete.

use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::crates::Crate;
use crate::manifest::Package;
use crate::parts::{Origin, Part};
use crate::recipe::{Inputs, Programs};

/// The bill's name in the output folder.
pub const FILE_NAME: &str = "sbom.cdx.json";

/// The bill of an image, for writing into its file.
pub(crate) fn text(
    recipe: &str,
    epoch: u64,
    inputs: &Inputs,
    parts: &[Part],
    programs: &Programs,
    hash: &str,
) -> String {
    let packages = inputs.packages.iter().map(of_package);
    let crates = inputs.crates.iter().flat_map(|crates| &crates.list).map(of_crate);
    let incomplete = Composition { aggregate: "incomplete", assemblies: [recipe] };
    let bill = Bill {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: serial_number(hash),
        version: 1,
        metadata: Metadata {
            timestamp: timestamp(epoch),
            component: Component { bom_ref: recipe.to_owned(), ..Component::new("application", recipe) },
        },
        components: packages.chain(crates).chain(parts.iter().map(of_part)).collect(),
        compositions: if matches!(programs, Programs::Given) { vec![incomplete] } else { Vec::new() },
    };
    let mut text = serde_json::to_string_pretty(&bill).expect("texts and lists can be written as JSON");
    text.push('\n');
    text
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bill<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compositions: Vec<Composition<'a>>,
}

#[derive(Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    component: Component,
}

#[derive(Serialize)]
struct Composition<'a> {
    aggregate: &'static str,
    assemblies: [&'a str; 1],
}

#[derive(Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

impl Component {
    fn new(kind: &'static str, name: &str) -> Self {
        let (bom_ref, name) = (String::new(), name.to_owned());
        Self { kind, bom_ref, name, version: None, hashes: Vec::new(), purl: None }
    }
}

fn of_package(package: &Package) -> Component {
    let (name, version) = (escaped(&package.name), escaped(&package.version));
    let purl = format!("pkg:deb/debian/{name}@{version}?arch={}", package.architecture);
    Component {
        bom_ref: purl.clone(),
        version: Some(package.version.clone()),
        hashes: vec![sha256(&package.sha256)],
        purl: Some(purl),
        ..Component::new("library", &package.name)
    }
}

fn of_crate(one: &Crate) -> Component {
    let purl = format!("pkg:cargo/{}@{}", escaped(&one.name), escaped(&one.version));
    let in_registry = one.checksum.is_some();
    Component {
        bom_ref: if in_registry { purl.clone() } else { format!("{}@{}", one.name, one.version) },
        version: Some(one.version.clone()),
        hashes: one.checksum.iter().map(|checksum| sha256(checksum)).collect(),
        purl: in_registry.then_some(purl),
        ..Component::new("library", &one.name)
    }
}

fn of_part(part: &Part) -> Component {
    let name = part.name.split('/').map(escaped).collect::<Vec<_>>().join("/");
    let version = part.version.as_ref().map(|version| format!("@{}", escaped(version))).unwrap_or_default();
    let (registry, hashes) = match &part.origin {
        Origin::Debian => ("deb/debian", Vec::new()),
        Origin::Npm(sha512) => ("npm", vec![Hash { alg: "SHA-512", content: sha512.clone() }]),
    };
    let purl = format!("pkg:{registry}/{name}{version}");
    Component {
        bom_ref: purl.clone(),
        version: part.version.clone(),
        hashes,
        purl: Some(purl),
        ..Component::new("library", &part.name)
    }
}

fn sha256(content: &str) -> Hash {
    Hash { alg: "SHA-256", content: content.to_owned() }
}

/// A part of a package URL: all is escaped but letters, digits and these signs.
fn escaped(part: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    part.bytes().map(escape).collect()
}

/// A UUID of the kind that is its maker's own affair (RFC 9562, section 5.8), made of the hash of the inputs.
fn serial_number(hash: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(format!("sbom {hash}")).into();
    let (bytes, _) = digest.split_first_chunk().expect("32 bytes are more than 16");
    uuid::Builder::from_custom_bytes(*bytes).into_uuid().urn().to_string()
}

/// None for a time beyond the year 9999.
fn timestamp(epoch: u64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(epoch.try_into().ok()?).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates::Crates;

    fn inputs() -> Inputs {
        let package = |name: &str, version: &str, architecture: &str| Package {
            name: name.into(),
            version: version.into(),
            architecture: architecture.into(),
            sha256: "ab".repeat(32),
        };
        let one = |name: &str, version: &str, checksum: Option<&str>| Crate {
            name: name.into(),
            version: version.into(),
            checksum: checksum.map(|byte| byte.repeat(32)),
        };
        let list = vec![one("podzol-tiny-init", "0.2.0", None), one("toml", "0.9.12+spec-1.1.0", Some("cd"))];
        Inputs {
            packages: vec![
                package("libc6", "2.36-9+deb12u10", "amd64"),
                package("tzdata", "1:2024a-0~x", "all"),
            ],
            files: Vec::new(),
            crates: Some(Crates { lock: "l".into(), list }),
        }
    }

    fn parts() -> [Part; 2] {
        let part = |name: &str, version: &str, origin| Part {
            name: name.into(),
            version: Some(version.into()),
            origin,
        };
        let (boot, page) = ("3:6.04~git2+dfsg1-3+b1", Origin::Npm("ef".repeat(64)));
        [part("syslinux", boot, Origin::Debian), part("@xterm/xterm", "6.0.0", page)]
    }

    #[test]
    fn a_bill_is_as_it_is_in_the_golden_file() {
        let found = text("tiny", 1_760_000_000, &inputs(), &parts(), &Programs::None, "hash");
        assert_eq!(found, include_str!("../tests/sbom.cdx.json"));
        assert_eq!(found, text("tiny", 1_760_000_000, &inputs(), &parts(), &Programs::None, "hash"));
    }

    #[test]
    fn other_inputs_have_another_serial_number() {
        assert_ne!(serial_number("one"), serial_number("other"));
    }

    #[test]
    fn a_bill_without_the_crates_of_a_program_says_that_it_is_incomplete() {
        let without = Inputs { crates: None, ..inputs() };
        let found = text("debs", 1, &without, &[], &Programs::Given, "hash");
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["compositions"][0]["aggregate"], "incomplete");
        assert_eq!(found["components"].as_array().unwrap().len(), 2);
    }
}
