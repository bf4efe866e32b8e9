//! Archives of tmux-backup: <https://github.com/graelo/tmux-backup>.
//!
//! A tar archive in a zstd frame with `version` (`1.0`), `metadata.json` and the texts of panes,
//! `panes-content/pane-%ID.txt`. Of a program it holds the name, without arguments.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::tmux::layout::Layout;

use super::{
    Draft, DraftPane, DraftSession, DraftWindow, Flaw, PANES_MAX, PLACES_MAX, Runs, Shape, archive, command,
};

const HINT: &str = "name a file backup-….tar.zst; tmux-backup catalog list shows where they are";

#[derive(Debug, Deserialize)]
struct Metadata {
    sessions: Vec<SavedSession>,
    windows: Vec<SavedWindow>,
    panes: Vec<SavedPane>,
}

#[derive(Debug, Deserialize)]
struct SavedSession {
    name: String,
    dirpath: String,
}

#[derive(Debug, Deserialize)]
struct SavedWindow {
    id: String,
    index: u32,
    is_active: bool,
    layout: String,
    name: String,
    sessions: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct SavedPane {
    id: String,
    index: u32,
    is_active: bool,
    title: String,
    dirpath: String,
    command: String,
}

/// Reads an archive.
pub fn parse(file: &[u8]) -> Result<Draft, Flaw> {
    let unpacked =
        zstd::Decoder::new(file).map_err(|error| Flaw::whole(format!("not a zstd file: {error}"), HINT))?;
    let mut files = archive::files(unpacked)
        .map_err(|why| Flaw::whole(format!("not a whole archive of tmux-backup: {why}"), HINT))?;
    let version = files.get("version").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if version.as_deref().is_some_and(|version| !version.trim().starts_with("1.")) {
        let what = format!("its format is {:?}; 1.0 is known", version.unwrap_or_default());
        return Err(Flaw::whole(what, "look for a newer agent-keeper"));
    }
    let metadata =
        files.get("metadata.json").ok_or_else(|| Flaw::whole("there is no metadata.json in it", HINT))?;
    let metadata: Metadata = serde_json::from_slice(metadata)
        .map_err(|error| Flaw::whole(format!("its metadata.json cannot be read: {error}"), HINT))?;
    draft(&metadata, &mut files)
}

fn draft(metadata: &Metadata, files: &mut BTreeMap<String, Vec<u8>>) -> Result<Draft, Flaw> {
    let mut draft = Draft::default();
    let panes: HashMap<&str, &SavedPane> =
        metadata.panes.iter().map(|pane| (pane.id.as_str(), pane)).collect();
    if metadata.sessions.is_empty() || metadata.sessions.len() > PLACES_MAX {
        return Err(Flaw::whole(format!("it holds {} sessions", metadata.sessions.len()), HINT));
    }
    for saved in &metadata.sessions {
        draft.sessions.push(DraftSession {
            name: saved.name.clone(),
            directory: Some(saved.dirpath.as_str().into()),
            ..DraftSession::default()
        });
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for saved in &metadata.windows {
        let met = seen.entry(saved.id.as_str()).or_default();
        let at = place(saved, *met, &draft.sessions).ok_or_else(|| {
            Flaw::whole(
                format!("the window {} is in no session that it holds: {:?}", saved.id, saved.sessions),
                HINT,
            )
        })?;
        *met += 1;
        let window = window(saved, &panes, files)?;
        let session = &mut draft.sessions[at];
        if saved.is_active {
            session.active = session.windows.len();
        }
        session.windows.push(window);
        if session.windows.len() > PLACES_MAX {
            return Err(Flaw::whole("more windows than tmux can show", HINT));
        }
    }
    if metadata.panes.iter().any(|pane| !command::is_shell(&pane.command)) {
        draft
            .note("tmux-backup saves the name of a program without its arguments; the panes offer that name");
    }
    Ok(draft)
}

/// Returns the session that a window is in. A window that is linked into several is there once for each, in the
/// order of their names (`list-windows -a`), and names all of them in one text, with commas.
fn place(saved: &SavedWindow, met: usize, sessions: &[DraftSession]) -> Option<usize> {
    let by_name = |name: &str| sessions.iter().position(|session| session.name == name);
    let text = saved.sessions.first()?;
    if let Some(at) = by_name(text).filter(|_| saved.sessions.len() == 1) {
        return Some(at);
    }
    let mut names: Vec<&str> = saved.sessions.iter().flat_map(|text| text.split(',')).collect();
    names.sort_unstable();
    by_name(names.get(met)?)
}

fn window(
    saved: &SavedWindow,
    panes: &HashMap<&str, &SavedPane>,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<DraftWindow, Flaw> {
    let layout = Layout::parse(&saved.layout)
        .map_err(|error| Flaw::whole(format!("the window {}: {error}", saved.id), HINT))?;
    let mut window = DraftWindow {
        key: Some(saved.id.clone()),
        index: Some(saved.index),
        name: Some(saved.name.clone()),
        shape: Shape::Saved(saved.layout.clone()),
        ..DraftWindow::default()
    };
    let ids = layout.panes();
    if ids.len() > PANES_MAX {
        return Err(Flaw::whole("more panes than tmux can show", HINT));
    }
    for id in ids {
        let id = format!("%{id}");
        let pane = panes.get(id.as_str()).ok_or_else(|| {
            Flaw::whole(format!("the window {} has a pane {id} that is not in it", saved.id), HINT)
        })?;
        if pane.is_active {
            window.active = window.panes.len();
        }
        let runs = match pane.command.as_str() {
            "" => Runs::Shell,
            name if command::is_shell(name) => Runs::OtherShell(name.to_owned()),
            name => Runs::Words(vec![name.to_owned()]),
        };
        window.panes.push(DraftPane {
            index: Some(pane.index),
            title: Some(pane.title.clone()),
            directory: pane.dirpath.as_str().into(),
            runs,
            text: text(files.get(&format!("panes-content/pane-{id}.txt"))),
        });
    }
    Ok(window)
}

/// Returns the text of a pane without the reset of colours that tmux-backup puts behind it.
fn text(file: Option<&Vec<u8>>) -> Vec<u8> {
    let text = file.map_or(&[][..], |text| text.trim_ascii_end());
    text.strip_suffix(b"\x1b[0m").unwrap_or(text).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            tar.append_data(&mut header, name, *content).unwrap();
        }
        zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap()
    }

    const METADATA: &str = r#"{"version":"1.0","client":{"session_name":"a","last_session_name":""},
        "sessions":[{"id":"$0","name":"b","dirpath":"/"},{"id":"$1","name":"a","dirpath":"/usr"}],
        "windows":[
          {"id":"@1","index":7,"is_active":true,"layout":"b25f,80x24,0,0,2","name":"w","sessions":["b,a"]},
          {"id":"@0","index":0,"is_active":true,"layout":"b25d,80x24,0,0,0","name":"n","sessions":["b"]},
          {"id":"@1","index":1,"is_active":false,"layout":"b25f,80x24,0,0,2","name":"w","sessions":["b,a"]}],
        "panes":[{"id":"%0","index":0,"is_active":true,"title":"t","dirpath":"/tmp","command":"vim"},
          {"id":"%2","index":0,"is_active":true,"title":"","dirpath":"/","command":"zsh"}]}"#;

