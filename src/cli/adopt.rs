//! Takes a generation of another store into the user's own.

use std::io::Seek;

use crate::model::Generation;
use crate::store::Store;

use super::hand::Hand;
use super::{CliError, Context};

/// Saves a generation of another store, with its texts, as the next one of the user's store, through the keeper
/// if it runs. There it stands aside as imported, whatever it was before, so that no restore starts from it
/// unasked. Returns its number: `keeperctl restore NUMBER` brings it back.
pub async fn adopt(context: &Context, from: &Store, generation: Generation) -> Result<Generation, CliError> {
    // Without a name, so nobody else can change it, and it is gone with us.
    let mut file = tempfile::tempfile()?;
    from.export(generation, &file)?;
    file.rewind()?;
    Hand::of(context).await?.import(&file).await
}
