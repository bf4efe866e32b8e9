//! Names of snapshots as people type them, and finding the one that is meant.

use crate::cli::output::note;
use crate::cli::{CliError, Context};
use crate::model::{Generation, Snapshot};
use crate::store::{Store, StoreError};

/// A generation as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest one with sessions in it.
    Latest,
    /// The one with sessions in it before that.
    Previous,
    /// By its number.
    Number(Generation),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Which::Latest),
            "previous" => Ok(Which::Previous),
            number => number.trim_start_matches('#').parse().map(Which::Number).map_err(|_| {
                "a number from \"keeperctl snapshot list\", \"latest\" or \"previous\" was expected"
                    .to_owned()
            }),
        }
    }
}

impl Which {
    /// Finds the generation and reads it.
    pub fn load(self, context: &Context) -> Result<(Generation, Snapshot), CliError> {
        let store = context.store()?;
        match self {
            Which::Number(generation) => Ok((generation, store.load(generation)?)),
            Which::Latest => newest(&store, |_| true)?.ok_or_else(|| {
                CliError::failed(anyhow::Error::msg("no snapshot has been taken yet"))
                    .hint("the keeper takes one as soon as there is a session; does it run? keeperctl status")
            }),
            Which::Previous => previous(&store)?.ok_or_else(|| {
                let message = "there is no snapshot before the latest one";
                CliError::failed(anyhow::Error::msg(message)).hint("what there is: keeperctl snapshot list")
            }),
        }
    }
}

fn previous(store: &Store) -> Result<Option<(Generation, Snapshot)>, CliError> {
    let mut met = 0;
    newest(store, |_| {
        met += 1;
        met == 2
    })
}

/// Returns the newest snapshot that has sessions and is a wanted one. Those that stand aside are asked about
/// after all others. What cannot be read is passed over and said; where there is nothing else, that is the
/// error.
pub fn newest(
    store: &Store,
    mut wanted: impl FnMut(&Snapshot) -> bool,
) -> Result<Option<(Generation, Snapshot)>, CliError> {
    let (mut flaws, mut aside) = (Vec::new(), Vec::new());
    let mut found = None;
    for generation in store.numbers()?.into_iter().rev() {
        match store.load(generation) {
            Ok(snapshot) if snapshot.server.sessions.is_empty() => {}
            Ok(snapshot) if snapshot.aside.is_some() => aside.push((generation, snapshot)),
            Ok(snapshot) if !wanted(&snapshot) => {}
            Ok(snapshot) => {
                found = Some((generation, snapshot));
                break;
            }
            // Cleaned up a moment ago.
            Err(StoreError::NoGeneration { .. }) => {}
            Err(flaw) => flaws.push(flaw),
        }
    }
    match found.or_else(|| aside.into_iter().find(|(_, snapshot)| wanted(snapshot))) {
        Some(found) => {
            flaws.iter().for_each(|flaw| note(&format!("passed over: {flaw}")));
            Ok(Some(found))
        }
        None => flaws.into_iter().next().map_or(Ok(None), |flaw| Err(flaw.into())),
    }
}
