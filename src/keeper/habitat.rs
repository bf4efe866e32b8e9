//! Keeps on disk where everything lives, for a keeper that comes later in the same boot.

use std::path::{Path, PathBuf};

use crate::diagnosis::habitat::Habitat;
use crate::store::StoreError;
use crate::store::files::{read_bounded, write_whole};

/// The largest file that is read, in bytes; a pane takes about 200.
const BYTES_MAX: u64 = 16 << 20;

fn path(state: &Path) -> PathBuf {
    state.join("habitat.json")
}

/// Returns what was kept last; nothing where that cannot be read, since it only helps to explain.
pub(super) fn load(state: &Path) -> Habitat {
    let kept = read_bounded(&path(state), BYTES_MAX).ok();
    kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Keeps it.
pub(super) fn save(state: &Path, habitat: &Habitat) -> Result<(), StoreError> {
    write_whole(&path(state), &serde_json::to_vec(habitat).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PaneId, ServerId};

    #[test]
    fn what_is_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Habitat::default());
        let habitat = Habitat {
            server: ServerId { pid: 7, ..ServerId::default() },
            began: Some(jiff::Timestamp::from_second(7).unwrap()),
            panes: [(PaneId(3), 9)].into(),
            cgroups: [(7, "/a.scope".to_owned()), (9, "/b.scope".to_owned())].into(),
        };
        save(dir.path(), &habitat).unwrap();
        assert_eq!(load(dir.path()), habitat);
        std::fs::write(path(dir.path()), "{").unwrap();
        assert_eq!(load(dir.path()), Habitat::default());
    }
}
