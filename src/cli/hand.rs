//! Whoever may write to the store now: the keeper while it runs, else this very process. There is one at a time.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::dbus::client::{self, ConnectError, Keeper1Proxy};
use crate::model::Generation;
use crate::store::Writer;
use crate::store::carry::Whole;

use super::{CliError, Context};

/// The one that writes.
#[derive(Debug)]
pub enum Hand {
    /// The keeper.
    Keeper(Keeper1Proxy<'static>),
    /// This process. The store is locked for no longer than it takes: a keeper that starts meanwhile has to wait.
    Own(PathBuf),
}

impl Hand {
    /// Finds out who it is. A keeper that runs and does not answer is an error.
    pub async fn of(context: &Context) -> Result<Self, CliError> {
        match client::connect(&context.places.bus_socket()).await {
            Ok(keeper) => Ok(Hand::Keeper(keeper)),
            Err(ConnectError::NotRunning { .. }) => Ok(Hand::Own(context.places.state.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Imports a plain file and returns the number it got.
    pub async fn import(&self, file: &File) -> Result<Generation, CliError> {
        match self {
            Hand::Keeper(keeper) => Ok(keeper.import(file.as_fd().into()).await?),
            Hand::Own(state) => {
                let whole = Whole::check(file)?;
                Ok(Writer::open(state)?.import(whole)?.generation)
            }
        }
    }

    /// Pins a generation.
    pub async fn pin(&self, generation: Generation, note: &str) -> Result<(), CliError> {
        match self {
            Hand::Keeper(keeper) => Ok(keeper.pin(generation, note).await?),
            Hand::Own(state) => Ok(Writer::open(state)?.pin(generation, note)?),
        }
    }

    /// Unpins a generation and returns whether it was pinned.
    pub async fn unpin(&self, generation: Generation) -> Result<bool, CliError> {
        match self {
            Hand::Keeper(keeper) => Ok(keeper.unpin(generation).await?),
            Hand::Own(state) => Ok(Writer::open(state)?.unpin(generation)?),
        }
    }

    /// Removes generations, all of them or none.
    pub async fn remove(&self, generations: &[Generation]) -> Result<(), CliError> {
        match self {
            Hand::Keeper(keeper) => Ok(keeper.remove(generations).await?),
            Hand::Own(state) => Ok(Writer::open(state)?.remove(generations)?),
        }
    }
}
