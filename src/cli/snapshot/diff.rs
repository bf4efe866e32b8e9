//! `keeperctl snapshot diff`: what is different between two snapshots, or between one and the living server.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::cli::output::{DIM, NAME, columns, note, paragraph, print, print_json, printable, styled};
use crate::cli::restore::live_server;
use crate::cli::{CliError, Context, Exit};
use crate::model::{Generation, Server};
use crate::restore::diff::{Change, Kind, Thing, diff};

use super::Which;

/// The widest that a place gets in front of what happened there.
const PLACE_COLUMNS_MAX: usize = 24;

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The earlier one: "latest", "previous", its number, or a time such as "14:05" or "2 hours ago"
    #[arg(default_value = "previous", value_name = "OLD")]
    old: Side,
    /// The later one, or "now" for the server as it is
    #[arg(default_value = "latest", value_name = "NEW")]
    new: Side,
}

/// Something that can be compared.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// A snapshot.
    Saved(Which),
    /// The living server.
    Now,
}

impl std::str::FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "now" {
            return Ok(Side::Now);
        }
        Which::parse(text, &Zoned::now()).map(Side::Saved)
    }
}

/// A side that has been read.
struct State {
    generation: Option<Generation>,
    at: Timestamp,
    server: Server,
}

/// Compares.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let old = read(context, arguments.old).await?;
    let new = read(context, arguments.new).await?;
    // A look at a living server does not read what is printed in it.
    let contents = old.generation.is_some() && new.generation.is_some();
    let changes = diff(&old.server, &new.server, contents);
    if context.json {
        #[derive(Serialize)]
        struct Document {
            old: Option<Generation>,
            new: Option<Generation>,
            changes: Vec<Change>,
        }
        let document = Document { old: old.generation, new: new.generation, changes };
        print_json("keeperctl.snapshot.diff/1", document)?;
        return Ok(Exit::Done);
    }
    let head = format!("from {} to {}", name(&old), name(&new));
    print(&paragraph("", 0, &head))?;
    if changes.is_empty() {
        note("nothing is different");
    }
    print(&changes.iter().map(line).collect::<String>())?;
    Ok(Exit::Done)
}

async fn read(context: &Context, side: Side) -> Result<State, CliError> {
    match side {
        Side::Saved(which) => {
            let (generation, snapshot) = which.load(context)?;
            Ok(State { generation: Some(generation), at: snapshot.taken_at, server: snapshot.server })
        }
        Side::Now => {
            let none = || CliError::failed(anyhow::Error::msg("no tmux server runs"));
            let server = live_server(context).await?.ok_or_else(none)?;
            Ok(State { generation: None, at: Timestamp::now(), server })
        }
    }
}

fn name(state: &State) -> String {
    match state.generation {
        Some(generation) => {
            let taken = state.at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
            format!("snapshot {generation} ({taken})")
        }
        None => "now".to_owned(),
    }
}

/// A line per change, its place in front, so that it can be searched.
fn line(change: &Change) -> String {
    let place = match change.thing {
        Thing::Server => "server: ".to_owned(),
        Thing::Session | Thing::Window => format!("{}: ", printable(&change.session)),
        Thing::Pane => format!("{} ", printable(&change.place)),
    };
    let style = if change.kind == Kind::Text { DIM } else { NAME };
    let words = printable(&change.words);
    match columns(&place) {
        used @ ..=PLACE_COLUMNS_MAX => paragraph(&styled(style, &place), used, &words),
        _ => format!("{}\n{}", styled(style, place.trim_end()), paragraph("    ", 4, &words)),
    }
}
