//! `keeperctl import`: a snapshot out of the files of another tool.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::config::Settings;
use crate::import::{self, Assembled, Draft, Flaw, Reader, Source, Surroundings, assemble};
use crate::model::{ByteString, Generation, Process, Program, Snapshot, describe_counts};
use crate::place;
use crate::redact::redacted;
use crate::restore::foreign::SHELL_PLACES;
use crate::store::Writer;
use crate::tmux::shell::SHELLS;

use super::adopt::adopt;
use super::output::{note, print, print_json, printable, width};
use super::tree::{Marks, draw};
use super::{CliError, Context, Exit};

/// The most bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What to import.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whose files they are
    #[arg(value_enum)]
    tool: Tool,
    /// The files, all into one snapshot; a directory of tmux-resurrect or tmux-backup means the last save in it, and
    /// - means standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only show what would be imported
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Leave out what was printed in panes
    #[arg(long)]
    no_contents: bool,
}

/// A tool whose files are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tool {
    /// tmux-resurrect and tmux-continuum: tmux_resurrect_….txt or last
    Resurrect,
    /// tmuxp: YAML or JSON
    Tmuxp,
    /// tmuxinator: YAML
    Tmuxinator,
    /// zellij: a layout or session-layout.kdl
    Zellij,
    /// tmux-backup: backup-….tar.zst
    TmuxBackup,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    /// `None` for a dry run.
    generation: Option<Generation>,
    sessions: Vec<&'a str>,
    windows: usize,
    panes: usize,
    /// What was left out or is not exact.
    notes: &'a [String],
}

/// Does it.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let mut sources = Vec::new();
    for file in &arguments.files {
        sources.push(read(arguments, file)?);
    }
    let around = surroundings();
    let mut made = assemble(sources, &around).map_err(|flaw| failure(None, flaw))?;
    let missing = resolve_directories(&mut made.snapshot);
    made.notes.extend(
        missing
            .iter()
            .map(|dir| format!("the directory {dir} is not there; its panes go to the nearest one above")),
    );
    let generation = if arguments.dry_run { None } else { Some(save(context, &mut made).await?) };
    report(context, generation, &made)?;
    Ok(if made.notes.is_empty() { Exit::Done } else { Exit::Partly })
}

fn report(context: &Context, generation: Option<Generation>, made: &Assembled) -> Result<(), CliError> {
    let server = &made.snapshot.server;
    let (_, windows, panes) = server.counts();
    if context.json {
        let sessions = server.sessions.iter().map(|session| session.name.as_str()).collect();
        let document = Document { generation, sessions, windows, panes, notes: &made.notes };
        return print_json("keeperctl.import/1", document);
    }
    made.notes.iter().for_each(|line| note(&printable(line)));
    let counts = describe_counts(server.counts());
    match generation {
        Some(generation) => {
            print(&format!("snapshot {generation}: {counts}, imported\n"))?;
            note(&format!("  bring it back: keeperctl restore {generation}"));
            note(&format!("  try it first on a throw-away server: keeperctl drill {generation}"));
        }
        None => {
            let home = place::home().ok();
            let home = home.as_deref().and_then(Path::to_str);
            let marks = Marks { clients: &|_| 0, waits: &|pane| pane.program.asks_before_start(), home };
            print(&format!("would import {counts}\n{}", draw(server, &marks, width())))?;
        }
    }
    Ok(())
}

/// Writes the snapshot to a store of its own and hands that over whole, so that the user's store gets all of it or
/// nothing.
async fn save(context: &Context, made: &mut Assembled) -> Result<Generation, CliError> {
    let settings = context.settings()?;
    leave_out_texts(&settings, made);
    let dir = tempfile::Builder::new().prefix("agent-keeper-import-").tempdir()?;
    let writer = Writer::open(dir.path().join("state"))?;
    for (id, text) in &made.texts {
        let scrollback = writer.put_text(&redacted(text, settings.redact))?;
        let same = |pane: &&mut crate::model::Pane| pane.id == *id;
        made.snapshot.server.panes_mut().filter(same).for_each(|pane| pane.scrollback = scrollback.clone());
    }
    let generation = writer.save(&made.snapshot)?;
    adopt(context, writer.store(), generation).await
}

/// What the configuration says of texts holds for those of files too.
fn leave_out_texts(settings: &Settings, made: &mut Assembled) {
    for (session, _, pane) in made.snapshot.server.panes() {
        if settings.scrollback_lines == 0 || !settings.sessions.of(&session.name).scrollback {
            made.texts.remove(&pane.id);
        }
    }
}

fn failure(file: Option<&str>, flaw: Flaw) -> CliError {
    let what = file.map_or_else(|| flaw.to_string(), |file| format!("{file}: {flaw}"));
    CliError::failed(anyhow::Error::msg(printable(&what))).hint(flaw.hint).hint("nothing was imported")
}

fn unreadable(path: &Path, error: io::Error) -> CliError {
    let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
    CliError::failed(error).hint("nothing was imported")
}

fn read(arguments: &Arguments, path: &Path) -> Result<Source, CliError> {
    let tool = arguments.tool;
    // What comes by a pipe has nothing beside it.
    let piped = path.as_os_str() == "-";
    let path = if piped { path.to_owned() } else { last_save(tool, path)? };
    let shown = path.display().to_string();
    let bytes = content(&path)?;
    let contents = !arguments.no_contents;
    let home = place::home()?.to_string_lossy().into_owned();
    let directory = directory_of(&path).to_string_lossy().into_owned();
    let name = usual_name(&path);
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let editor = editor.split_whitespace().next().unwrap_or("vi");
    let reader = Reader { home: &home, directory: &directory, name: &name, editor };
    let draft = match tool {
        Tool::Resurrect if piped => import::resurrect::parse(&bytes, None),
        Tool::Resurrect => resurrect(&path, &bytes, contents)?,
        Tool::Tmuxp => import::tmuxp::parse(&bytes, &reader),
        Tool::Tmuxinator => import::tmuxinator::parse(&bytes, &reader),
        Tool::Zellij => import::zellij::parse(&bytes, &zellij_contents(&path, contents && !piped), &reader),
        Tool::TmuxBackup => import::tmux_backup::parse(&bytes).map(|draft| with_texts(draft, contents)),
    };
    let draft = draft.map_err(|flaw| failure(Some(&shown), flaw))?;
    Ok(Source { file: shown, draft })
}

