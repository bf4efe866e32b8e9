//! Directories that may be gone: the nearest parent that is still there.

use std::path::{Path, PathBuf};

use crate::place;

/// Goes to a directory, or to its nearest parent that is still there, and returns the latter.
pub(super) fn enter(wanted: &Path) -> Option<PathBuf> {
    let found = wanted.ancestors().find(|dir| std::env::set_current_dir(dir).is_ok())?;
    (found != wanted).then(|| found.to_owned())
}

/// Returns the directory in which a pane can be opened: the wanted one, or the nearest parent that is
/// there. tmux would silently take the home directory instead.
pub fn nearest_directory(wanted: &Path) -> PathBuf {
    let found = wanted.ancestors().find(|dir| dir.is_dir());
    found.map(Path::to_owned).or_else(|| place::home().ok()).unwrap_or_else(|| PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_is_a_parent_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("gone/deeper");
        assert_eq!(nearest_directory(&inside), dir.path());
        assert_eq!(nearest_directory(dir.path()), dir.path());
    }
}
