//! `keeperctl snapshot export` and `import`: a generation in one file, for another host.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use crate::cli::hand::Hand;
use crate::cli::output::{note, print, print_json, printable};
use crate::cli::{CliError, Context, Exit};
use crate::model::{Generation, describe_counts};
use crate::store::carry::{Exported, FILE_BYTES_MAX};

use super::Which;

#[derive(Debug, Serialize)]
struct ExportDocument<'a> {
    generation: Generation,
    file: String,
    objects: usize,
    /// Panes and paste buffers whose text is damaged here and so not whole there.
    lost: Vec<&'a str>,
}

/// Writes it. A file that is there already stays as it is.
pub fn export(context: &Context, which: Which, file: &Path) -> Result<Exit, CliError> {
    let (generation, _) = which.load(context)?;
    let store = context.store();
    let to_stdout = file.as_os_str() == "-";
    let exported = if to_stdout {
        if io::stdout().is_terminal() {
            return Err(CliError::usage("an export is no text for a terminal; name a file or redirect it"));
        }
        store.export(generation, io::stdout().lock())?
    } else {
        to_file(file, |out| Ok(store.export(generation, out)?))?
    };
    let lost: Vec<&str> = exported.lost.iter().map(|lost| lost.place.as_str()).collect();
    if context.json && !to_stdout {
        let file = file.display().to_string();
        let document = ExportDocument { generation, file, objects: exported.objects, lost: lost.clone() };
        print_json("keeperctl.snapshot.export/1", document)?;
    } else {
        let line = format!("snapshot {generation}: {}", describe(&exported));
        if to_stdout { note(&line) } else { print(&format!("{line}\n"))? }
    }
    if !lost.is_empty() {
        note(&printable(&format!("its text is not whole here, and so not there: {}", lost.join(", "))));
        note("  what is damaged: keeperctl snapshot verify");
    }
    Ok(if lost.is_empty() { Exit::Done } else { Exit::Partly })
}

fn describe(exported: &Exported) -> String {
    describe_counts(exported.snapshot.server.counts())
}

/// Fills a new file, which is there under its name only when it is whole and on the disk.
fn to_file<T>(path: &Path, fill: impl FnOnce(&File) -> Result<T, CliError>) -> Result<T, CliError> {
    let failed = |error: io::Error| {
        CliError::failed(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
    };
    if path.symlink_metadata().is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()).hint("name a file that is not there yet"));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = tempfile::Builder::new().prefix(".new-").make_in(dir, open).map_err(failed)?;
    let result = fill(file.as_file())?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    Ok(result)
}

#[derive(Debug, Serialize)]
struct ImportDocument<'a> {
    generation: Generation,
    host: &'a str,
    taken_at: jiff::Timestamp,
    sessions: Vec<&'a str>,
    /// Panes and paste buffers whose text did not come with it.
    lost: Vec<String>,
}

/// Reads it.
pub async fn import(context: &Context, file: &Path) -> Result<Exit, CliError> {
    let file = plain_file(file)?;
    let generation = Hand::of(context).await?.import(&file).await?;
    let store = context.store();
    let snapshot = store.load(generation)?;
    let lost: Vec<String> = store.lost_texts(&snapshot).into_iter().map(|lost| lost.place).collect();
    let exit = if lost.is_empty() { Exit::Done } else { Exit::Partly };
    if context.json {
        let sessions = snapshot.server.sessions.iter().map(|session| session.name.as_str()).collect();
        let (host, taken_at) = (snapshot.host.as_str(), snapshot.taken_at);
        let document = ImportDocument { generation, host, taken_at, sessions, lost };
        print_json("keeperctl.snapshot.import/1", document)?;
        return Ok(exit);
    }
    let counts = describe_counts(snapshot.server.counts());
    let taken = snapshot.taken_at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let host = printable(&snapshot.host);
    print(&format!("snapshot {generation}: {counts}, from {host}, taken {taken}\n"))?;
    if !lost.is_empty() {
        note(&printable(&format!("this text was lost where it comes from: {}", lost.join(", "))));
    }
    note(&format!("  bring it back: keeperctl restore {generation}"));
    Ok(exit)
}

/// Opens a plain file; what comes through a pipe is written to one first, which has no name.
fn plain_file(path: &Path) -> Result<File, CliError> {
    let failed = |error: io::Error| {
        CliError::failed(anyhow::Error::new(error).context(format!("cannot read {}", path.display())))
    };
    let file = match path.as_os_str() == "-" {
        true => None,
        false => Some(File::open(path).map_err(failed)?),
    };
    if let Some(file) = &file {
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if meta.is_file() {
            return file.try_clone().map_err(failed);
        }
    }
    let source: &mut dyn Read = match &file {
        Some(file) => &mut { file },
        None => &mut io::stdin().lock(),
    };
    let mut plain = tempfile::tempfile().map_err(failed)?;
    let bytes = io::copy(&mut source.take(FILE_BYTES_MAX + 1), &mut plain).map_err(failed)?;
    if bytes > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    plain.rewind().map_err(failed)?;
    Ok(plain)
}