/// Parses a file of tmux-resurrect with the texts beside it, which belong to its last save only.
fn resurrect(path: &Path, bytes: &[u8], contents: bool) -> Result<Result<Draft, Flaw>, CliError> {
    let dir = directory_of(path);
    let archive = dir.join("pane_contents.tar.gz");
    let last = dir.join("last");
    // Where there is no such link, somebody has copied the two files; one that dangles is of a save that is gone.
    let of_last = fs::symlink_metadata(&last).is_err()
        || fs::canonicalize(&last).is_ok_and(|last| fs::canonicalize(path).is_ok_and(|path| path == last));
    let archive = if contents && archive.is_file() { Some(content(&archive)?) } else { None };
    let used = archive.as_deref().filter(|_| of_last);
    Ok(import::resurrect::parse(bytes, used).map(|mut draft| {
        if archive.is_some() && !of_last {
            draft
                .notes
                .push("the text of panes beside it belongs to another save; it is left out".to_owned());
        }
        draft
    }))
}

fn with_texts(mut draft: Draft, contents: bool) -> Draft {
    let panes = draft
        .sessions
        .iter_mut()
        .flat_map(|session| &mut session.windows)
        .flat_map(|window| &mut window.panes);
    if !contents {
        panes.for_each(|pane| pane.text.clear());
    }
    draft
}

/// Returns the texts of panes that zellij saved beside a session.
fn zellij_contents(path: &Path, contents: bool) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory_of(path)).into_iter().flatten().flatten().filter(|_| contents);
    entries
        .filter_map(|entry| {
            let name =
                entry.file_name().into_string().ok().filter(|name| name.starts_with("initial_contents_"))?;
            Some((name, content(&entry.path()).ok()?))
        })
        .collect()
}

/// Returns the file that a path means: of a directory the last save in it.
fn last_save(tool: Tool, path: &Path) -> Result<PathBuf, CliError> {
    let (prefix, suffix) = match tool {
        Tool::Resurrect => ("tmux_resurrect_", ".txt"),
        Tool::TmuxBackup => ("backup-", ".tar.zst"),
        _ => return Ok(path.to_owned()),
    };
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let last = path.join("last");
    if tool == Tool::Resurrect && last.is_file() {
        return Ok(last);
    }
    // Their names hold the time, so the greatest is the last.
    let names =
        fs::read_dir(path).map_err(|error| unreadable(path, error))?.flatten().map(|entry| entry.file_name());
    let newest = names
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix)))
        .max();
    newest.map(|name| path.join(name)).ok_or_else(|| {
        let what = format!("there is no {prefix}…{suffix} in {}", path.display());
        CliError::failed(anyhow::Error::msg(what)).hint("name the file itself")
    })
}

fn content(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let result = if path.as_os_str() == "-" {
        io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    result.map_err(|error| unreadable(path, error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(path, io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// Returns the directory that a file is in, as a whole path.
fn directory_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned())
}

/// Returns what a session is called whose file does not tell: zellij names the directory, people name the file.
fn usual_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let named = match &*stem {
        "session-layout" => directory_of(path).file_name().map(|name| name.to_string_lossy().into_owned()),
        "-" | "" => None,
        stem => Some(stem.to_owned()),
    };
    named.unwrap_or_else(|| "imported".to_owned())
}

fn surroundings() -> Surroundings {
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let shell = std::env::var("SHELL").ok().filter(|shell| shell.starts_with('/'));
    let shell = shell.unwrap_or_else(|| "/bin/sh".to_owned());
    Surroundings { now: jiff::Timestamp::now(), host, shell, shells: shells() }
}

/// Returns the shells that are installed where a restore takes them from.
fn shells() -> Vec<String> {
    let places = SHELL_PLACES.iter().map(|place| String::from_utf8_lossy(place));
    let all = places.flat_map(|place| SHELLS.map(|name| format!("{place}{name}")));
    all.filter(|path| Path::new(path).is_file()).collect()
}

/// Gives every directory the name by which the kernel knows it, since that is what a restored pane will show, and
/// returns those that are not there.
fn resolve_directories(snapshot: &mut Snapshot) -> Vec<ByteString> {
    let mut missing: Vec<ByteString> = Vec::new();
    let mut resolve = |dir: &mut ByteString| match fs::canonicalize(dir.as_path()) {
        Ok(real) if real.is_dir() => *dir = real.as_path().into(),
        _ if missing.contains(dir) => {}
        _ => missing.push(dir.clone()),
    };
    for session in &mut snapshot.server.sessions {
        resolve(&mut session.directory);
        for pane in session.windows.iter_mut().flat_map(|window| &mut window.panes) {
            resolve(&mut pane.directory);
            processes(&mut pane.program).into_iter().for_each(|process| resolve(&mut process.directory));
        }
    }
    missing
}

fn processes(program: &mut Program) -> Vec<&mut Process> {
    match program {
        Program::Shell { shell, job, .. } => std::iter::once(shell).chain(job).collect(),
        Program::Command { process } => vec![process],
        Program::Unknown => Vec::new(),
    }
}
