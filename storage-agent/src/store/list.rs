//! The list of pools, `pools.json`: where each is and who may mount it, which no pool's folder can tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podzol_rpc::identity::write_file;
use podzol_vocab::PoolId;
use serde::{Deserialize, Serialize};

/// A pool, as it stands on the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Line")]
pub(crate) struct Listed {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The hosts to which it is to be exported. None when an agent wrote this that did not note them: then they stay
    /// what they are until the pool is told again.
    pub(crate) hosts: Option<Vec<String>>,
    /// Whether its files are being removed. It is off the list when they are gone.
    pub(crate) removing: bool,
}

/// A pool in the file: agents at first wrote its folder alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Folder(PathBuf),
    Whole {
        folder: PathBuf,
        hosts: Option<Vec<String>>,
        #[serde(default)]
        removing: bool,
    },
}

impl From<Line> for Listed {
    fn from(line: Line) -> Self {
        match line {
            Line::Folder(folder) => Self { folder, hosts: None, removing: false },
            Line::Whole { folder, hosts, removing } => Self { folder, hosts, removing },
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    pools: BTreeMap<PoolId, Listed>,
}

/// Reads the list; without a file it is empty.
pub(super) fn read(path: &Path) -> std::io::Result<BTreeMap<PoolId, Listed>> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice::<File>(&text)?.pools),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Writes the list.
pub(super) fn write(path: &Path, pools: BTreeMap<PoolId, Listed>) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    write_file(path, &serde_json::to_vec(&File { pools })?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_one_from_before_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/pools.json");
        assert_eq!(read(&path).unwrap(), BTreeMap::new());
        let listed =
            Listed { folder: "/srv/a".into(), hosts: Some(vec!["10.0.0.11".into()]), removing: true };
        let pools = BTreeMap::from([(PoolId::new(), listed)]);
        write(&path, pools.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), pools);

        let id = PoolId::new();
        std::fs::write(&path, format!(r#"{{"pools":{{"{id}":"/srv/b"}}}}"#)).unwrap();
        let listed = Listed { folder: "/srv/b".into(), hosts: None, removing: false };
        assert_eq!(read(&path).unwrap(), BTreeMap::from([(id, listed)]));
    }
}