    #[test]
    fn an_archive_is_read_with_its_linked_windows() {
        let file = packed(&[
            ("version", b"1.0"),
            ("metadata.json", METADATA.as_bytes()),
            ("panes-content/pane-%0.txt", b"x\x1b[0m\n"),
        ]);
        let draft = parse(&file).unwrap();
        let [b, a] = &draft.sessions[..] else { panic!("{draft:?}") };
        assert_eq!(a.windows[0].key, b.windows[1].key);
        assert_eq!((a.windows[0].index, b.windows[1].index), (Some(7), Some(1)));
        assert_eq!(b.windows[0].panes[0].text, b"x");
        assert_eq!(b.windows[0].panes[0].runs, Runs::Words(vec!["vim".into()]));
        assert_eq!(draft.notes.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (b"no archive".to_vec(), "not a whole archive"),
            (packed(&[("version", b"1.0")]), "metadata.json"),
            (packed(&[("version", b"2.0"), ("metadata.json", b"{}")]), "format"),
            (packed(&[("metadata.json", b"{}")]), "missing field"),
            (packed(&[("metadata.json", br#"{"sessions":[],"windows":[],"panes":[]}"#)]), "0 sessions"),
            (packed(&[("metadata.json", METADATA.replace("b25d", "ffff").as_bytes())]), "@0"),
            (packed(&[("metadata.json", METADATA.replace("\"%0\"", "\"%9\"").as_bytes())]), "%0"),
        ];
        for (file, expected) in cases {
            let flaw = parse(&file).unwrap_err();
            assert!(flaw.to_string().contains(expected), "{expected}: {flaw}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&zstd::encode_all(&bytes[..], 1).unwrap());
        }

        #[test]
        fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut metadata = METADATA.as_bytes().to_vec();
            let at = at.index(metadata.len());
            metadata[at] = byte;
            let _ = parse(&packed(&[("metadata.json", &metadata)]));
        }
    }
}
